"""Stable Diffusion 1.5 at full size: minutes, and some 8 GB of memory."""
import gc
import os

import torch
from diffusers import StableDiffusionPipeline

import mcm
from report import relative_error

# 16-bit weights are the same numbers on both sides; five steps of guided predictions add the errors up.
BOUND = 1e-3
STEPS = 5
PROMPT, NEGATIVE = "a photograph of an astronaut riding a horse", "blurred, low quality"


def check_full_size(report, rng, folder):
    """Latents after 5 steps of 512 x 512 pixels, guided, against diffusers in float32."""
    seed, name = rng.randrange(2 ** 63), os.path.basename(os.path.normpath(folder))
    pipeline = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, safety_checker=None,
                                                       requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    latents = pipeline(PROMPT, negative_prompt=NEGATIVE, num_inference_steps=STEPS, output_type="latent",
                       generator=torch.Generator().manual_seed(seed)).images
    with torch.no_grad():
        embeds = pipeline.encode_prompt(PROMPT, "cpu", 1, False)[0]
    del pipeline
    gc.collect()
    with mcm.Model.open(folder) as model:
        prompt = mcm.Prompt.encode(model, PROMPT)
        report.add("full-size", f"{name}: the prompt's states", relative_error(prompt.states, embeds), 1e-5)
        with mcm.Session(model, steps=STEPS) as session:
            session.set_prompt(prompt, NEGATIVE)
            session.seed(seed)
            session.run()
            report.add("full-size", f"{name}: latents of standard deviation {float(latents.std()):.2f} after {STEPS} "
                       f"steps", relative_error(session.x, latents), BOUND)
