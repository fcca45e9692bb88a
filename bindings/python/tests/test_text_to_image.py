"""The two examples that draw from a text, in C and in Python: the same image, bit for bit, and errors of one line."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mcm
import numpy as np
import pytest

from conftest import FASHION, REPOSITORY
from latent_support import IMAGES, SKETCH, controlnet_files, model_files, module_file, write
from original_support import folder_files, one_file

LIBRARY = Path(os.environ["MCM_LIBRARY"]).resolve()
STEPS = ("--steps", "3", "--seed", "7")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, a module, a ControlNet, and what they follow; the program in C."""
    root = tmp_path_factory.mktemp("text to image")
    write(root / "model", model_files())
    write(root / "xl", model_files(is_xl=True))
    write(root / "controlnet", controlnet_files())
    (root / "module").write_bytes(module_file())
    mcm.write_png(root / "sketch.png", SKETCH.repeat(2, axis=0))  # of any size
    mcm.write_png(root / "other.png", 255 - SKETCH)
    mcm.write_png(root / "control.png", IMAGES[0])
    mcm.write_png(root / "alpha.png", np.zeros((8, 8, 4), np.uint8))
    subprocess.run(
        [
            os.environ.get("CC", "cc"), "-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{REPOSITORY / 'include'}",
            str(REPOSITORY / "examples" / "c" / "text_to_image.c"), str(LIBRARY), f"-Wl,-rpath,{LIBRARY.parent}",
            "-o", str(root / "text_to_image"),
        ],
        check=True,
    )
    return root


def start(folder, language, *arguments):
    program = (
        [str(folder / "text_to_image")] if language == "c"
        else [sys.executable, str(REPOSITORY / "examples" / "python" / "text_to_image.py")]
    )
    environment = {**os.environ, "MCM_LIBRARY": str(LIBRARY), "PYTHONPATH": str(REPOSITORY / "bindings" / "python")}
    return subprocess.run([*program, *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True)


def draw(folder, language, *arguments):
    """The image; arguments behind the model and the prompt are optional."""
    out = folder / f"{language}.png"
    run = start(folder, language, *arguments, *STEPS, "--out", out)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-4:] == ["step 1 of 3", "step 2 of 3", "step 3 of 3", str(out)]
    return mcm.read_png(out)


MODULE = ("--module", "module", "--sketch", "sketch.png")
CONTROLNET = ("--controlnet", "controlnet", "--control", "control.png")


def test_c_and_python_draw_the_same(folder):
    images = []
    for given in (
        ("model", "a cat"), ("model", "a cat", *MODULE), ("model", "a cat", *MODULE[:3], "other.png"),
        ("model", "a (cat:1.4)", *MODULE), ("model", "a cat", "--negative", "a [dog]", *MODULE),
        ("model", "a cat", *CONTROLNET), ("model", "a cat", *MODULE, *CONTROLNET), ("xl", "a cat", *MODULE),
    ):
        image = draw(folder, "c", *given)
        assert image.shape == (8, 8, 3) and np.array_equal(image, draw(folder, "python", *given)), given
        assert not any(np.array_equal(image, other) for other in images), given  # each option shows
        images.append(image)


def test_one_file_draws_as_the_folder(folder, tmp_path):
    """With CLIP's own tokenizer, which such a file comes without."""
    write(tmp_path / "folder", folder_files(is_clip=True))
    (tmp_path / "one.safetensors").write_bytes(one_file(is_clip=True))
    first, *others = (
        draw(folder, language, tmp_path / model, "a red boot, on a table", "--negative", "blurry", *MODULE)
        for model in ("folder", "one.safetensors") for language in ("c", "python")
    )
    assert first.shape == (128, 128, 3) and all(np.array_equal(first, other) for other in others)
    for path in tmp_path.rglob("*.safetensors"):  # large
        path.unlink()


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (("nowhere", "a cat"), ("nowhere", "No such file")),
        ((FASHION / "base", "a cat"), ("no text encoder",)),
        (("model", "a cat", *MODULE[:1], "sketch.png", *MODULE[2:]), ("sketch.png", "safetensors")),
        (("model", "a cat", *MODULE[:3], "alpha.png"), ("alpha.png", "with alpha")),
        (("model", "a cat", *MODULE[:3], "nowhere.png"), ("nowhere.png",)),
        (("model", "a cat", *MODULE[:2]), ("--module and --sketch",)),
        (("model", "a cat", *CONTROLNET[:3], "sketch.png"), ("8 x 16", "8 x 8")),
        (("model", "a cat", "--steps", "2000"), ("2000", "1000")),
        (("model", "a cat", "--out", "no/folder.png"), ("no/folder.png",)),
    ],
)
def test_errors_are_one_line(folder, arguments, parts):
    for language in ("c", "python"):
        run = start(folder, language, *arguments)
        lines = run.stderr.splitlines()
        assert run.returncode != 0 and all(part in lines[-1] for part in parts), run.stderr
        assert language == "python" or len(lines) == 1, run.stderr


def test_misuse_of_the_program_in_c(folder):
    for arguments, part in (
        ((), "usage"), (("model",), "usage"), (("model", "a cat", "--steps"), "usage"),
        (("model", "a cat", "--step", "3"), "--step"), (("model", "a cat", "--steps", "many"), "many"),
        (("model", "a cat", "--seed", "-1"), "-1"),
    ):
        run = start(folder, "c", *arguments)
        assert run.returncode == 1 and part in run.stderr and len(run.stderr.splitlines()) == 1, run.stderr
