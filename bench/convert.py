"""A network in a peer's own format, in a process of its own so that conversion does not count as the peer's memory.

    python convert.py openvino|ncnn|sdcpp WORK --cache build/bench-models
"""
from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import torch

from models import inputs, network
from works import PEER_INPUTS, REPOSITORY, WORKS, Cache, Work


def openvino(work: Work, cache: Cache, folder: Path) -> None:
    """The batch is left open and fixed when the model is loaded."""
    import openvino

    net, tensors = network(work, cache), _one(work, cache)
    shapes = [[-1, *tensor.shape[1:]] if tensor.ndim else [] for tensor in tensors]
    model = openvino.convert_model(net, example_input=tuple(tensors), input=shapes)
    openvino.save_model(model, folder / "net.xml", compress_to_fp16=False)


def ncnn(work: Work, cache: Cache, folder: Path) -> None:
    """ncnn has no batch; the timestep is a constant, since it has no scalars."""
    import pnnx

    net, tensors = network(work, cache), _one(work, cache)
    constants = [tensor for tensor in tensors if not tensor.ndim]

    class AtTimestep(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            return self.net(*constants, *tensors)

    with tempfile.TemporaryDirectory(dir=cache.root) as scratch:
        pnnx.export(AtTimestep().eval(), f"{scratch}/net.pt", tuple(tensors[len(constants):]), fp16=False)
        for name in ("net.ncnn.param", "net.ncnn.bin"):
            shutil.copy(f"{scratch}/{name}", folder)


def sdcpp(work: Work, cache: Cache, folder: Path) -> None:
    """One file in the layout of the program by which Stable Diffusion was trained."""
    from safetensors.torch import load_file, save_file

    sys.path.append(str(REPOSITORY / "Tests/Fixtures"))
    from make_original import unet_original, vae_original

    model = cache.model(work.whole_model)
    unet, vae = (load_file(model / part / "diffusion_pytorch_model.safetensors") for part in ("unet", "vae"))
    text = load_file(model / "text_encoder/model.safetensors")
    parts = {
        "model.diffusion_model.": unet_original(unet, layers=2),
        "first_stage_model.": vae_original(vae, blocks=4),
        "cond_stage_model.transformer.text_model.": {
            name.removeprefix("text_model."): value for name, value in text.items()
        },
    }
    tensors = {prefix + name: value.contiguous() for prefix, part in parts.items() for name, value in part.items()}
    save_file(tensors, folder / "model.safetensors")


def _one(work: Work, cache: Cache) -> list[torch.Tensor]:
    """What the network takes, of one image."""
    given = inputs(work, cache)
    tensors = [given[name] for name in PEER_INPUTS if name in given]
    return [tensor[:1].contiguous() if tensor.ndim else tensor for tensor in tensors]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=["openvino", "ncnn", "sdcpp"])
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args()
    work, cache = WORKS[options.work], Cache(options.cache)
    target = cache.converted(work, options.peer)
    with tempfile.TemporaryDirectory(dir=cache.root) as partial, torch.no_grad():
        folder = Path(partial, "net")
        folder.mkdir()
        {"openvino": openvino, "ncnn": ncnn, "sdcpp": sdcpp}[options.peer](work, cache, folder)
        if target.is_symlink():
            target.unlink()  # what it names belongs to another cache
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
