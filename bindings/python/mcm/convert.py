"""Pickle checkpoints (.ckpt, .pt, .pth, .bin) to safetensors, which libmcm reads.

    python3 -m mcm.convert model.ckpt model.safetensors
    python3 -m mcm.convert training.pt model.safetensors --key model
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
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

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


def load(path: Path, key: Optional[str] = None) -> dict[str, torch.Tensor]:
    """The tensors of a pickle checkpoint, by name. key: which of the checkpoint's dictionaries holds them, such as
    "model" or "run.ema"; "": the checkpoint itself; None: that with the name "state_dict", or else itself, unless there
    are tensors deeper in it. Raises FormatError if it holds more than tensors may need, or none.
    """
    import torch

    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):  # CVE-2025-32434
        raise ImportError(f"torch {torch.__version__} lets pickle files run code in spite of weights_only")
    stub = (_Nothing, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint")
    try:
        with torch.serialization.safe_globals([stub]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        if found is None:
            raise FormatError(f"{path}: is damaged, or no pickle file of torch") from error
        raise FormatError(f"{path}: is more than weights, which torch refuses to load: {found[1]} in it") from error
    if key is None:
        key = "state_dict" if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping) else ""
        nested = [name for name, part in _part(content, key, path).items() if _holds_tensors(part, False)]
        if nested:
            names = _names(f"{key}.{name}" if key else name for name in nested)
            raise FormatError(f"{path}: has tensors in {names}, expected --key to say which are meant")
    return _tensors(_part(content, key, path), f"{path}: {key}" if key else str(path))


def _part(content: Any, key: str, path: Path) -> Mapping[Any, Any]:
    """The dictionary that "" or a key, or several with dots between them, leads to."""
    for name in key.split(".") if key else []:
        parts = [k for k, v in content.items() if isinstance(v, Mapping)] if isinstance(content, Mapping) else []
        if name not in parts:
            raise FormatError(f"{path}: has no '{key}', expected one of its dictionaries: {_names(parts)}")
        content = content[name]
    return content if isinstance(content, Mapping) else {}


def _holds_tensors(value: object, itself: bool = True) -> bool:
    import torch

    if isinstance(value, Mapping):
        return any(map(_holds_tensors, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_holds_tensors, value))
    return itself and isinstance(value, torch.Tensor)


def _names(keys: Iterable[object]) -> str:
    return ", ".join(f"'{key}'" for key in keys) or "there are none"


def _tensors(content: object, name: str) -> dict[str, torch.Tensor]:
    import torch

    tensors = {k: v for k, v in content.items() if isinstance(v, torch.Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise FormatError(f"{name}: holds no tensors by name")
    for key, tensor in tensors.items():
        if not isinstance(key, str) or key == "__metadata__":
            raise FormatError(f"{name}: holds a tensor {key!r}, which is no name for one in a safetensors file")
        if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized or tensor.is_nested:
            raise FormatError(f"{name}: tensor '{key}' is sparse, quantized, nested or without data, expected numbers")
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
            flat = tensors[name].detach().resolve_neg().contiguous().reshape(-1)
            flat = flat.as_strided(flat.shape, [1])  # contiguous, but a single number may have any stride
            file.write(flat.view(torch.uint8).numpy().data if flat.numel() else b"")


def convert_file(source: Path, target: Path, key: Optional[str] = None) -> None:
    save(load(source, key), target)


def convert_folder(source: Path, target: Path) -> None:
    """A diffusers folder. Where there are safetensors files already, pickled ones are left out."""
    target.mkdir(parents=True, exist_ok=True)
    below = _walk(source)
    converted: dict[Path, Path] = {}
    for path in sorted(below):
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        elif path.suffix in PICKLES:
            if not (path.parent / _safe(path.name)).exists():
                place = place.with_name(_safe(path.name))
                if place in converted:
                    raise FormatError(f"{path}: becomes {place}, and so does {converted[place]}: expected one of them")
                converted[place] = path
                try:
                    convert_file(path, place)
                except FormatError as error:
                    if _is_weights(path):
                        raise
                    print(f"note: left out: {error}", file=sys.stderr)
        elif path.name.endswith(".bin.index.json"):
            try:
                index = json.loads(path.read_text())
                index["weight_map"] = {key: _safe(file) for key, file in index["weight_map"].items()}
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                raise FormatError(f"{path}: is no index of a checkpoint: JSON with a 'weight_map'") from None
            place.with_name(_safe(path.name)).write_text(json.dumps(index, indent=2))
        else:
            shutil.copyfile(path, place)


def _walk(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """All below a folder. Links are followed, as when models are opened, but for those that lead back."""
    above = (*above, os.path.realpath(folder))
    for path in folder.iterdir():
        if path.is_dir() and os.path.realpath(path) in above:
            continue
        yield path
        if path.is_dir():
            yield from _walk(path, above)


def _is_weights(path: Path) -> bool:
    """Not one of the pickles that training programs leave beside: rng_state.pth, scheduler.bin."""
    others = ("optimizer", "scheduler", "rng_state", "random_states", "training_args", "trainer_state", "scaler")
    return not path.name.startswith(others)


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
    parser.add_argument("--key", help="of a file: which of its dictionaries holds the tensors; '': the file itself")
    arguments = parser.parse_args()
    try:
        if arguments.source.is_dir():
            if arguments.key is not None:
                parser.error("--key is of a file, not of a folder")
            convert_folder(arguments.source, arguments.target)
        else:
            convert_file(arguments.source, arguments.target, arguments.key)
    except MCMError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}" if error.strerror else f"error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError:
        print("error: torch is not installed, expected it for reading pickle files", file=sys.stderr)
        return 1
    except ImportError as error:
        print(f"error: {error}, expected 2.6 or later", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
