"""One contender on one work, in a process of its own: a server for bench.py.

    python contender.py NAME WORK THREADS CACHE INPUTS.npz

Answers lines on standard input with a line of JSON each: the first says what opening took, then

    run           milliseconds per step, over as many steps as fill 0.2 s; or of an image, with those of opening
    finish FILE   memory so far; the output for INPUTS is then written to FILE, an .npy

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

from works import GUIDANCE, PEER_INPUTS, PROMPT, TIMESTEP, WORKS, Cache, Work

RUN_SECONDS = 0.2

# What to time, and what gives the output, if outputs can be compared. Each function opens its network first and is
# timed as a whole.
Step, Output = Callable[[], Any], Optional[Callable[[], Any]]
Arrays = dict[str, np.ndarray]


class Seconds(float):
    """What a step took, from one that has to do more than the step."""


def libmcm(
    work: Work, threads: int, cache: Cache, given: Arrays, bare: bool = False, on_demand: bool = False
) -> tuple[Step, Output]:
    """A step of a session is the network, the module if any, and the scheduler."""
    import mcm

    if work.part == "training":
        return _libmcm_training(work, threads, cache), None
    if work.part == "image":
        return _libmcm_image(work, threads, cache, on_demand)
    # What a UNet alone does not need is then not loaded.
    model = mcm.Model.open(cache.model(work.model), threads=threads, on_demand=work.part == "network")
    if work.part == "encoder":
        images = list(given["x"].transpose(0, 2, 3, 1) / 2 + 0.5)
        return (lambda: model.encode(images)), (lambda: model.encode(images))
    if work.part == "decoder":
        return (lambda: model.decode(given["x"])), (lambda: model.decode(given["x"]))
    if work.part == "text":
        return (lambda: mcm.Prompt.encode(model, PROMPT)), (lambda: mcm.Prompt.encode(model, PROMPT).states)
    module = mcm.Modulator.open(cache.module) if work.part != "network" and not bare else None
    conditions = {name: given[name] for name in ("sketch", "segmentation") if name in given}

    def modulated() -> np.ndarray:
        return module.modulate(model, given["x"], given["e"], TIMESTEP, conditions)

    if work.part == "module":
        return modulated, modulated
    # With guidance the network predicts for two texts at once.
    guided = work.part == "network" and "y" in given
    session = mcm.Session(
        model, batch=work.batch // 2 if guided else work.batch, scheduler="ddim", guidance_passes=1,
        guidance_scale=GUIDANCE if guided else None)
    if guided:
        session.set_prompt(*(mcm.Prompt.from_arrays(half) for half in np.split(given["y"], 2)))
    if module:
        session.attach(module, conditions=conditions)
    session.seed(0)

    def step() -> None:
        if session.done:
            session.seed(0)
        session.step()

    prompt = mcm.Prompt.from_arrays(given["y"]) if guided else None
    return step, modulated if module else lambda: model.predict(given["x"], TIMESTEP, prompt=prompt)


def _libmcm_image(work: Work, threads: int, cache: Cache, on_demand: bool) -> tuple[Step, Output]:
    import mcm

    model = mcm.Model.open(cache.model(work.model), threads=threads, on_demand=on_demand)
    options = {"prompt": PROMPT, "guidance_scale": GUIDANCE} if model.info.text_channels else {}
    return _last(lambda: mcm.generate(model, seeds=0, scheduler="ddim", steps=work.steps, **options))


def _last(step: Callable[[], np.ndarray]) -> tuple[Step, Output]:
    """A step that takes minutes, and its last output."""
    images: list[np.ndarray] = []

    def kept() -> None:
        images[:] = [step()]

    return kept, lambda: images[0]


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


def libmcm_on_demand(work: Work, threads: int, cache: Cache, given: Arrays) -> tuple[Step, Output]:
    return libmcm(work, threads, cache, given, on_demand=True)


def torch(work: Work, threads: int, cache: Cache, given: Arrays, channels_last: bool = False) -> tuple[Step, Output]:
    import torch
    from models import network

    torch.set_num_threads(threads)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    if work.part == "image":
        return _torch_image(work, cache)
    if work.part == "training":
        from models import Training

        training = Training(work, cache, layout)
        x0, y = (torch.from_numpy(given[name]).to(memory_format=layout) for name in ("x0", "y"))
        return lambda: training(x0, y), None
    torch.set_grad_enabled(False)
    net = network(work, cache).to(memory_format=layout)
    tensors = [torch.from_numpy(array) for array in _tensors(given)]
    tensors = [tensor.to(memory_format=layout) if tensor.ndim == 4 else tensor for tensor in tensors]

    def step() -> Any:
        return net(*tensors)

    return step, _output(work, step)


def _torch_image(work: Work, cache: Cache) -> tuple[Step, Output]:
    """In float32, whatever the files have: else diffusers gives the UNet that, but the text encoder 16 bits."""
    import diffusers
    import torch

    pipeline = diffusers.DiffusionPipeline.from_pretrained(cache.model(work.model), dtype=torch.float32)
    options = {"prompt": PROMPT, "guidance_scale": GUIDANCE} if hasattr(pipeline, "text_encoder") else {}

    def image() -> np.ndarray:
        generator = torch.Generator().manual_seed(0)
        images = pipeline(num_inference_steps=work.steps, generator=generator, output_type="np", **options).images
        return (images * 255).round().astype(np.uint8)

    return _last(image)


def torch_channels_last(work: Work, threads: int, cache: Cache, given: Arrays) -> tuple[Step, Output]:
    return torch(work, threads, cache, given, channels_last=True)


def openvino(work: Work, threads: int, cache: Cache, given: Arrays) -> tuple[Step, Output]:
    import openvino

    arrays = _tensors(given)
    core = openvino.Core()
    net = core.read_model(cache.converted(work, "openvino") / "net.xml")
    net.reshape({port: list(array.shape) for port, array in zip(net.inputs, arrays)})
    options = {
        "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core.compile_model(net, "CPU", options)

    def step() -> Any:
        return compiled(arrays)[0]

    return step, _output(work, step)


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
    arrays = [array for array in _tensors(given) if array.ndim]  # all but the timestep
    images = [[np.ascontiguousarray(array[i]) for array in arrays] for i in range(work.batch)]

    def one(tensors: list[np.ndarray]) -> np.ndarray:
        extractor = net.create_extractor()
        for index, tensor in enumerate(tensors):
            extractor.input(f"in{index}", ncnn.Mat(tensor).clone())  # a first layer may work in place
        status, output = extractor.extract("out0")
        if status != 0:
            raise RuntimeError(f"ncnn's extract returned {status}")
        return np.array(output)

    def step() -> np.ndarray:
        return np.stack([one(tensors) for tensors in images])

    return step, _output(work, step)


def sdcpp(work: Work, threads: int, cache: Cache, given: Arrays) -> tuple[Step, Output]:
    """stable-diffusion.cpp makes whole images. Of one with few steps, a part's time is that between its reports."""
    from stable_diffusion_cpp import StableDiffusion

    file = cache.converted(work, "sdcpp") / "model.safetensors"
    model = StableDiffusion(str(file), n_threads=threads, vae_decode_only=True, verbose=False)
    clock: list[float] = []  # when steps ended

    def image(steps: int, size: int = 512, guidance: float = GUIDANCE) -> np.ndarray:
        clock.clear()
        [picture] = model.generate_image(
            PROMPT, width=size, height=size, cfg_scale=guidance, sample_method="euler", sample_steps=steps, seed=0,
            progress_callback=lambda *_: clock.append(time.perf_counter()))
        return np.asarray(picture)[None]

    def network() -> Seconds:
        image(2)
        return Seconds(clock[-1] - clock[-2])

    def decoder() -> Seconds:
        image(1, 8 * work.size, guidance=1)
        return Seconds(time.perf_counter() - clock[-1])

    if work.part == "image":
        return (lambda: image(work.steps)), None
    return {"network": network, "decoder": decoder}[work.part], None


CONTENDERS = {
    "libmcm": libmcm,
    "libmcm-bare": libmcm_bare,
    "torch": torch,
    "torch-cl": torch_channels_last,
    "openvino": openvino,
    "ncnn": ncnn,
    "sdcpp": sdcpp,
    "libmcm-on-demand": libmcm_on_demand,
}
IMPORTS = {"torch": ["models"], "torch-cl": ["models"], "sdcpp": ["stable_diffusion_cpp"]}
# What PyTorch's networks would import while they are opened.
PART_IMPORTS = {
    "network": ["diffusers.models.unets.unet_2d_condition"],
    "encoder": ["diffusers.models.autoencoders.autoencoder_kl"],
    "decoder": ["diffusers.models.autoencoders.autoencoder_kl"],
    "text": ["transformers.models.clip.modeling_clip"],
    "image": [
        "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
        "diffusers.pipelines.deprecated.latent_diffusion_uncond",
    ],
}


def _imports(name: str, work: Work) -> list[str]:
    if name.startswith("libmcm"):
        return ["mcm"]
    return IMPORTS.get(name, [name]) + (PART_IMPORTS.get(work.part, []) if name.startswith("torch") else [])


def _tensors(given: Arrays) -> list[np.ndarray]:
    return [given[name] for name in PEER_INPUTS if name in given]


def _output(work: Work, step: Callable[[], Any]) -> Output:
    """libmcm decodes to 8 bits, so the others' images are rounded too."""

    def rounded() -> np.ndarray:
        image = np.asarray(step())
        return ((image / 2 + 0.5).clip(0, 1) * 255).round().transpose(0, 2, 3, 1)

    return rounded if work.part == "decoder" else step


def _memory_mb(kind: str) -> float:
    """VmRSS or VmHWM, its peak; ru_maxrss would not do: it begins with the memory of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{kind}:")[1].split()[0]) / 1024


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _milliseconds(calls: int, step: Step) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        result = step()
    seconds = (time.perf_counter() - start) / calls
    return 1e3 * (result if isinstance(result, Seconds) else seconds)


def _serve(name: str, work: Work, threads: int, cache: Cache, given: Arrays, answers: Any) -> None:
    def answer(value: Any) -> None:
        print(json.dumps(value), file=answers, flush=True)

    for module in _imports(name, work):  # not part of opening
        importlib.import_module(module)
    start = time.perf_counter()
    step, output = CONTENDERS[name](work, threads, cache, given)
    opened = {"open_ms": (time.perf_counter() - start) * 1e3}
    before, peak = _memory_mb("VmRSS"), _memory_mb("VmHWM")
    _forget_peak()
    calls, added_ms = 1, 0.0
    if work.part == "image":
        added_ms = opened["open_ms"]
    elif name != "sdcpp":  # whose steps are not its first either
        opened["first_ms"] = _milliseconds(1, step)
        calls = max(1, round(RUN_SECONDS * 1e3 / _milliseconds(1, step)))
    answer(opened | {"calls": calls})
    for line in sys.stdin:
        command, _, file = line.strip().partition(" ")
        if command == "run":
            answer(added_ms + _milliseconds(calls, step))
        else:
            working = _memory_mb("VmHWM")
            if output:
                np.save(file, np.asarray(output()))
            answer({"peak_mb": max(peak, working), "opened_mb": before, "working_mb": working - before})


if __name__ == "__main__":
    # Libraries may print to standard output; the answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    name, work, threads, cache, inputs = sys.argv[1:]
    _serve(name, WORKS[work], int(threads), Cache(Path(cache)), dict(np.load(inputs)), answers)
