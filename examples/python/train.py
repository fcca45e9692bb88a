"""Train a small module that follows sketches, on drawn garments or on your own arrays: build/train/samples.png.

From the repository root, after `make` and `pip install -e bindings/python`:  python examples/python/train.py
Your own, both uint8 (N, 28, 28):  python examples/python/train.py --images images.npy --sketches sketches.npy
"""
import argparse
from pathlib import Path

import mcm
import numpy as np
import numpy.typing as npt

NET = {"sample_size": 28, "block_out_channels": [12, 16, 16], "norm_num_groups": 4, "layers_per_block": 1,
       "down_block_types": ["DownBlock2D"] * 3, "up_block_types": ["UpBlock2D"] * 3}
CONFIG = {"net": NET, "prediction_channels": 1, "modalities": [{"name": "sketch", "channels": 1}]}
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--images", help="uint8 (N, 28, 28), an .npy file")
parser.add_argument("--sketches", help="the same for their sketches, 0 .. 255")
parser.add_argument("--base", default="examples/fashion/base")
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--out", default="build/train", help="a folder")
options = parser.parse_args()


def drawn_garments(count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Shirts with sleeves of any length and trousers, and their outlines."""
    random = np.random.default_rng(0)
    side, y = np.abs(np.arange(28) - 13.5), np.arange(28)[:, None]
    images, sketches = np.zeros((2, count, 28, 28), np.uint8)
    for image, sketch in zip(images, sketches):
        width, top, bottom, sleeve = random.integers([5, 1, 21, 5], [9, 6, 27, 20])
        shape = (side < width) & (y >= top) & (y < bottom)
        if random.random() < 0.5:
            shape |= (side < width + 4) & (y >= top) & (y < top + sleeve)
        else:
            shape &= (side > 1) | (y < top + 6)
        inside = shape & np.roll(shape, 1, 0) & np.roll(shape, -1, 0) & np.roll(shape, 1, 1) & np.roll(shape, -1, 1)
        image[shape], sketch[shape & ~inside] = random.integers(90, 250), 255
    return images, sketches


out = Path(options.out)
out.mkdir(parents=True, exist_ok=True)
images, sketches = (np.load(options.images), np.load(options.sketches)) if options.images else drawn_garments(2000)
mcm.write_dataset(out / "examples.safetensors", images, sketch=sketches)
dataset, model = mcm.Dataset(out / "examples.safetensors"), mcm.Model.open(options.base)
trainer = mcm.Trainer(model, CONFIG, total_steps=options.steps, warmup_steps=50, ema_decay=0.99)
mcm.train(trainer, dataset, batch=options.batch, save=out / "state", callback=lambda report: report.step % 20 or print(
    f"step {report.step}: loss {report.loss:.4f}, of the model alone {report.base_loss:.4f}", flush=True))
trainer.write_modulator(out / "module.mcm.safetensors")

wanted = list(sketches[:8])
before = mcm.generate(model, seeds=list(range(8)), scheduler="ddim", steps=25)
after = mcm.generate(model, mcm.Conditioning(trainer.modulator(), {"sketch": wanted}), seeds=list(range(8)),
                     scheduler="ddim", steps=25)
mcm.write_png(out / "samples.png", np.vstack([np.hstack(row) for row in (wanted, list(before), list(after))]))
print(f"{out / 'samples.png'}: sketches, samples without the module, with it")
