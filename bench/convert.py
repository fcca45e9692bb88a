"""A network in a peer's own format, in a process of its own so that conversion does not count as the peer's memory.

    python convert.py openvino|ncnn WORK --cache build/bench-models
"""
from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import torch

from models import inputs, network
from works import TIMESTEP, WORKS, Cache


def openvino(net: torch.nn.Module, tensors: list[torch.Tensor], folder: Path) -> None:
    """The batch is left open and fixed when the model is loaded."""
    import openvino

    t = torch.tensor(TIMESTEP)
    shapes = [[]] + [[-1, *tensor.shape[1:]] for tensor in tensors]
    model = openvino.convert_model(net, example_input=(t, *tensors), input=shapes)
    openvino.save_model(model, folder / "net.xml", compress_to_fp16=False)


def ncnn(net: torch.nn.Module, tensors: list[torch.Tensor], folder: Path) -> None:
    """ncnn has no batch; the timestep is a constant, since pnnx takes float inputs only."""
    import pnnx

    class AtTimestep(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            return self.net(torch.tensor(TIMESTEP), *tensors)

    with tempfile.TemporaryDirectory() as scratch:
        pnnx.export(AtTimestep().eval(), f"{scratch}/net.pt", tuple(tensors), fp16=False)
        for name in ("net.ncnn.param", "net.ncnn.bin"):
            shutil.copy(f"{scratch}/{name}", folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=["openvino", "ncnn"])
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args()
    work, cache = WORKS[options.work], Cache(options.cache)
    target = cache.converted(work, options.peer)
    given = inputs(work, cache)
    tensors = [given[name][:1].contiguous() for name in ("x", "e", "y") if name in given]
    with tempfile.TemporaryDirectory(dir=cache.root) as partial, torch.no_grad():
        folder = Path(partial, "net")
        folder.mkdir()
        {"openvino": openvino, "ncnn": ncnn}[options.peer](network(work, cache), tensors, folder)
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
