"""Pickle checkpoints (.ckpt, .pt, .pth, .bin) to safetensors, which libmcm reads.

    python3 -m mcm.convert model.ckpt model.safetensors
    python3 -m mcm.convert folder new_folder

A pickle file can run code when it is opened; torch's weights_only loading, by which it is opened here, cannot. Of a
folder of diffusers' all files are taken over, the pickled ones converted. Needs torch.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._safetensors import replacing
from .errors import FormatError, MCMError

if TYPE_CHECKING:
    import torch

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}


class _Nothing:
    """In place of an object of a training program that a checkpoint carries along."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass


def load(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a pickle checkpoint. Raises FormatError if it holds more than tensors may need, or none."""
    import torch

    stub = (_Nothing, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint")
    try:
        with torch.serialization.safe_globals([stub]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        first = (str(error).splitlines() or [type(error).__name__])[0]
        what = f"{found[1]} in it" if found else first
        raise FormatError(f"{path}: is more than weights, which torch refuses to load: {what}") from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    tensors = {k: v for k, v in content.items() if isinstance(v, torch.Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise FormatError(f"{path}: holds no tensors by name")
    return tensors


def save(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write a .safetensors file, at once or not at all."""
    import torch

    header, end = {}, 0
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    for name in order:
        tensor = tensors[name]
        dtype = _DTYPES.get(str(tensor.dtype).removeprefix("torch."))
        if dtype is None:
            raise FormatError(f"{path}: tensor '{name}' is {tensor.dtype}, which safetensors files do not hold")
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            flat = tensors[name].detach().contiguous().reshape(-1)
            file.write(flat.view(torch.uint8).numpy().data if flat.numel() else b"")


def convert_file(source: Path, target: Path) -> None:
    save(load(source), target)


def convert_folder(source: Path, target: Path) -> None:
    """A diffusers folder. Where there are safetensors files already, pickled ones are left out."""
    target.mkdir(parents=True, exist_ok=True)
    below = os.walk(source, followlinks=True)  # as models are opened
    for path in sorted(Path(folder, name) for folder, folders, files in below for name in (*folders, *files)):
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        elif path.suffix in PICKLES:
            if not (path.parent / _safe(path.name)).exists():
                convert_file(path, place.with_name(_safe(path.name)))
        elif path.name.endswith(".bin.index.json"):
            index = json.loads(path.read_text())
            index["weight_map"] = {key: _safe(file) for key, file in index["weight_map"].items()}
            place.with_name(_safe(path.name)).write_text(json.dumps(index, indent=2))
        else:
            shutil.copyfile(path, place)


def _safe(name: str) -> str:
    """The name that diffusers gives the safetensors file, or index, of a pickled one."""
    for pickle in PICKLES:
        name = name.replace(f"{pickle}.index.json", ".safetensors.index.json")
        name = name.removesuffix(pickle) + ".safetensors" if name.endswith(pickle) else name
    return name.replace("pytorch_model", "model", 1) if name.startswith("pytorch_model") else name


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a pickle file, or a folder of diffusers'")
    parser.add_argument("target", type=Path, help="the .safetensors file, or folder, to be written")
    arguments = parser.parse_args()
    try:
        if arguments.source.is_dir():
            convert_folder(arguments.source, arguments.target)
        else:
            convert_file(arguments.source, arguments.target)
    except MCMError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except ImportError:
        print("error: torch is not installed, expected it for reading pickle files", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
