#!/usr/bin/env python3
"""Time diffusers' autoencoders, and write what they compute for Tests/NetworksTests/AutoencoderByHandTests.swift.

    python autoencoder.py OUT sd15|ldm-celebahq-256 [--size 512] [--no-encode]
    MCM_AUTOENCODER=OUT swift test -c release -Xswiftc -enable-testing --filter AutoencoderByHand

Weights are random: real architectures, whose arithmetic and cost are the real model's.  --model takes a folder instead,
--image an image file to encode.  Prints seconds and the peak memory of the process beside what it held before.
"""
import argparse
import os
import resource
import threading
import time

import numpy as np
import torch
from diffusers import AutoencoderKL, VQModel
from safetensors.torch import save_file

MODELS = {
    "sd15": lambda: AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=512,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4),
    "ldm-celebahq-256": lambda: VQModel(
        block_out_channels=(128, 256, 512), layers_per_block=2, latent_channels=3, num_vq_embeddings=8192,
        sample_size=256, down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3),
}


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


def measured(name, work):
    """The result, and a line of how long it took and how much memory more."""
    before, peak, running = resident(), [0], True

    def watch():
        while running:
            peak[0] = max(peak[0], resident())
            time.sleep(0.005)

    thread = threading.Thread(target=watch)
    thread.start()
    start = time.perf_counter()
    with torch.no_grad():
        result = work()
    seconds = time.perf_counter() - start
    running = False
    thread.join()
    print(f"{name}: {seconds:.2f} s, {(peak[0] - before) >> 20} MiB more than before")
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("name", choices=sorted(MODELS))
    parser.add_argument("--model")
    parser.add_argument("--image")
    parser.add_argument("--size", type=int)
    parser.add_argument("--no-encode", action="store_true")
    a = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    model = MODELS[a.name]() if not a.model else type(MODELS[a.name]()).from_pretrained(a.model)
    model.eval().save_pretrained(a.out)
    kl = isinstance(model, AutoencoderKL)
    size = a.size or model.config.sample_size
    if a.image:
        from PIL import Image
        picture = Image.open(a.image).convert("RGB")
        scale = size / min(picture.size)
        size8 = [int(s * scale) // 8 * 8 for s in picture.size]
        x = np.asarray(picture.resize(size8, Image.LANCZOS)).astype("float32")
        image = torch.from_numpy(x).permute(2, 0, 1)[None] / 127.5 - 1
    else:
        image = torch.randn(1, 3, size, size).clamp(-1, 1)
    tensors = {}
    if not a.no_encode:
        encoded = measured("encode", lambda: model.encode(image))
        encoded = encoded.latent_dist.parameters if kl else encoded.latents
        tensors.update(image=image, encoded=encoded)
    reduction = 2 ** (len(model.config.block_out_channels) - 1)
    if a.image:
        latents = encoded[:, :4] if kl else encoded
    else:
        latents = torch.randn(1, model.config.latent_channels, size // reduction, size // reduction)
    decoded = measured("decode", lambda: model.decode(latents).sample)
    tensors.update(latents=latents, decoded=decoded)
    save_file({k: v.clone().contiguous() for k, v in tensors.items()}, os.path.join(a.out, "reference.safetensors"))


if __name__ == "__main__":
    main()
