#!/usr/bin/env python3
"""Draw garments with libmcm for held-out test images' conditions and measure how well they follow: the table of
docs/results.md.  Needs the mcm Python package, torch and the Debian package dataset-fashion-mnist.

  python examples/fashion/evaluate.py --images 1000
"""
import argparse
import time
from pathlib import Path

import numpy as np

import conditions
import mcm
import metrics
from train_classifier import DATA, load_set

HERE = Path(__file__).parent
SETTINGS = {"base alone": (), "sketch": ("sketch",), "segmentation": ("segmentation",),
            "both": ("sketch", "segmentation")}


def draw(model, modulator, given, steps, weight, batch):
    """given: {modality: uint8 (N, 28, 28)}, or an int N for nothing given -> uint8 (N, 28, 28).
    Image i has the seed i whatever is given, and so the same noise in every setting."""
    count = given if isinstance(given, int) else len(next(iter(given.values())))
    images = []
    for first in range(0, count, batch):
        seeds = list(range(first, min(first + batch, count)))
        with mcm.Session(model, batch=len(seeds), scheduler="ddim", steps=steps) as session:
            if not isinstance(given, int):
                session.attach(modulator, weight=weight,
                               conditions={name: list(y[first:first + batch]) for name, y in given.items()})
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
    p.add_argument("--module", default=HERE / "module.mcm.safetensors")
    a = p.parse_args()

    images, labels = load_set(a.data, "t10k")
    images = (images[:a.images, 0] * 255).round().byte().numpy()
    labels = labels[:a.images].numpy()
    planes = {"sketch": conditions.sketch(images), "segmentation": conditions.segmentation(images, labels)}
    model, modulator = mcm.Model.open(HERE / "base"), mcm.Modulator.open(a.module)
    print(f"libmcm, {a.images} held-out images, {a.steps} DDIM steps, weight {a.weight:g}\n")
    print("| conditions | edge F1 | mask IoU | class accuracy | Fréchet distance |\n|---|---|---|---|---|")
    start = time.time()
    for name, modalities in SETTINGS.items():
        given = {m: planes[m] for m in modalities} or len(images)
        m = metrics.evaluate(draw(model, modulator, given, a.steps, a.weight, a.batch), images, labels)
        print(f"| {name} | {m['edge_f1']:.3f} | {m['mask_iou']:.3f} | {m['class_accuracy']:.3f} | "
              f"{m['frechet']:.2f} |", flush=True)
    m = metrics.evaluate(images, images, labels)
    print(f"| the test images themselves | {m['edge_f1']:.3f} | {m['mask_iou']:.3f} | {m['class_accuracy']:.3f} | "
          f"{m['frechet']:.2f} |")
    print(f"\n{time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
