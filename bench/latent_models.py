"""Latent diffusion models of well-known sizes with random weights: Stable Diffusion 1.5, parts of it, and an LDM.

A model that stands for one part only has small networks in place of the others, which libmcm wants too, so that they
hardly count in peak memory. Parts of one name have the same weights in all models.
"""
from __future__ import annotations

from pathlib import Path
from typing import Callable

import torch
from diffusers import (
    AutoencoderKL, DDIMScheduler, LDMPipeline, StableDiffusionPipeline, UNet2DConditionModel, UNet2DModel, VQModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from works import TIMESTEP

UNET = dict(
    sample_size=64, in_channels=4, out_channels=4, layers_per_block=2, block_out_channels=(320, 640, 1280, 1280),
    down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3, cross_attention_dim=768, attention_head_dim=8,
)
SMALL_UNET = dict(
    UNET, block_out_channels=(32, 32), layers_per_block=1, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
)
KL = dict(
    sample_size=512, latent_channels=4, layers_per_block=2, block_out_channels=(128, 256, 512, 512),
    down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
)
SMALL_KL = dict(KL, layers_per_block=1, block_out_channels=(32, 32, 32, 32))
VQ = dict(
    sample_size=256, latent_channels=3, layers_per_block=2, block_out_channels=(128, 256, 512), num_vq_embeddings=8192,
    down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
)
TEXT = dict(
    vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
    max_position_embeddings=77, hidden_act="quick_gelu", bos_token_id=49406, eos_token_id=49407,
)
SD_SCHEDULE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                   set_alpha_to_one=False, steps_offset=1)
LDM_SCHEDULE = dict(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False)

# UNet, autoencoder, and whether there is a text encoder.
STABLE_DIFFUSION = {
    "sd15": (UNET, KL, True),
    "sd15-vae": (SMALL_UNET, KL, False),
    "sd15-text": (SMALL_UNET, SMALL_KL, True),
}
MODELS = (*STABLE_DIFFUSION, "sd15-fp16", "ldm-images")


def save(name: str, folder: Path, root: Path, ldm_unet: dict) -> None:
    """root: where other models are; ldm_unet: config of the LDM's network."""
    if name == "ldm-images":
        torch.manual_seed(0)
        unet, sample = UNet2DModel(**ldm_unet).eval(), torch.randn(1, 3, 64, 64)
        _scale(unet.conv_out, lambda: unet(sample, TIMESTEP).sample, 1)
        torch.manual_seed(1)
        vqvae = VQModel(**VQ).eval()
        torch.nn.init.normal_(vqvae.quantize.embedding.weight)  # diffusers' own are 1e-4: below all latents
        _scale_decoder(vqvae)
        LDMPipeline(vqvae=vqvae, unet=unet, scheduler=DDIMScheduler(**LDM_SCHEDULE)).save_pretrained(folder)
    elif name == "sd15-fp16":
        pipeline = StableDiffusionPipeline.from_pretrained(root / "sd15", dtype=torch.float16)
        pipeline.save_pretrained(folder)
    else:
        _stable_diffusion(*STABLE_DIFFUSION[name]).save_pretrained(folder)


def _stable_diffusion(unet: dict, kl: dict, text: bool) -> StableDiffusionPipeline:
    torch.manual_seed(0)
    net, sample, states = UNet2DConditionModel(**unet).eval(), torch.randn(1, 4, 64, 64), torch.randn(1, 77, 768)
    _scale(net.conv_out, lambda: net(sample, TIMESTEP, states).sample, 1)
    torch.manual_seed(1)
    vae = AutoencoderKL(**kl).eval()
    _scale_decoder(vae)
    torch.manual_seed(2)
    return StableDiffusionPipeline(
        vae=vae, unet=net, scheduler=DDIMScheduler(**SD_SCHEDULE), safety_checker=None, feature_extractor=None,
        text_encoder=CLIPTextModel(CLIPTextConfig(**TEXT)) if text else None,
        tokenizer=_tokenizer() if text else None, requires_safety_checker=False,
    )


def _tokenizer() -> CLIPTokenizer:
    """CLIP's, but without merges: each letter is a token."""
    letters = sorted(ByteLevel.alphabet())
    tokens = {token: number for number, token in enumerate(letters + [letter + "</w>" for letter in letters])}
    tokens |= {"<|startoftext|>": TEXT["bos_token_id"], "<|endoftext|>": TEXT["eos_token_id"]}
    return CLIPTokenizer(vocab=tokens, merges=[], model_max_length=TEXT["max_position_embeddings"])


@torch.no_grad()
def _scale(last: torch.nn.Conv2d, output: Callable[[], torch.Tensor], deviation: float) -> None:
    """Make a network's outputs as large as a trained one's by its last convolution; PyTorch's own are smaller."""
    gain = deviation / output().std()
    last.weight *= gain
    last.bias *= gain


def _scale_decoder(net: AutoencoderKL | VQModel) -> None:
    """To images in [-1, 1]."""
    latents = torch.randn(1, net.config.latent_channels, 16, 16) / net.config.scaling_factor
    _scale(net.decoder.conv_out, lambda: net.decode(latents).sample, 0.4)
