"""AutoencoderKL and VQModel."""
import tempfile

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, VQModel

import mcm
from random_models import BOUND, least_unet, plain_scheduler, random_dtype, randomise, save_folder
from report import relative_error

# Of a decoded image, whose pixels lie in -1 ... 1: the most that one may be off beyond its rounding to a level of 255.
PIXEL_BOUND = 2e-5


def random_config(rng, is_kl):
    """Arguments of a small autoencoder."""
    levels, groups = rng.randint(1, 4), rng.choice([1, 2, 4, 8])
    planes = rng.choice([1, 3, 3])
    attention = rng.random() < 0.3
    names = [rng.choice(["", "Attn"]) if attention else "" for _ in range(levels)]
    config = dict(
        in_channels=planes, out_channels=planes, norm_num_groups=groups, layers_per_block=rng.randint(1, 3),
        block_out_channels=[groups * rng.randint(max(1, 16 // groups), 48 // groups) for _ in range(levels)],
        down_block_types=[f"{name}DownEncoderBlock2D" for name in names],
        up_block_types=[f"{name}UpDecoderBlock2D" for name in reversed(names)],
        act_fn=rng.choice(["silu", "silu", "mish", "gelu", "relu"]), mid_block_add_attention=rng.random() < 0.8,
        latent_channels=rng.choice([3, 4, 5, 16]), scaling_factor=rng.choice([0.18215, 0.13025, 1.0]))
    if is_kl:
        config.update(use_quant_conv=rng.random() < 0.8, use_post_quant_conv=rng.random() < 0.8)
        if rng.random() < 0.3:
            config.update(shift_factor=0.1159)
        elif rng.random() < 0.3:
            n = config["latent_channels"]
            config.update(latents_mean=[rng.uniform(-1, 1) for _ in range(n)],
                          latents_std=[rng.uniform(0.5, 2) for _ in range(n)])
    else:
        config.update(num_vq_embeddings=rng.choice([7, 100, 512]), vq_embed_dim=rng.choice([None, 3, 6]))
    return config


def scaled(latents, config):
    """As diffusers' pipelines hand them to a UNet: (N, C, H, W)."""
    if config.get("latents_mean"):
        mean, std = (torch.tensor(config[k]).view(1, -1, 1, 1) for k in ("latents_mean", "latents_std"))
        return (latents - mean) * config["scaling_factor"] / std
    return (latents - (config.get("shift_factor") or 0)) * config["scaling_factor"]


def is_decided(model, latents):
    """Whether no latent lies half-way between two vectors of the codebook."""
    flat = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
    nearest = torch.cdist(flat.double(), model.quantize.embedding.weight.double()).topk(2, largest=False).values
    return float(((nearest[:, 1] - nearest[:, 0]) / nearest[:, 1]).min()) > 1e-4


def pixel_error(pixels, image):
    """The most that pixels, (N, H, W[, C]) bytes, are off the image that they are rounded from, (N, C, H, W) of
    -1 ... 1, beyond half a level. Of many pixels some lie close to the middle of two levels, and show an error."""
    levels = ((image / 2 + 0.5).clamp(0, 1) * 255).permute(0, 2, 3, 1).double().numpy()
    return max(0.0, float(np.abs(pixels.reshape(levels.shape) - levels).max()) - 0.5) / 127.5


def check_autoencoders(report, rng, count=60):
    for i in range(count):
        is_kl = rng.random() < 0.6
        config = random_config(rng, is_kl)
        seed = rng.randrange(2 ** 31)
        vae, dtype = randomise((AutoencoderKL if is_kl else VQModel)(**config), seed), random_dtype(rng)
        vae.to(dtype)
        channels = config.get("vq_embed_dim") or config["latent_channels"]
        unit = 2 ** (len(config["block_out_channels"]) - 1)
        n, size = rng.randint(1, 2), [rng.randint(max(1, 4 // unit), max(2, 48 // unit)) for _ in range(2)]
        images = torch.rand(n, config["in_channels"], *(unit * s for s in size))
        latents = torch.randn(n, channels, *size)
        with tempfile.TemporaryDirectory() as folder:
            if is_kl:
                save_folder(folder, "StableDiffusionPipeline", unet=least_unet(channels, text_channels=8), vae=vae,
                            scheduler=plain_scheduler())
            else:
                save_folder(folder, "LDMPipeline", unet=least_unet(channels), vqvae=vae, scheduler=DDIMScheduler())
            vae.float()
            with torch.no_grad():
                if is_kl:
                    encoded = vae.encode(2 * images - 1).latent_dist.mean
                else:
                    while not is_decided(vae, latents):
                        latents = torch.randn(latents.shape)
                    encoded = vae.encode(2 * images - 1).latents
                image = vae.decode(latents).sample
            with mcm.Model.open(folder) as model:
                out = model.encode(list(images.permute(0, 2, 3, 1).numpy()))
                pixels = model.decode(scaled(latents, config))
        name = f"{i}: {type(vae).__name__}, {n} x {list(images.shape[2:])}, {dtype}, {config}"
        report.add("encoder", name, relative_error(out, scaled(encoded, config)), BOUND)
        report.add("decoder", name, pixel_error(pixels, image), PIXEL_BOUND)
