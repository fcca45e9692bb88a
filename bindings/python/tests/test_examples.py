"""The programs in examples/python."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys

import mcm
import numpy as np
import pytest

from conftest import CONDITIONS, FASHION, REPOSITORY


def run_example(script, *arguments, folder=REPOSITORY):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "bindings" / "python")}
    command = [sys.executable, str(REPOSITORY / "examples" / "python" / script), *arguments]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_session_draws_what_c_draws(tmp_path):
    """Byte for byte, also from another folder and by default."""
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    build = REPOSITORY / "build"
    source, program = REPOSITORY / "examples" / "c" / "session.c", tmp_path / "session"
    include, rpath = f"-I{REPOSITORY / 'include'}", f"-Wl,-rpath,{build}"
    subprocess.run([compiler, include, str(source), f"-L{build}", "-lmcm", rpath, "-o", str(program)], check=True)
    subprocess.run([str(program), str(FASHION), str(tmp_path / "c.png"), "7"], check=True, capture_output=True)
    run_example("session.py", str(FASHION), str(tmp_path / "python.png"), "7")
    assert (tmp_path / "python.png").read_bytes() == (tmp_path / "c.png").read_bytes()
    printed = run_example("session.py", folder=tmp_path)
    assert "step 25 of 25" in printed and mcm.read_png(tmp_path / "session.png").shape == (28, 28)


def test_own_loop(model, modulator, tmp_path):
    run_example("own_loop.py", "--seed", "3", "--steps", "4", "--out", str(tmp_path / "loop.png"))
    conditions = {name: CONDITIONS / f"07_{name}.png" for name in ("sketch", "segmentation")}
    expected = mcm.generate(model, mcm.Conditioning(modulator, conditions), seeds=3, scheduler="ddim", steps=4)
    assert np.array_equal(mcm.read_png(tmp_path / "loop.png"), expected[0])


def test_train(tmp_path):
    run_example("train.py", "--steps", "2", "--batch", "4", "--out", str(tmp_path))
    assert mcm.read_png(tmp_path / "samples.png").shape == (3 * 28, 8 * 28)
    mcm.Modulator.open(tmp_path / "module.mcm.safetensors").close()


def test_distributed_example():
    assert "2 processes" in run_example("train_distributed.py", "--steps", "2", "--batch", "4")
