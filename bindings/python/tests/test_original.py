"""One file in the original layout is the model in the diffusers folder, bit for bit."""
from __future__ import annotations

import mcm
import numpy as np
import pytest

from latent_support import IMAGES, SKETCH, TOKENIZER, encoded, module_file, write
from original_support import folder_files, one_file

RUN = dict(prompt="a cat", negative="a dog", width=16, height=8, steps=3, seeds=2)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """The folder, the file, and a folder with the tokenizer."""
    root = tmp_path_factory.mktemp("original")
    (root / "one.safetensors").write_bytes(one_file())
    tokenizer = write(root / "tokenizer", encoded(TOKENIZER))
    return write(root / "folder", folder_files()), root / "one.safetensors", tokenizer


def test_one_file_is_the_folder(paths):
    folder, path, tokenizer = paths
    expected = mcm.Model.open(folder)
    models = {
        "file": mcm.Model.open(path, tokenizer=tokenizer),
        "on demand": mcm.Model.open(path, tokenizer=tokenizer, on_demand=True),
        "in memory": mcm.Model.from_files({path.name: path.read_bytes()}, tokenizer=tokenizer),
    }
    for name, model in models.items():
        for key in ("fingerprint", "parameter_count", "prediction_type", "scale", "width", "text_channels"):
            assert getattr(model.info, key) == getattr(expected.info, key), name
        wide = IMAGES[0].repeat(2, axis=1)
        for given in ({}, dict(image=wide, strength=0.7), dict(scheduler="dpm_solver_multistep")):
            assert np.array_equal(mcm.generate(model, **RUN, **given), mcm.generate(expected, **RUN, **given)), name
    module = mcm.Modulator.from_bytes(module_file())
    samples = []
    for model in (expected, models["file"]):
        with mcm.Session(model, width=16, height=8, steps=3) as session:
            session.set_prompt("a cat")
            session.attach(module, conditions={"sketch": SKETCH})
            session.seed(1)
            session.run()
            samples.append(session.x)
    assert np.array_equal(*samples)


def test_one_file_for_inpainting(paths):
    expected = mcm.Model.from_files(folder_files(inputs=9))
    model = mcm.Model.from_files({"m.safetensors": one_file(inputs=9)}, tokenizer=paths[2])
    wide = IMAGES[0].repeat(2, axis=1)
    assert model.info.input_channels == 9 and model.info.fingerprint == expected.info.fingerprint
    given = dict(image=wide, mask=wide[..., 0] > 99)
    assert np.array_equal(mcm.generate(model, **RUN, **given), mcm.generate(expected, **RUN, **given))


def test_tokenizer_must_fit(paths):
    with pytest.raises(mcm.FormatError, match="54.*49408|49408.*54"):  # CLIP's own
        mcm.Model.open(paths[1])


def test_files_that_are_no_models(paths, tmp_path):
    sound = one_file()
    for name, content, error, part in (
        ("module.safetensors", module_file(), mcm.FormatError, "model.diffusion_model.input_blocks.0.0.weight"),
        ("cut.safetensors", sound[:-1], mcm.FormatError, "cut.safetensors"),
        ("empty.safetensors", b"", mcm.FormatError, "empty.safetensors"),
        ("renamed.safetensors", sound.replace(b"encoder.norm_out", b"encoder.norm_far"), mcm.FormatError, "norm_far"),
        ("model.ckpt", b"PK\3\4" + bytes(60), mcm.UnsupportedError, "pickle"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(error, match=part) as raised:
            mcm.Model.open(tmp_path / name, tokenizer=paths[2])
        assert "\n" not in str(raised.value)
