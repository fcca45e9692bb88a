#!/usr/bin/env python3
"""Train an unconditional DDPM on Fashion-MNIST: the frozen base of this example.

Writes a diffusers pipeline folder (model_index.json, scheduler/, unet/) with the averaged (EMA)
weights in fp16.  Garments are not flipped: in this data set every shoe points to the left.

  python train_base.py --minutes 90                        from scratch
  python train_base.py --minutes 50 --lr 5e-4 --from base   goes on from a folder's weights
"""
import argparse
import copy
import gzip
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.torch import load_file

DATA = "/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz"

CONFIG = dict(sample_size=28, in_channels=1, out_channels=1, layers_per_block=1,
              block_out_channels=(32, 64, 96), norm_num_groups=8, attention_head_dim=32,
              down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
              up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"))


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", default=DATA, help="train-images-idx3-ubyte.gz")
    p.add_argument("--out", default="base", help="diffusers folder to write")
    p.add_argument("--from", dest="source", help="diffusers folder to take the first weights from")
    p.add_argument("--minutes", type=float, default=60, help="wall time; the learning rate ends with it")
    p.add_argument("--save-every", type=float, default=10, help="minutes between writes of --out")
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--lr", type=float, default=1e-3)
    p.add_argument("--seed", type=int, default=0)
    return p.parse_args()


def load_images(path):
    """The training images as (N, 1, 28, 28) float32 in [-1, 1]."""
    raw = np.frombuffer(gzip.open(path).read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    return torch.from_numpy(raw.copy()).float().div_(127.5).sub_(1.0)


def load_unet(folder):
    """The U-Net of a diffusers folder in fp32."""
    folder = Path(folder) / "unet"
    net = UNet2DModel.from_config(json.loads((folder / "config.json").read_text()))
    weights = load_file(folder / "diffusion_pytorch_model.safetensors")
    net.load_state_dict({name: w.float() for name, w in weights.items()})
    return net


def main():
    a = arguments()
    torch.manual_seed(a.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = load_images(a.data)
    net = load_unet(a.source) if a.source else UNet2DModel(**CONFIG)
    net = net.to(device, memory_format=torch.channels_last).train()
    ema = copy.deepcopy(net)
    scheduler = DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
    optimizer = torch.optim.AdamW(net.parameters(), lr=a.lr, weight_decay=0.0)

    def save():
        DDPMPipeline(unet=copy.deepcopy(ema).half(), scheduler=scheduler).save_pretrained(a.out)

    start = saved = time.time()
    step, losses = 0, []
    while (progress := (time.time() - start) / (60 * a.minutes)) < 1:
        lr = a.lr * min(1, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimizer.param_groups:
            group["lr"] = lr
        x0 = images[torch.randint(len(images), (a.batch,))].to(device)
        noise = torch.randn_like(x0)
        t = torch.randint(1000, (a.batch,), device=device)
        loss = (net(scheduler.add_noise(x0, noise, t), t).sample - noise).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(0.999, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.parameters()), list(net.parameters()), 1 - decay)
        losses.append(loss.item())
        if step % 50 == 0:
            seconds = time.time() - start
            print(f"step {step}  images {step * a.batch}  loss {np.mean(losses[-200:]):.4f}  lr {lr:.1e}  "
                  f"{step * a.batch / seconds:.0f} images/s  {seconds / 60:.1f} min", flush=True)
        if time.time() - saved > 60 * a.save_every:
            save()
            saved = time.time()
    save()
    print(f"finished: {step} steps, {step * a.batch} images, {(time.time() - start) / 60:.1f} min")


if __name__ == "__main__":
    main()
