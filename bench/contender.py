"""One contender on one work, in a process of its own: a server for bench.py.

    python contender.py NAME WORK THREADS CACHE INPUTS.npz

Answers lines on standard input with a line of JSON each: the first says what opening took, then

    run           milliseconds per step, over as many steps as fill 0.2 s, or of a whole image
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

from works import GUIDANCE_SCALE, PROMPT, TENSORS, TIMESTEP, WORKS, Cache, Work

RUN_SECONDS = 0.2
LONG_MILLISECONDS = 2000  # of a step that one run before is enough for

# What to time, and what gives the output, if outputs can be compared. Each function opens its network first and is timed
# as a whole, unless it returns `Milliseconds` of its own.
Step, Output = Callable[[], Any], Optional[Callable[[], Any]]
Arrays = dict[str, np.ndarray]


class Milliseconds(float):
    pass


def libmcm(work: Work, threads: int, cache: Cache, given: Arrays, bare: bool = False) -> tuple[Step, Output]:
    """A step of a session is the network, the module if any, and the scheduler."""
    import mcm

    if work.module == "trained":
        return _libmcm_training(work, threads, cache), None
    model = mcm.Model.open(cache.model(work.model), threads=threads)
    if work.part == "decode":
        return (lambda: model.decode(given["z"])), lambda: model.decode(given["z"]).transpose(0, 3, 1, 2)
    if work.part == "text":
        return (lambda: mcm.Prompt.encode(model, PROMPT)), lambda: mcm.Prompt.encode(model, PROMPT).states
    if work.part == "image":
        return _libmcm_image(work, model)
    if work.reads_text:
        return _libmcm_text_step(work, model, given)
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


def _libmcm_text_step(work: Work, model: Any, given: Arrays) -> tuple[Step, Output]:
    """A step with guidance runs the network for a batch twice that of the session."""
    import mcm

    session = mcm.Session(
        model, batch=work.batch // 2, scheduler="ddim", guidance_scale=GUIDANCE_SCALE, guidance_passes=1
    )
    session.set_prompt(mcm.Prompt.from_arrays(given["states"][:1]), mcm.Prompt.from_arrays(given["states"][1:2]))
    session.seed(0)

    def step() -> None:
        if session.done:
            session.seed(0)
        session.step()

    return step, lambda: model.predict(given["x"], TIMESTEP, prompt=mcm.Prompt.from_arrays(given["states"]))


def _libmcm_image(work: Work, model: Any) -> tuple[Step, Output]:
    import mcm

    options: dict[str, Any] = {"scheduler": "ddim", "steps": work.steps}
    if work.reads_text:
        options |= {"prompt": PROMPT, "guidance_scale": GUIDANCE_SCALE}
    images: list[np.ndarray] = []

    def image() -> None:
        images[:] = [mcm.generate(model, seeds=0, **options)]

    return image, lambda: images[0]


def libmcm_demand(work: Work, threads: int, cache: Cache, given: Arrays) -> tuple[Step, Output]:
    import mcm

    return _libmcm_image(work, mcm.Model.open(cache.model(work.model), threads=threads, on_demand=True))


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
    if work.part == "image":
        return _torch_image(work, cache)
    net = network(work, cache).to(memory_format=layout)
    tensors = [torch.from_numpy(array) for array in _arguments(work, given)]
    tensors = [tensor.to(memory_format=layout) if tensor.ndim == 4 else tensor for tensor in tensors]

    def step() -> Any:
        return net(*tensors)

    return step, step


def _torch_image(work: Work, cache: Cache) -> tuple[Step, Output]:
    """As diffusers comes: weights of 16 bits become float32, for which CPUs and PyTorch are made."""
    import torch
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(cache.model(work.model), torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    options: dict[str, Any] = {"num_inference_steps": work.steps, "output_type": "np"}
    if work.reads_text:
        options |= {"prompt": PROMPT, "guidance_scale": GUIDANCE_SCALE}
    images: list[np.ndarray] = []

    def image() -> None:
        images[:] = [pipeline(generator=torch.manual_seed(0), **options).images * 255]

    return image, lambda: images[0]


def torch_channels_last(work: Work, threads: int, cache: Cache, given: Arrays) -> tuple[Step, Output]:
    return torch(work, threads, cache, given, channels_last=True)


def openvino(work: Work, threads: int, cache: Cache, given: Arrays) -> tuple[Step, Output]:
    import openvino

    arrays = _arguments(work, given)
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
    # A clone, since layers that work in place crash on an array's memory.
    images = [[ncnn.Mat(array[i].copy()).clone() for array in _tensors(given)] for i in range(work.batch)]

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


def sd_cpp(work: Work, threads: int, cache: Cache, given: Arrays) -> tuple[Step, Output]:
    """It makes whole images only, and says when each step is done. A step with guidance runs the network twice."""
    from stable_diffusion_cpp import StableDiffusion

    file = cache.converted(work, "sd.cpp") / "model.safetensors"
    drawer = StableDiffusion(model_path=str(file), n_threads=threads, verbose=False)
    side = 8 * (work.size or 64)
    options = {"width": side, "height": side, "cfg_scale": GUIDANCE_SCALE, "sample_method": "ddim_trailing"}

    def image(steps: int) -> tuple[list[float], float]:
        """Seconds of each step, and of what comes after them."""
        seconds: list[float] = []
        last = [0.0]

        def progress(step: int, _: int, time_of_step: float) -> None:
            last[0] = time.perf_counter()
            if step > 0:
                seconds.append(time_of_step)

        drawer.generate_image(PROMPT, sample_steps=steps, progress_callback=progress, **options)
        return seconds, time.perf_counter() - last[0]

    if work.part == "image":
        return (lambda: image(work.steps)), None
    if work.part == "decode":
        return (lambda: Milliseconds(image(1)[1] * 1e3)), None

    def step() -> Milliseconds:
        seconds = image(2)[0]
        return Milliseconds(sum(seconds) / len(seconds) * 1e3)

    return step, None


CONTENDERS = {
    "libmcm": libmcm,
    "libmcm-bare": libmcm_bare,
    "libmcm-demand": libmcm_demand,
    "torch": torch,
    "torch-cl": torch_channels_last,
    "openvino": openvino,
    "ncnn": ncnn,
    "sd.cpp": sd_cpp,
}
IMPORTS = {
    "libmcm": ["mcm"], "libmcm-bare": ["mcm"], "libmcm-demand": ["mcm"], "torch": ["models"], "torch-cl": ["models"],
    "sd.cpp": ["stable_diffusion_cpp"],
}


def _tensors(given: Arrays) -> list[np.ndarray]:
    return [given[name] for name in TENSORS if name in given]


def _arguments(work: Work, given: Arrays) -> list[np.ndarray]:
    """As `models.network` takes them."""
    return [np.array(TIMESTEP), *_tensors(given)] if work.part == "unet" else _tensors(given)


def _memory_mb(key: str) -> float:
    """VmRSS: now; VmHWM: at most. ru_maxrss would not do: it begins with the memory of the process that started this
    one."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{key}:")[1].split()[0]) / 1024


def _milliseconds(calls: int, step: Step) -> float:
    total = 0.0
    for _ in range(calls):
        start = time.perf_counter()
        own = step()
        total += own if isinstance(own, Milliseconds) else (time.perf_counter() - start) * 1e3
    return total / calls


def _serve(name: str, work: Work, threads: int, cache: Cache, given: Arrays, answers: Any) -> None:
    def answer(value: Any) -> None:
        print(json.dumps(value), file=answers, flush=True)

    for module in IMPORTS.get(name, [name]):  # not part of opening
        importlib.import_module(module)
    start = time.perf_counter()
    step, output = CONTENDERS[name](work, threads, cache, given)
    open_ms = (time.perf_counter() - start) * 1e3
    facts = {"open_ms": open_ms, "opened_mb": _memory_mb("VmRSS"), "calls": 1}
    if work.part != "image":
        facts["first_ms"] = _milliseconds(1, step)
        if facts["first_ms"] < LONG_MILLISECONDS:
            facts["calls"] = max(1, round(RUN_SECONDS * 1e3 / _milliseconds(1, step)))
    answer(facts)
    for line in sys.stdin:
        command, _, file = line.strip().partition(" ")
        if command == "run":
            answer(_milliseconds(facts["calls"], step))
        else:
            peak = _memory_mb("VmHWM")
            if output:
                array = np.asarray(output())
                np.save(file, np.rint(array) if work.part in ("decode", "image") else array)  # levels of 255
            answer({"peak_mb": peak})


if __name__ == "__main__":
    # Libraries may print to standard output; the answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    name, work, threads, cache, inputs = sys.argv[1:]
    _serve(name, WORKS[work], int(threads), Cache(Path(cache)), dict(np.load(inputs)), answers)
