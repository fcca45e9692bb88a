#!/usr/bin/env python3
"""Train the conditioning module of this example on the frozen base.  Only the module learns; no gradient
goes through the base.

Two modalities, each at the image's own 28x28 pixels: "sketch" (one plane, 0 or 1) and "segmentation"
(eleven one-hot planes: background, then the ten classes on the garment).  See conditions.py.

  python train_module.py --minutes 60
"""
import argparse
import copy
import gzip
import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler

import conditions
from modulator import MCM, fingerprint
from train_base import load_unet

DATA = "/usr/share/datasets/fashion-mnist"

NET = dict(sample_size=28, block_out_channels=(12, 16, 16), layers_per_block=1, norm_num_groups=4,
           down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
           up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"), attention_head_dim=16)

MODALITIES = [{"name": "sketch", "channels": 1, "encoding": "grey", "resize": "area"},
              {"name": "segmentation", "channels": 11, "encoding": "one-hot", "resize": "nearest"}]

# How often a training example is given (sketch, segmentation).
GIVEN = {(1, 1): 0.4, (1, 0): 0.25, (0, 1): 0.25, (0, 0): 0.1}


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", default=DATA, help="folder with train-images-idx3-ubyte.gz and its labels")
    p.add_argument("--base", default="base", help="diffusers folder of the frozen base")
    p.add_argument("--out", default="module.mcm.safetensors")
    p.add_argument("--from", dest="source", help="module file to take the first weights from")
    p.add_argument("--conditions", default="conditions.npz", help="cache of the derived conditions")
    p.add_argument("--minutes", type=float, default=60, help="wall time; the learning rate ends with it")
    p.add_argument("--save-every", type=float, default=5, help="minutes between writes of --out")
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--reuse", type=int, default=3, help="at most how often a prediction of the base is learned from")
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--power", type=float, default=1.0,
                   help="the loss at noise-to-signal ratio s is weighted by s ** POWER, clipped to [0.3, 10 ** POWER]")
    p.add_argument("--threads", type=int, default=1, help="CPU threads for the base, and as many for the module")
    p.add_argument("--seed", type=int, default=0)
    return p.parse_args()


def load_training_set(data, cache):
    """Images uint8 (N, 28, 28), their sketches (0 or 1) and class maps (0..10), uint8 of the same shape."""
    read = lambda name, offset: np.frombuffer(gzip.open(Path(data) / name).read(), np.uint8, offset=offset)
    images = read("train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28).copy()
    if not Path(cache).exists():
        labels = read("train-labels-idx1-ubyte.gz", 8)
        np.savez_compressed(cache, sketch=conditions.sketch(images) // 255,
                            segmentation=conditions.segmentation(images, labels))
    with np.load(cache) as f:
        return images, f["sketch"], f["segmentation"]


class Predictions:
    """A pool of noisy training images with the frozen base's predictions for them.

    A second thread runs the base.  Its predictions cost more than the module's steps, so each is drawn up to
    about `reuse` times, every time with other conditions given or withheld."""

    def __init__(self, base, scheduler, images, batch, size, reuse, device):
        self.base, self.scheduler, self.images, self.device = base, scheduler, images, device
        self.batch, self.size, self.reuse = batch, size, reuse       # size: predictions kept
        self.kept, self.seen, self.drawn = [], 0, 0
        self.worker = ThreadPoolExecutor(1)
        self.coming = self.worker.submit(self.predict)

    @torch.no_grad()
    def predict(self):
        """One batch: index of the image (n,), t (n,), x, e, noise (n, 1, 28, 28)."""
        n = self.batch
        index = torch.randint(len(self.images), (n,))
        t = (torch.randperm(n) * 1000 + torch.randint(1000, (n,))) // n            # stratified over 0..999
        noise = torch.randn(n, 1, 28, 28)
        x = self.scheduler.add_noise(self.images[index, None].float() / 127.5 - 1, noise, t)
        e = self.base(x.to(self.device), t.to(self.device)).sample.cpu()
        return index, t, x, e, noise

    def draw(self):
        """A batch as from predict, mixed from all that are kept."""
        while self.coming.done() or self.drawn >= self.reuse * self.seen:
            new = self.coming.result()
            self.coming = self.worker.submit(self.predict)
            self.seen += self.batch
            self.kept = [torch.cat([n, k])[:self.size] for n, k in zip(new, self.kept)] if self.kept else list(new)
        self.drawn += self.batch
        rows = torch.randint(len(self.kept[0]), (self.batch,))
        return [k[rows] for k in self.kept]


def main():
    a = arguments()
    torch.manual_seed(a.seed)
    torch.set_num_threads(a.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images, sketches, maps = map(torch.from_numpy, load_training_set(a.data, a.conditions))

    base = load_unet(a.base).to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
    scheduler = DDPMScheduler.from_pretrained(a.base, subfolder="scheduler")
    if scheduler.config.prediction_type != "epsilon":
        raise SystemExit(f"{a.base}: predicts {scheduler.config.prediction_type}; this example needs epsilon")
    config = {"net": NET, "prediction_channels": 1, "scale_offset": 1.0, "presence_flags": True,
              "modalities": MODALITIES,
              "base": {"prediction_type": "epsilon", "channels": 1, "sample_size": 28, "fingerprint": fingerprint(a.base)}}
    module = MCM(config)
    if a.source:
        module.net.load_state_dict(MCM.load(a.source).net.state_dict())
    module = module.to(device, memory_format=torch.channels_last).train()
    ema = copy.deepcopy(module)
    optimizer = torch.optim.AdamW(module.parameters(), lr=a.lr, weight_decay=1e-4)
    print(f"{sum(p.numel() for p in module.parameters())} parameters, "
          f"the base has {sum(p.numel() for p in base.parameters())}", flush=True)

    # The layout of an image is decided at high noise, where the plain epsilon loss is tiny.
    noise_to_signal = ((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod).sqrt()
    weight = noise_to_signal.pow(a.power).clamp(0.3, 10 ** a.power)
    combinations = torch.tensor(list(GIVEN), dtype=torch.float32)
    chances = torch.tensor(list(GIVEN.values()))

    pool = Predictions(base, scheduler, images, a.batch, 32 * a.batch, a.reuse, device)
    start = saved = time.time()
    step, losses = 0, []
    while (progress := (time.time() - start) / (60 * a.minutes)) < 1:
        lr = a.lr * min(1, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimizer.param_groups:
            group["lr"] = lr
        index, t, x, e, noise = pool.draw()
        given = combinations[torch.multinomial(chances, a.batch, replacement=True)]
        sketch = sketches[index, None].float() * given[:, 0, None, None, None]
        one_hot = torch.nn.functional.one_hot(maps[index].long(), 11).permute(0, 3, 1, 2).float()
        planes = torch.cat([sketch, one_hot * given[:, 1, None, None, None]], 1)
        w = (weight / weight.mean())[t].to(device)
        t, x, e, noise, planes, given = (v.to(device) for v in (t, x, e, noise, planes, given))
        error = (module.modulate(x, e, t, planes, given) - noise).square().mean((1, 2, 3))
        loss = (w * error).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(0.999, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.parameters()), list(module.parameters()), 1 - decay)
            unchanged = (w * (e - noise).square().mean((1, 2, 3))).mean()
        losses.append((loss.item(), unchanged.item()))
        if step % 100 == 0:
            seconds = time.time() - start
            mean, plain = np.mean(losses[-500:], 0)
            print(f"step {step}  images {step * a.batch} ({pool.seen} predictions)  loss {mean:.4f}, the base's {plain:.4f}  "
                  f"lr {lr:.1e}  {step * a.batch / seconds:.0f} images/s  {seconds / 60:.1f} min", flush=True)
        if time.time() - saved > 60 * a.save_every:
            ema.save(a.out)
            saved = time.time()
    ema.save(a.out)
    print(f"finished: {step} steps, {step * a.batch} images, {pool.seen} predictions, {(time.time() - start) / 60:.1f} min")


if __name__ == "__main__":
    main()
