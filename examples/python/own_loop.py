"""Sampling with a loop of one's own: predict, modulate, scheduler step.

From the repository root, after `make` and `pip install -e bindings/python`:  python examples/python/own_loop.py
"""
import argparse

import mcm

FOLDER = "examples/fashion"
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--condition", default="07", help="which of the conditions, 00 .. 07")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--steps", type=int, default=25)
parser.add_argument("--weight", type=float, default=1.0)
parser.add_argument("--out", default="build/own_loop.png")
options = parser.parse_args()

model = mcm.Model.open(f"{FOLDER}/base")
modulator = mcm.Modulator.open(f"{FOLDER}/module.mcm.safetensors")
conditions = {
    name: mcm.read_png(f"{FOLDER}/conditions/{options.condition}_{name}.png") for name in ("sketch", "segmentation")
}

scheduler = mcm.Scheduler(model, "ddim", options.steps)
generator = mcm.Generator(options.seed)
x = generator.normal((1, model.info.channels, model.info.height, model.info.width))
for step, t in enumerate(scheduler.model_timesteps):
    e = model.predict(x, t)
    e = modulator.modulate(model, x, e, t, conditions, options.weight)
    noise = generator.normal(x.shape) if scheduler.needs_noise(step) else None
    x, x0 = scheduler.step(step, x, e, noise)

mcm.write_png(options.out, model.decode(x[0]))
print(options.out)
