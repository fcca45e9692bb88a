"""A garment that follows a sketch and a label map, drawn step by step: session.png.

After `make` and `pip install -e bindings/python`, or with the wheel:  python examples/python/session.py
"""
import argparse
from pathlib import Path

import mcm

FASHION = Path(__file__).resolve().parents[1] / "fashion"
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", nargs="?", type=Path, default=FASHION, help="of the fashion example")
parser.add_argument("out", nargs="?", default="session.png")
parser.add_argument("seed", nargs="?", type=int, default=1)
options = parser.parse_args()

model = mcm.Model.open(options.folder / "base")
module = mcm.Modulator.open(options.folder / "module.mcm.safetensors")
conditions = {name: options.folder / "conditions" / f"00_{name}.png" for name in ("sketch", "segmentation")}

with mcm.Session(model, scheduler="ddim", steps=25) as session:
    session.attach(module, conditions=conditions)
    session.seed(options.seed)
    for step in session:
        if step.step % 8 == 1:
            print(f"step {step.step} of {step.steps}, timestep {step.timestep}:")
            for row in step.preview()[0, ::2].tolist():
                print("".join(" .:-=+*#%@"[level * 10 // 256] for level in row))
    mcm.write_png(options.out, session.result()[0])
print(f"wrote {options.out}, seed {options.seed}")
