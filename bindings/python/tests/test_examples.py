"""The programs in examples/python that train."""
from __future__ import annotations

import os
import subprocess
import sys

import mcm

from conftest import REPOSITORY


def run_example(script, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "bindings" / "python")}
    command = [sys.executable, str(REPOSITORY / "examples" / "python" / script), *arguments]
    run = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_example(tmp_path):
    run_example("train.py", "--steps", "2", "--batch", "4", "--out", str(tmp_path))
    assert mcm.read_png(tmp_path / "samples.png").shape == (3 * 28, 8 * 28)
    mcm.Modulator.open(tmp_path / "module.mcm.safetensors").close()


def test_distributed_example():
    assert "2 processes" in run_example("train_distributed.py", "--steps", "2", "--batch", "4")
