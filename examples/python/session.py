"""Watch a session: every fifth step's preview, side by side with the result, as build/session.png.

From the repository root, after `make` and `pip install -e bindings/python`:  python examples/python/session.py [SEED]
"""
import sys

import mcm
import numpy as np

FOLDER = "examples/fashion"
model = mcm.Model.open(f"{FOLDER}/base")
modulator = mcm.Modulator.open(f"{FOLDER}/module.mcm.safetensors")
sketch = f"{FOLDER}/conditions/07_sketch.png"

with mcm.Session(model, scheduler="ddim", steps=25) as session:
    session.attach(modulator, conditions={"sketch": sketch})
    session.seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    previews = [step.preview()[0] for step in session if step.step % 5 == 1]
    mcm.write_png("build/session.png", np.hstack([mcm.read_png(sketch), *previews, session.result()[0]]))
print("build/session.png")
