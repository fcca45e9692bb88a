#!/usr/bin/env python3
"""Write autoencoders.safetensors: what diffusers' AutoencoderKL and VQModel compute.

    python make_autoencoders.py [--out FOLDER]

See README.md beside this file, and make_fixtures.py, whose rules for weights and random numbers these are.
"""
import argparse
import os

import diffusers
import torch
from diffusers import AutoencoderKL, VQModel

from make_fixtures import golden_weights, public_config, randn, write


def plain(levels):
    return dict(down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels)


SMALL = dict(block_out_channels=(16, 32), norm_num_groups=8, **plain(2))
ATTENTION = dict(block_out_channels=(16, 32), norm_num_groups=8,
                 down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
                 up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"))
SD = dict(block_out_channels=(32, 32, 64, 64), layers_per_block=2, **plain(4))

# name: (batch, height and width of the image, network arguments)
KL = {
    # public checkpoints, scaled down
    "kl_sd": (1, 64, 64, SD),
    "kl_sdxl": (1, 32, 48, dict(SD, scaling_factor=0.13025, sample_size=1024, force_upcast=True)),
    "kl_flux": (1, 32, 32, dict(SD, latent_channels=16, scaling_factor=0.3611, shift_factor=0.1159,
                                use_quant_conv=False, use_post_quant_conv=False, force_upcast=True)),
    # options
    "kl_default": (2, 8, 8, {}),
    "kl_one_level_odd": (2, 7, 9, dict(layers_per_block=2)),
    "kl_attention": (2, 16, 16, ATTENTION),
    "kl_attention_everywhere": (1, 8, 12, dict(
        SMALL, layers_per_block=2, down_block_types=("AttnDownEncoderBlock2D",) * 2,
        up_block_types=("AttnUpDecoderBlock2D",) * 2)),
    "kl_no_mid_attention": (2, 16, 16, dict(SMALL, mid_block_add_attention=False)),
    "kl_no_quant_conv": (1, 8, 8, dict(SMALL, use_quant_conv=False)),
    "kl_no_post_quant_conv": (1, 8, 8, dict(SMALL, use_post_quant_conv=False)),
    "kl_channels": (2, 8, 8, dict(SMALL, in_channels=1, out_channels=5, latent_channels=2)),
    "kl_layers_3": (1, 8, 8, dict(SMALL, layers_per_block=3)),
    "kl_falling_channels": (2, 8, 8, dict(SMALL, block_out_channels=(32, 16))),
    "kl_groups": (2, 8, 8, dict(SMALL, block_out_channels=(20, 40), norm_num_groups=5)),
    "kl_mish": (1, 8, 8, dict(SMALL, act_fn="mish")),
    "kl_gelu": (1, 8, 8, dict(SMALL, act_fn="gelu")),
    "kl_relu": (1, 8, 8, dict(SMALL, act_fn="relu")),
    "kl_uneven": (2, 27, 21, dict(SMALL, block_out_channels=(16, 16, 32), **plain(3))),
    "kl_smallest": (2, 4, 4, dict(SMALL, block_out_channels=(16, 16, 32), **plain(3))),
    "kl_latents_mean": (1, 8, 8, dict(SMALL, latent_channels=2, latents_mean=(0.5, -1.0), latents_std=(2.0, 3.0),
                                      sample_size=(16, 24))),
    "kl_wide_attention": (1, 16, 16, dict(block_out_channels=(32, 512), **plain(2))),
}
VQ = {
    "vq_ldm": (1, 64, 64, dict(block_out_channels=(32, 64, 64), layers_per_block=2, num_vq_embeddings=512, **plain(3))),
    "vq_default": (2, 8, 8, {}),
    "vq_attention": (2, 16, 16, dict(ATTENTION, num_vq_embeddings=40)),
    "vq_embed_dim": (2, 16, 16, dict(SMALL, vq_embed_dim=5, num_vq_embeddings=100)),
    "vq_wide_codes": (1, 16, 16, dict(SMALL, latent_channels=16, vq_embed_dim=32, num_vq_embeddings=64)),
    "vq_no_mid_attention": (1, 8, 8, dict(SMALL, mid_block_add_attention=False, lookup_from_codebook=True,
                                          force_upcast=True)),
    "vq_few_codes": (2, 16, 16, dict(SMALL, num_vq_embeddings=7)),
}


def error(found, exact):
    return float((found.double() - exact).norm() / exact.norm())


def autoencoders():
    tensors, cases = {}, []
    for number, (name, (batch, height, width, arguments)) in enumerate({**KL, **VQ}.items()):
        kl = name in KL
        model = golden_weights((AutoencoderKL if kl else VQModel)(**arguments))
        config = {"_class_name": type(model).__name__, **public_config(model.config)}
        case = {"name": name, "config": config, "batch": batch, "height": height, "width": width,
                "seed": 300 + number, "noise_seed": 400 + number, "latents_seed": 500 + number}
        image = randn((batch, model.config.in_channels, height, width), case["seed"])
        with torch.no_grad():
            def encode(dtype):
                model.to(dtype)
                out = model.encode(image.to(dtype))
                return out.latent_dist.parameters if kl else out.latents

            def decode(dtype, **options):
                return model.to(dtype).decode(latents.to(dtype), **options).sample

            tensors[name + ".encoded"] = encode(torch.float32)
            errors = [error(tensors[name + ".encoded"], encode(torch.float64))]
            shape = list(tensors[name + ".encoded"].shape)
            if kl:
                shape[1] //= 2
                model.to(torch.float32)
                latents = model.encode(image).latent_dist
                tensors[name + ".sample"] = latents.mean + latents.std * randn(shape, case["noise_seed"])
            latents = randn(shape, case["latents_seed"])
            options = {} if kl else {"force_not_quantize": True}
            looks_up = not kl and model.config.lookup_from_codebook
            if not (kl or looks_up):
                model.to(torch.float32)
                tensors[name + ".quantized"], _, (_, _, indices) = model.quantize(latents)
                tensors[name + ".indices"] = indices.reshape(shape[0], *shape[2:])
                tensors[name + ".decoded_quantized"] = decode(torch.float32)
            if looks_up:
                indices = torch.arange(batch * shape[2] * shape[3]) * 37 % model.config.num_vq_embeddings
                tensors[name + ".indices"] = indices.reshape(batch, *shape[2:])
                order = [batch, *shape[2:], shape[1]]
                tensors[name + ".decoded"] = model.to(torch.float32).decode(
                    indices, force_not_quantize=True, shape=order).sample
            else:
                tensors[name + ".decoded"] = decode(torch.float32, **options)
                errors.append(error(tensors[name + ".decoded"], decode(torch.float64, **options)))
        case["reference_error"] = max(errors)
        cases.append(case)
        rms = [float(tensors[f"{name}.{key}"].square().mean().sqrt()) for key in ("encoded", "decoded")]
        print(f"  {name:24s} rms {rms[0]:7.3f} {rms[1]:7.3f}, float32 against float64 {max(errors):.1e}")
    return tensors, cases


def cdist():
    """Nearest vectors in close calls: what torch.cdist and argmin choose among vectors that are nearly as near."""
    tensors, cases = {}, []
    for number, (pixels, codes, width) in enumerate([
            (64, 512, 3), (256, 8192, 3), (100, 300, 4), (64, 64, 5), (64, 64, 13), (64, 64, 32), (64, 100, 64)]):
        seed = 700 + number
        codebook = randn((codes, width), seed)
        codebook[codes // 2:] = codebook[: codes - codes // 2]        # each vector twice: the first is chosen
        offsets = randn((pixels, width), seed + 100)
        pairs = torch.arange(pixels) * 7 % (codes // 2 - 1)
        middle = (codebook[pairs] + codebook[pairs + 1]) / 2 + 1e-7 * offsets
        tensors[f"cdist_{number}.codebook"] = codebook
        tensors[f"cdist_{number}.vectors"] = middle
        tensors[f"cdist_{number}.indices"] = torch.argmin(torch.cdist(middle, codebook), dim=1)
        cases.append({"name": f"cdist_{number}", "pixels": pixels, "codes": codes, "width": width})
    return tensors, cases


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)))
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    diffusers.logging.set_verbosity_error()
    os.makedirs(arguments.out, exist_ok=True)
    write(arguments.out, "autoencoders", *autoencoders())
    write(arguments.out, "nearest", *cdist())
