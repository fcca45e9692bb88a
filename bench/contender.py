"""One contender on one work, in a process of its own: a server for bench.py.

    python contender.py NAME WORK THREADS CACHE INPUTS.npz

Answers lines on standard input with a line of JSON each: the first says what opening took, then

    run           milliseconds per step, over as many steps as fill 0.2 s
    finish FILE   peak memory so far; the output for INPUTS is then written to FILE, an .npy

Only what the contender itself needs is imported, so that peak memory is its own.
"""
from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from works import TIMESTEP, WORKS, Cache, Work

RUN_SECONDS = 0.2

# What to time, and what gives the output, if outputs can be compared. Each function opens its network first and is timed
# as a whole.
Step, Output = Callable[[], Any], Optional[Callable[[], Any]]
Arrays = dict[str, np.ndarray]


def libmcm(work: Work, threads: int, cache: Cache, given: Arrays, bare: bool = False) -> tuple[Step, Output]:
    """A step of a session is the network, the module if any, and the scheduler."""
    import mcm

    if work.module == "trained":
        return _libmcm_training(work, threads, cache), None
    model = mcm.Model.open(cache.model(work.model), threads=threads)
    module = mcm.Modulator.open(cache.module) if work.module and not bare else None
    conditions = {name: given[name] for name in ("sketch", "segmentation") if name in given}

    def modulated() -> np.ndarray:
        return module.modulate(model, given["x"], given["e"], TIMESTEP, conditions)

    if work.module == "alone":
        return modulated, modulated
    session = mcm.Session(model, batch=work.batch, scheduler="ddim")
    if module:
        session.attach(module, conditions=conditions)
    session.seed(0)

    def step() -> None:
        if session.done:
            session.seed(0)
        session.step()

    return step, modulated if module else lambda: model.predict(given["x"], TIMESTEP)


def _libmcm_training(work: Work, threads: int, cache: Cache) -> Step:
    import mcm

    dataset = mcm.Dataset(cache.dataset(work))
    bank = mcm.Bank(cache.bank(work)) if work.bank else None
    base = bank or mcm.Model.open(cache.model(work.model), threads=threads)
    options = {"threads": threads} if bank else {}
    trainer = mcm.Trainer.from_module(base, cache.trained(work), learning_rate=1e-5, **options)
    return lambda: trainer.step_dataset(dataset, work.batch, bank=bank)


def libmcm_bare(work: Work, threads: int, cache: Cache, given: Arrays) -> tuple[Step, Output]:
    return libmcm(work, threads, cache, given, bare=True)


def torch(work: Work, threads: int, cache: Cache, given: Arrays, channels_last: bool = False) -> tuple[Step, Output]:
    import torch
    from models import network

    torch.set_num_threads(threads)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    if work.module == "trained":
        from models import Training

        training = Training(work, cache, layout)
        x0, y = (torch.from_numpy(given[name]).to(memory_format=layout) for name in ("x0", "y"))
        return lambda: training(x0, y), None
    torch.set_grad_enabled(False)
    net = network(work, cache).to(memory_format=layout)
    t = torch.tensor(TIMESTEP)
    tensors = [torch.from_numpy(array).to(memory_format=layout) for array in _tensors(given)]

    def step() -> Any:
        return net(t, *tensors)

    return step, step


def torch_channels_last(work: Work, threads: int, cache: Cache, given: Arrays) -> tuple[Step, Output]:
    return torch(work, threads, cache, given, channels_last=True)


def openvino(work: Work, threads: int, cache: Cache, given: Arrays) -> tuple[Step, Output]:
    import openvino

    arrays = [np.array(TIMESTEP), *_tensors(given)]
    core = openvino.Core()
    net = core.read_model(cache.converted(work, "openvino") / "net.xml")
    net.reshape({port: list(array.shape) for port, array in zip(net.inputs, arrays)})
    options = {
        "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core.compile_model(net, "CPU", options)

    def step() -> Any:
        return compiled(arrays)[0]

    return step, step


def ncnn(work: Work, threads: int, cache: Cache, given: Arrays) -> tuple[Step, Output]:
    """ncnn has no batch: image by image."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    folder = cache.converted(work, "ncnn")
    for load, file in ((net.load_param, "net.ncnn.param"), (net.load_model, "net.ncnn.bin")):
        if load(str(folder / file)) != 0:
            raise RuntimeError(f"ncnn cannot load {file}")
    images = [[ncnn.Mat(np.ascontiguousarray(array[i])) for array in _tensors(given)] for i in range(work.batch)]

    def one(tensors: list[Any]) -> np.ndarray:
        extractor = net.create_extractor()
        for index, tensor in enumerate(tensors):
            extractor.input(f"in{index}", tensor)
        status, output = extractor.extract("out0")
        if status != 0:
            raise RuntimeError(f"ncnn's extract returned {status}")
        return np.array(output)

    def step() -> np.ndarray:
        return np.stack([one(tensors) for tensors in images])

    return step, step


CONTENDERS = {
    "libmcm": libmcm,
    "libmcm-bare": libmcm_bare,
    "torch": torch,
    "torch-cl": torch_channels_last,
    "openvino": openvino,
    "ncnn": ncnn,
}
IMPORTS = {"libmcm": ["mcm"], "libmcm-bare": ["mcm"], "torch": ["models"], "torch-cl": ["models"]}


def _tensors(given: Arrays) -> list[np.ndarray]:
    return [given[name] for name in ("x", "e", "y") if name in given]


def _peak_mb() -> float:
    """ru_maxrss would not do: it begins with the memory of the process that started this one."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _milliseconds(calls: int, step: Step) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - start) * 1e3 / calls


def _serve(name: str, work: Work, threads: int, cache: Cache, given: Arrays, answers: Any) -> None:
    def answer(value: Any) -> None:
        print(json.dumps(value), file=answers, flush=True)

    for module in IMPORTS.get(name, [name]):  # not part of opening
        importlib.import_module(module)
    start = time.perf_counter()
    step, output = CONTENDERS[name](work, threads, cache, given)
    open_ms = (time.perf_counter() - start) * 1e3
    first_ms = _milliseconds(1, step)
    calls = max(1, round(RUN_SECONDS * 1e3 / _milliseconds(1, step)))
    answer({"open_ms": open_ms, "first_ms": first_ms, "calls": calls})
    for line in sys.stdin:
        command, _, file = line.strip().partition(" ")
        if command == "run":
            answer(_milliseconds(calls, step))
        else:
            peak = _peak_mb()
            if output:
                np.save(file, np.asarray(output()))
            answer({"peak_mb": peak})


if __name__ == "__main__":
    # Libraries may print to standard output; the answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    name, work, threads, cache, inputs = sys.argv[1:]
    _serve(name, WORKS[work], int(threads), Cache(Path(cache)), dict(np.load(inputs)), answers)
