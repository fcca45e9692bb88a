"""Stable Diffusion from a diffusers folder or one .safetensors file, with a preview after each step: build/image.png.

From the repository root, after `make` and `pip install -e bindings/python`:

  python examples/python/text_to_image.py MODEL "a red boot on a table"
  python examples/python/text_to_image.py MODEL "a red boot" --module boots.mcm.safetensors --sketch boot.png
  python examples/python/text_to_image.py MODEL "a red boot" --image boot.png --strength 0.6
  python examples/python/text_to_image.py MODEL "a red boot" --controlnet FOLDER --control edges.png
"""
import argparse

import mcm

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", help="a diffusers folder, or a .safetensors file of Stable Diffusion 1.x, 2.x or XL")
parser.add_argument("prompt", help="with weights: a (red:1.3) boot")
parser.add_argument("--negative", help="what the image is led away from")
parser.add_argument("--steps", type=int, default=25)
parser.add_argument("--scheduler", default="dpm_solver_multistep")
parser.add_argument("--guidance", type=float, help="its scale; 1: none")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), default=(None, None))
parser.add_argument("--image", help="a PNG of this size, to begin from")
parser.add_argument("--mask", help="a grey PNG of this size, white where the image is to be painted")
parser.add_argument("--strength", type=float, default=0.8, help="share of the steps with --image")
parser.add_argument("--module", help="a module file")
parser.add_argument("--sketch", help="the PNG that it follows, of any size")
parser.add_argument("--controlnet", help="a folder")
parser.add_argument("--control", help="the PNG of the image's size that it follows")
parser.add_argument("--lean", action="store_true", help="8-bit weights, and parts loaded when they are needed")
parser.add_argument("--out", default="build/image.png")
options = parser.parse_args()
if bool(options.module) != bool(options.sketch) or bool(options.controlnet) != bool(options.control):
    parser.error("--module and --sketch go together, and so do --controlnet and --control")


def encode(text: str) -> mcm.Prompt:
    prompt = mcm.Prompt.encode(model, text, weights=True)
    if prompt.truncated:
        print("too long, its end is left out:", text)
    return prompt


model = mcm.Model.open(options.model, on_demand=options.lean, int8_weights=options.lean)
with mcm.Session(
    model, width=options.size[0], height=options.size[1], scheduler=options.scheduler, steps=options.steps,
    guidance_scale=options.guidance, strength=options.strength if options.image and not options.mask else 1,
) as session:
    session.set_prompt(encode(options.prompt), None if options.negative is None else encode(options.negative))
    session.set_image(mcm.read_png(options.image) if options.image else None)
    session.set_mask(mcm.read_png(options.mask) if options.mask else None)
    if options.module:
        session.attach(mcm.Modulator.open(options.module), conditions={"sketch": options.sketch})
    if options.controlnet:
        session.attach_controlnet(mcm.ControlNet.open(options.controlnet), mcm.read_png(options.control))
    session.seed(options.seed)
    for step in session:
        mcm.write_png(options.out, step.preview()[0])  # a thumbnail, for an impatient viewer
        print(f"step {step.step} of {step.steps}", flush=True)
    mcm.write_png(options.out, session.result()[0])
print(options.out)
