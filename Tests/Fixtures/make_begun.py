"""Write begun.safetensors: runs of all schedulers that begin at a later step, from an image with noise, as diffusers'
image-to-image and inpainting pipelines do them. Needs scipy too.

    python make_begun.py [--out FOLDER]

README.md describes the file.
"""
import argparse
import inspect
import os
from types import SimpleNamespace

import diffusers
import torch
from diffusers import StableDiffusionImg2ImgPipeline

from make_fixtures import model_output, public_config, randn, write
from make_schedulers import CASES, KARRAS, SD, SIGMA_MIN, TRAILING, V, ZERO_SNR

SHAPE = [1, 1, 3, 5]
CLASSIC = [(10, {}), (50, SD), (9, V), (7, TRAILING), (5, dict(num_train_timesteps=400)), (10, ZERO_SNR)]
ALL = {"DDPMScheduler": [*CLASSIC, (20, dict(variance_type="fixed_large"))],
       "DDIMScheduler": [*CLASSIC, (20, dict(set_alpha_to_one=False, clip_sample=False))], **CASES}
# A run of each algorithm and order, over all strengths.
OVER_STRENGTHS = [
    *[(kind, 12, {}) for kind in ALL],
    *[("DPMSolverMultistepScheduler", 16, dict(algorithm_type=name, solver_order=order, **SIGMA_MIN, **SD))
      for name in ("dpmsolver++", "sde-dpmsolver++", "dpmsolver", "sde-dpmsolver") for order in (1, 2, 3)
      if (name, order) != ("sde-dpmsolver", 3)],
    *[("UniPCMultistepScheduler", 16, dict(solver_order=order, **KARRAS, **SD)) for order in (1, 2, 3)],
    ("UniPCMultistepScheduler", 12, dict(solver_order=3, disable_corrector=[6, 7, 9])),
]


def begin(scheduler, steps, strength, distilled=False):
    """The timesteps that are left of a run."""
    if distilled:       # as in LatentConsistencyModelImg2ImgPipeline
        scheduler.set_timesteps(steps, strength=strength)
        return scheduler.timesteps
    scheduler.set_timesteps(steps)
    pipeline = SimpleNamespace(scheduler=scheduler)
    return StableDiffusionImg2ImgPipeline.get_timesteps(pipeline, steps, strength, "cpu")[0]


def begun_run(scheduler, steps, strength, eta, seed, distilled=False):
    """A case and its tensors: samples after each step, predicted originals where diffusers gives them, and the image
    with noise at the beginning of each step."""
    timesteps = begin(scheduler, steps, strength, distilled)
    case = {"class": type(scheduler).__name__, "steps": steps, "strength": strength, "distilled": distilled,
            "eta": eta, "shape": SHAPE, "seed": seed, "timesteps": timesteps.tolist(),
            "config": {k: v for k, v in public_config(scheduler.config).items() if v != -float("inf")}}
    generator = torch.Generator().manual_seed(seed)
    parameters = inspect.signature(scheduler.step).parameters
    options = {k: v for k, v in dict(generator=generator, eta=eta).items() if k in parameters}
    image, noise = randn(SHAPE, seed + 1), torch.randn(SHAPE, generator=generator)
    x = scheduler.add_noise(image, noise, timesteps[:1].repeat(SHAPE[0]))
    samples, originals, noised = [], [], [x]
    for i, t in enumerate(timesteps):
        prediction = model_output(scheduler.config, SHAPE, i)
        scheduler.scale_model_input(x, t)
        out = scheduler.step(prediction, t, x, **options)
        x = out.prev_sample
        samples.append(x)
        originals.append(out.get("pred_original_sample", out.get("denoised")))
        if i + 1 < len(timesteps):      # as in StableDiffusionInpaintPipeline
            noised.append(scheduler.add_noise(image, noise, torch.tensor([timesteps[i + 1]])))
    tensors = {"": torch.stack(samples), ".noised": torch.stack(noised)}
    if originals[0] is not None:
        tensors[".x0"] = torch.stack(originals)
    return case, tensors


def leaving(count, steps):
    """A strength that leaves so many steps, if there are as many."""
    return min((count + 0.5) / steps, 1.0)


def runs():
    """(class, arguments, steps, strength, eta, distilled)"""
    for kind, entries in ALL.items():
        for number, (steps, arguments) in enumerate(entries):
            strength = [0.8, 0.5, leaving(2, steps), 0.35, leaving(1, steps), 0.65][number % 6]
            if steps >= 25:
                strength = min(strength, 0.35)
            yield kind, arguments, steps, max(strength, leaving(1, steps)), [0.0, 1.0][number % 4 == 3], False
    for kind, steps, arguments in OVER_STRENGTHS:
        for strength in (0.1, 0.3, 0.7):
            yield kind, arguments, steps, strength, 0.0, False
    for steps, strength, arguments in [(4, 0.5, {}), (4, 0.8, V), (1, 0.3, {}), (2, 0.05, {}), (8, 0.99, {}),
                                       (3, 0.7, dict(original_inference_steps=30)), (4, 1.0, {})]:
        yield "LCMScheduler", arguments, steps, strength, 0.0, True


def begun():
    tensors, cases = {}, []
    for number, (kind, arguments, steps, strength, eta, distilled) in enumerate(runs()):
        if kind == "PNDMScheduler":     # its Runge-Kutta steps cannot be left out
            arguments = {**arguments, "skip_prk_steps": True}
        scheduler = getattr(diffusers, kind)(**arguments)
        case, results = begun_run(scheduler, steps, strength, eta if kind == "DDIMScheduler" else 0.0, 800 + number,
                                  distilled)
        case["name"] = f"{number}.{kind}"
        cases.append(case)
        for suffix, tensor in results.items():
            assert tensor.isfinite().all(), case
            tensors[case["name"] + suffix] = tensor
    return tensors, cases


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the golden runs that begin at a later step.")
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)), help="folder to write to")
    write(parser.parse_args().out, "begun", *begun())
