#!/usr/bin/env python3
"""Draw garments with libmcm for held-out test images' conditions and measure how well they follow: the table of
docs/results.md.  Needs the mcm Python package, torch and the Debian package dataset-fashion-mnist.

  python examples/fashion/evaluate.py --images 1000
  python examples/fashion/evaluate.py --module sketch.safetensors segmentation.safetensors    two modules at once
"""
import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

import conditions
import mcm
import metrics
from data import DATA, load

HERE = Path(__file__).parent
SETTINGS = {"base alone": (), "sketch": ("sketch",), "segmentation": ("segmentation",),
            "both": ("sketch", "segmentation")}


def draw(model, modulators, given, count, steps, weight, batch):
    """given: {modality: uint8 (count, 28, 28)}, to each module what it knows -> uint8 (count, 28, 28).
    Image i has the seed i whatever is given, and so the same noise in every setting."""
    images = []
    for first in range(0, count, batch):
        seeds = list(range(first, min(first + batch, count)))
        with mcm.Session(model, batch=len(seeds), scheduler="ddim", steps=steps) as session:
            for modulator in modulators:
                known = {m.name: list(given[m.name][first:first + batch])
                         for m in modulator.modalities if m.name in given}
                if known:
                    session.attach(modulator, weight=weight, conditions=known)
            session.seed(seeds)
            session.run()
            images.extend(session.result())
    return np.stack(images)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--images", type=int, default=1000, help="the first so many of the 10,000 test images")
    p.add_argument("--steps", type=int, default=25)
    p.add_argument("--weight", type=float, default=1.0)
    p.add_argument("--batch", type=int, default=50)
    p.add_argument("--data", default=DATA)
    p.add_argument("--module", nargs="+", default=[HERE / "module.mcm.safetensors"], help="one or several, added up")
    p.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    p.add_argument("--json", help="file to write, a line per setting")
    p.add_argument("--threads", type=int, default=0)
    a = p.parse_args()
    torch.set_num_threads(a.threads or torch.get_num_threads())

    images, labels = (values[:a.images] for values in load(a.data, "t10k"))
    planes = {"sketch": conditions.sketch(images), "segmentation": conditions.segmentation(images, labels)}
    model = mcm.Model.open(HERE / "base", threads=a.threads)
    modulators = [mcm.Modulator.open(path) for path in a.module]
    print(f"libmcm, {a.images} held-out images, {a.steps} DDIM steps, weight {a.weight:g}\n")
    print("| conditions | edge F1 | mask IoU | class accuracy | Fréchet distance |\n|---|---|---|---|---|")
    start, lines = time.time(), []
    for name in a.settings:
        given = {m: planes[m] for m in SETTINGS[name]}
        cpu = time.process_time()
        drawn = draw(model, modulators, given, len(images), a.steps, a.weight, a.batch)
        cpu = time.process_time() - cpu
        m = metrics.evaluate(drawn, images, labels)
        if a.json:
            facts = {"module": [str(path) for path in a.module], "setting": name, "weight": a.weight,
                     "images": len(images), "cpu_seconds": round(cpu, 1)}
            lines.append(json.dumps(facts | {k: round(v, 4) for k, v in m.items()}))
        print(f"| {name} | {m['edge_f1']:.3f} | {m['mask_iou']:.3f} | {m['class_accuracy']:.3f} | "
              f"{m['frechet']:.2f} |", flush=True)
    if a.json:
        Path(a.json).write_text("\n".join(lines) + "\n")
    m = metrics.evaluate(images, images, labels)
    print(f"| the test images themselves | {m['edge_f1']:.3f} | {m['mask_iou']:.3f} | {m['class_accuracy']:.3f} | "
          f"{m['frechet']:.2f} |")
    print(f"\n{time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
