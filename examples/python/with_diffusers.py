"""A module in a diffusers pipeline, as a torch network and through libmcm, beside libmcm's own session.

Needs torch and diffusers. After `make` and `pip install -e bindings/python`:  python examples/python/with_diffusers.py
"""
import argparse
from pathlib import Path

import mcm
import mcm.diffusers
import numpy as np
import numpy.typing as npt
import torch
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel

FASHION = Path(__file__).resolve().parents[1] / "fashion"
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--condition", default="07", help="which of the conditions, 00 .. 07")
parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
parser.add_argument("--steps", type=int, default=25)
parser.add_argument("--out", default="with_diffusers.png")
options = parser.parse_args()
conditions = {
    name: FASHION / "conditions" / f"{options.condition}_{name}.png" for name in ("sketch", "segmentation")
}

# libmcm alone.
model, modulator = mcm.Model.open(FASHION / "base"), mcm.Modulator.open(FASHION / "module.mcm.safetensors")
session = mcm.generate(model, mcm.Conditioning(modulator, conditions), seeds=options.seeds, scheduler="ddim",
                       steps=options.steps)

# diffusers with the module as a torch network, and with libmcm doing the module's work.
pipeline = DDIMPipeline(
    UNet2DModel.from_pretrained(FASHION / "base", subfolder="unet", low_cpu_mem_usage=False),
    DDIMScheduler.from_pretrained(FASHION / "base", subfolder="scheduler"),
)
pipeline.set_progress_bar_config(leave=False)


def draw() -> npt.NDArray[np.uint8]:
    generators = [torch.Generator().manual_seed(seed) for seed in options.seeds]
    images = pipeline(len(generators), generators, num_inference_steps=options.steps, output_type="np").images[..., 0]
    levels: npt.NDArray[np.uint8] = np.rint(255 * images).astype(np.uint8)
    return levels


plain = draw()
with mcm.diffusers.attach(pipeline.unet, mcm.diffusers.Modulator.open(FASHION / "module.mcm.safetensors"), conditions):
    network = draw()
with mcm.diffusers.attach(pipeline.unet, modulator, conditions, model=model):
    library = draw()

for name, images in (("diffusers with the torch network", network), ("diffusers with libmcm's module", library)):
    difference = np.abs(images.astype(int) - session).max()
    print(f"{name} differs by at most {difference} of 255 levels from libmcm's session")
sketches = [mcm.read_png(conditions["sketch"])] * len(session)
rows = np.concatenate([sketches, plain, network, library, session])
mcm.plot.contact_sheet(rows, options.out, columns=len(session), zoom=3)
print(f"{options.out}: the sketch; without the module; with it as a torch network, by libmcm in diffusers, by libmcm")
