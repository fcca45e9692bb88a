#!/usr/bin/env python3
"""Write the demonstration's conditions: sketches and class maps of eight held-out test images.

NN_sketch.png is 8-bit grey, 0 or 255; NN_segmentation.png is 8-bit grey and its values are the class
indices themselves: 0 = background, 1..10 = label + 1.  All are 28x28.

  python make_conditions.py
"""
import argparse
from pathlib import Path

from PIL import Image

import conditions
from data import DATA, load

CHOSEN = [88, 64, 72, 182, 57, 38, 30, 83]   # indices into the test set


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", default=DATA, help="folder with t10k-images-idx3-ubyte.gz and its labels")
    p.add_argument("--out", default="conditions")
    p.add_argument("--indices", type=int, nargs="+", default=CHOSEN, help="which test images")
    a = p.parse_args()
    images, labels = (values[a.indices] for values in load(a.data, "t10k"))
    out = Path(a.out)
    out.mkdir(parents=True, exist_ok=True)
    for n, (sketch, classes) in enumerate(zip(conditions.sketch(images), conditions.segmentation(images, labels))):
        Image.fromarray(sketch).save(out / f"{n:02d}_sketch.png")
        Image.fromarray(classes).save(out / f"{n:02d}_segmentation.png")
        print(f"{n:02d}  test image {a.indices[n]:4d}  {conditions.CLASSES[labels[n]]}")


if __name__ == "__main__":
    main()
