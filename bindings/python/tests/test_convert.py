"""Pickle checkpoints to safetensors."""
from __future__ import annotations

import json
import pickle
import subprocess
import sys

import mcm
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from latent_support import model_files, write  # noqa: E402
from mcm import convert  # noqa: E402
from training_support import safetensors_parts  # noqa: E402

TENSORS = {
    "b": torch.arange(6).reshape(2, 3).float().t(),  # not contiguous
    "a": torch.tensor([1.5, -2], dtype=torch.bfloat16),
    "half": torch.tensor([[0.5]], dtype=torch.float16),
    "scalar": torch.tensor(7),
    "none": torch.zeros(0, 3),
    "flags": torch.tensor([True, False, True]),
}


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "mcm.convert", *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


def check(path):
    header, data = safetensors_parts(path)
    header.pop("__metadata__", None)
    assert set(header) == set(TENSORS)
    for name, tensor in TENSORS.items():
        begin, end = header[name]["data_offsets"]
        assert header[name]["shape"] == list(tensor.shape) and begin % tensor.element_size() == 0
        assert data[begin:end] == tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    assert header["a"]["dtype"] == "BF16" and header["scalar"]["dtype"] == "I64" and header["flags"]["dtype"] == "BOOL"


@pytest.mark.parametrize("content", [TENSORS, {"state_dict": {**TENSORS, "epoch": 3}, "optimizer_states": []}])
def test_files(tmp_path, content):
    torch.save(content, tmp_path / "model.ckpt")
    convert.convert_file(tmp_path / "model.ckpt", tmp_path / "model.safetensors")
    check(tmp_path / "model.safetensors")


def test_dictionaries(tmp_path):
    """Where tensors lie deeper, the caller says where."""
    file, out = tmp_path / "run.pt", tmp_path / "out"
    torch.save({"model": TENSORS, "ema": TENSORS, "step": torch.zeros(1), "options": {"lr": 1.0}}, file)
    with pytest.raises(mcm.FormatError, match="run.pt: has tensors in 'model', 'ema', expected --key"):
        convert.convert_file(file, out)
    with pytest.raises(mcm.FormatError, match="has no 'net', expected one of .*: 'model', 'ema', 'options'"):
        convert.convert_file(file, out, "net")
    with pytest.raises(mcm.FormatError, match="options: holds no tensors"):
        convert.convert_file(file, out, "options")
    assert not out.exists()
    done = run(file, out, "--key", "model")
    assert done.returncode == 0 and done.stderr == ""
    check(out)
    step = torch.zeros(1)
    for deep in ({"run": {"model": TENSORS}, "step": step}, {"state_dict": {"model": TENSORS, "step": step}}):
        torch.save(deep, file)
        with pytest.raises(mcm.FormatError, match="has tensors in '(run|state_dict.model)'"):
            convert.convert_file(file, out)
        convert.convert_file(file, out, "run.model" if "run" in deep else "state_dict.model")
        check(out)
    torch.save({**TENSORS, "optimizer": [{"momentum": torch.zeros(1)}]}, file)
    with pytest.raises(mcm.FormatError, match="has tensors in 'optimizer'"):
        convert.convert_file(file, out)
    convert.convert_file(file, out, "")
    check(out)


@pytest.mark.parametrize("name, tensor", [
    (1, torch.zeros(1)), ("__metadata__", torch.zeros(1)), ("s", torch.eye(2).to_sparse()),
    ("m", torch.empty(2, device="meta")),
])
def test_tensors_that_files_cannot_hold(tmp_path, name, tensor):
    torch.save({"a": torch.ones(1), name: tensor}, tmp_path / "model.pt")
    with pytest.raises(mcm.FormatError, match=repr(name)):
        convert.convert_file(tmp_path / "model.pt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_negated_views(tmp_path):
    imaginary = torch.tensor([1 + 2j]).conj().imag  # -2, which lies as 2 in memory
    convert.save({"a": imaginary}, tmp_path / "out")
    assert np.frombuffer((tmp_path / "out").read_bytes()[-4:], np.float32) == [-2]


def test_damaged_files(tmp_path):
    torch.save(TENSORS, tmp_path / "model.pt")
    data = (tmp_path / "model.pt").read_bytes()
    (tmp_path / "model.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(mcm.FormatError, match="model.pt: is damaged, or no pickle file of torch"):
        convert.convert_file(tmp_path / "model.pt", tmp_path / "out")


def test_damaged_folders(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("model.bin", "pytorch_model.bin"):
        torch.save(TENSORS, folder / name)
    done = run(folder, tmp_path / "out")
    assert done.returncode == 1 and "expected one of them" in done.stderr and done.stderr.count("\n") == 1
    (folder / "model.bin").unlink()
    for text in ("{", "[]", "{}", '{"weight_map": 3}'):
        (folder / "pytorch_model.bin.index.json").write_text(text)
        done = run(folder, tmp_path / "out")
        assert done.returncode == 1 and "is no index" in done.stderr and done.stderr.count("\n") == 1
    (folder / "pytorch_model.bin.index.json").unlink()
    torch.save(Evil(), folder / "rng_state.pth")  # of a training program
    (folder / "loop").symlink_to(folder)
    for one, other in (("a", "b"), ("b", "a")):
        (folder / one).mkdir()
        (folder / one / other).symlink_to(folder / other)
    done = run(folder, tmp_path / "out")
    assert done.returncode == 0 and done.stderr.startswith("note: left out: ") and "rng_state.pth" in done.stderr
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*")) == [
        "a", "a/b", "b", "b/a", "model.safetensors"
    ]
    (folder / "loop").unlink()
    (folder / "model_index.json").write_text("{}")
    done = run(folder, folder)
    assert done.returncode == 1 and "model_index.json" in done.stderr and "None" not in done.stderr


def test_old_files(tmp_path):
    torch.save(TENSORS, tmp_path / "model.bin", _use_new_zipfile_serialization=False)
    done = run(tmp_path / "model.bin", tmp_path / "model.safetensors")
    assert done.returncode == 0 and done.stderr == ""
    check(tmp_path / "model.safetensors")


class Evil:
    def __reduce__(self):
        return print, ("evil ran",)


def test_files_that_hold_more(tmp_path):
    torch.save({"state_dict": TENSORS, "evil": Evil()}, tmp_path / "evil.ckpt")
    done = run(tmp_path / "evil.ckpt", tmp_path / "out")
    assert done.returncode == 1 and "evil ran" not in done.stdout and not (tmp_path / "out").exists()
    assert done.stderr.startswith("error:") and "refuses" in done.stderr and done.stderr.count("\n") == 1
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Evil()))
    (tmp_path / "text").write_text("no pickle")
    (tmp_path / "empty").write_bytes(b"")
    torch.save({"a": 1}, tmp_path / "numbers")
    torch.save([TENSORS["a"]], tmp_path / "list")
    torch.save({"c": torch.zeros(1, dtype=torch.complex64)}, tmp_path / "complex")
    for name in ("plain.pkl", "text", "empty", "numbers", "list", "complex"):
        with pytest.raises(mcm.FormatError):
            convert.convert_file(tmp_path / name, tmp_path / "out")
    with pytest.raises(OSError):
        convert.convert_file(tmp_path / "nowhere", tmp_path / "out")
    done = run(tmp_path / "nowhere", tmp_path / "out")
    assert (done.returncode, done.stderr) == (1, f"error: {tmp_path / 'nowhere'}: No such file or directory\n")
    assert not (tmp_path / "out").exists()


def test_folders(tmp_path):
    """A model whose weights were pickled, in parts for one component, is the same model."""
    files = model_files()
    folder = write(tmp_path / "pickled", files)
    for path in folder.rglob("*.safetensors"):
        header, data = safetensors_parts(path)
        tensors = {
            name: torch.tensor(np.frombuffer(data[slice(*t["data_offsets"])], np.float32)).reshape(t["shape"])
            for name, t in header.items()
        }
        path.unlink()
        if path.parent.name == "text_encoder":
            names = sorted(tensors)
            parts = {"pytorch_model-00001-of-00002.bin": names[:5], "pytorch_model-00002-of-00002.bin": names[5:]}
            for file, some in parts.items():
                torch.save({name: tensors[name] for name in some}, path.with_name(file))
            index = {"metadata": {}, "weight_map": {name: file for file, some in parts.items() for name in some}}
            path.with_name("pytorch_model.bin.index.json").write_text(json.dumps(index))
        else:
            torch.save(tensors, path.with_suffix(".bin"))
    with pytest.raises(mcm.MCMError):
        mcm.Model.open(folder)
    (folder / "unet").rename(tmp_path / "elsewhere")
    (folder / "unet").symlink_to(tmp_path / "elsewhere")
    done = run(folder, tmp_path / "converted")
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "converted").rglob("*.bin"))
    with mcm.Model.open(tmp_path / "converted") as model, mcm.Model.from_files(files) as original:
        assert model.info == original.info
        run_options = dict(prompt="a cat", scheduler="ddim", steps=2)
        assert np.array_equal(mcm.generate(model, **run_options), mcm.generate(original, **run_options))
