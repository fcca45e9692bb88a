"""A network in a peer's own format, in a process of its own so that conversion does not count as the peer's memory.

    python convert.py openvino|ncnn|sd.cpp WORK --cache build/bench-models
"""
from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import torch

from models import inputs, network
from works import REPOSITORY, TENSORS, TIMESTEP, WORKS, Cache, Work


def openvino(work: Work, cache: Cache, folder: Path) -> None:
    """The batch is left open and fixed when the model is loaded."""
    import openvino

    tensors = _tensors(work, cache)
    shapes = [[-1, *tensor.shape[1:]] for tensor in tensors]
    if work.part == "unet":
        tensors, shapes = [torch.tensor(TIMESTEP), *tensors], [[], *shapes]
    model = openvino.convert_model(network(work, cache), example_input=tuple(tensors), input=shapes)
    openvino.save_model(model, folder / "net.xml", compress_to_fp16=False)


def ncnn(work: Work, cache: Cache, folder: Path) -> None:
    """ncnn has no batch; the timestep is a constant, since pnnx takes float inputs only."""
    import pnnx

    class AtTimestep(torch.nn.Module):
        def __init__(self, net: torch.nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            return self.net(torch.tensor(TIMESTEP), *tensors)

    net = network(work, cache)
    net = AtTimestep(net).eval() if work.part == "unet" else net
    with tempfile.TemporaryDirectory() as scratch:
        pnnx.export(net, f"{scratch}/net.pt", tuple(_tensors(work, cache)), fp16=False)
        for name in ("net.ncnn.param", "net.ncnn.bin"):
            shutil.copy(f"{scratch}/{name}", folder)


def sd_cpp(work: Work, cache: Cache, folder: Path) -> None:
    """One file in the layout of the original programs: of diffusers' folders it reads those of Stable Diffusion XL."""
    from safetensors.torch import load_file, save_file

    sys.path.append(str(REPOSITORY / "Tests/Fixtures"))
    from make_original import unet_original, vae_original

    model = cache.model(work.model)
    parts = {
        "model.diffusion_model.": unet_original(load_file(model / "unet/diffusion_pytorch_model.safetensors"), 2),
        "first_stage_model.": vae_original(load_file(model / "vae/diffusion_pytorch_model.safetensors"), 4),
        "cond_stage_model.transformer.text_model.": {
            key.removeprefix("text_model."): value
            for key, value in load_file(model / "text_encoder/model.safetensors").items()
        },
    }
    tensors = {prefix + key: value.contiguous() for prefix, part in parts.items() for key, value in part.items()}
    save_file(tensors, folder / "model.safetensors")


def _tensors(work: Work, cache: Cache) -> list[torch.Tensor]:
    """The first of a batch, but for t."""
    given = inputs(work, cache)
    return [given[name][:1].contiguous() for name in TENSORS if name in given]


CONVERSIONS = {"openvino": openvino, "ncnn": ncnn, "sd.cpp": sd_cpp}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=CONVERSIONS)
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args()
    work, cache = WORKS[options.work], Cache(options.cache)
    target = cache.converted(work, options.peer)
    with tempfile.TemporaryDirectory(dir=cache.root) as partial, torch.no_grad():
        folder = Path(partial, "net")
        folder.mkdir()
        CONVERSIONS[options.peer](work, cache, folder)
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
