"""A tiny Stable Diffusion 1.x as a diffusers folder, and as one file in the layout of the program that trained it.

Of such a file's networks the shapes say what they are: hence texts of 768 channels, and 32 groups of a norm.
"""
from __future__ import annotations

import re
from typing import Any

import numpy as np

from conftest import REPOSITORY
from latent_support import CHUNK, TOKENIZER, Weights, _autoencoder, _text_encoder, _unet, encoded

WIDTH, STATES = 64, 768
RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}
UNET = {
    "conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "down_blocks.0.resnets.0": "input_blocks.1.0", "down_blocks.0.attentions.0": "input_blocks.1.1",
    "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2", "up_blocks.0.resnets.0": "output_blocks.0.0",
    "up_blocks.0.attentions.0": "output_blocks.0.1", "up_blocks.0.resnets.1": "output_blocks.1.0",
    "up_blocks.0.attentions.1": "output_blocks.1.1", "conv_norm_out": "out.0", "conv_out": "out.2",
}
AUTOENCODER = {
    "down_blocks.": "down.", "up_blocks.0": "up.1", "up_blocks.1": "up.0", ".resnets.": ".block.",
    "mid_block.block.0": "mid.block_1", "mid_block.block.1": "mid.block_2", "mid_block.attentions.0": "mid.attn_1",
    "downsamplers.0": "downsample", "upsamplers.0": "upsample", "conv_shortcut": "nin_shortcut",
    "conv_norm_out": "norm_out", "group_norm": "norm", "to_out.0": "proj_out", "to_": "",
}


def _unet_name(name: str) -> str:
    key = max((key for key in UNET if name.startswith(f"{key}.")), key=len)
    rest = name[len(key) + 1:]
    if ".resnets." in key:
        part, leaf = rest.split(".")
        rest = f"{RESNET[part]}.{leaf}"
    return f"model.diffusion_model.{UNET[key]}.{rest}"


def _autoencoder_name(name: str) -> str:
    for key, original in AUTOENCODER.items():
        name = name.replace(key, original)
    return f"first_stage_model.{name}"


def _networks(is_clip: bool, inputs: int) -> dict[str, Weights]:
    size = dict(vocabulary=49408, positions=77) if is_clip else {}
    text_encoder = _text_encoder(3, has_projection=False, states=STATES, **size)
    embedding = "text_model.embeddings.token_embedding.weight"
    text_encoder.tensors[embedding] = text_encoder.tensors[embedding].astype(np.float16)
    unet = _unet(STATES, width=WIDTH)
    unet.conv("conv_in", inputs, WIDTH)
    return {"unet": unet, "vae": _autoencoder(WIDTH), "text_encoder": text_encoder}


def clip_tokenizer() -> dict[str, Any]:
    """CLIP's own: bytes as characters, the same at the end of a word, and what they are merged to."""
    lines = (REPOSITORY / "Sources" / "CLIPMerges" / "merges.txt").read_text().splitlines()
    merges = [line for line in lines if line and not line.startswith("#version")]
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = [chr(byte) for byte in shown] + [chr(0x100 + i) for i in range(256 - len(shown))]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *(merge.replace(" ", "") for merge in merges)]
    vocabulary = {token: i for i, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    return {"vocab.json": vocabulary, "merges.txt": "\n".join(["#version: 0.2", *merges])}


def folder_files(is_clip: bool = False, inputs: int = 4) -> dict[str, bytes]:
    """is_clip: with CLIP's vocabulary and tokenizer, 76 MB. inputs: 9 for inpainting."""
    texts: dict[str, Any] = {
        "model_index.json": {
            "_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"], "scheduler": ["diffusers", "PNDMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
        },
        "unet/config.json": {
            "_class_name": "UNet2DConditionModel", "block_out_channels": [WIDTH], "layers_per_block": 1,
            "attention_head_dim": 8, "cross_attention_dim": STATES, "sample_size": 64, "in_channels": inputs,
            "down_block_types": ["CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D"],
        },
        "scheduler/scheduler_config.json": {
            "_class_name": "PNDMScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
            "skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1,
        },
        "vae/config.json": {
            "block_out_channels": [WIDTH // 2, WIDTH], "down_block_types": ["DownEncoderBlock2D"] * 2,
            "up_block_types": ["UpDecoderBlock2D"] * 2,
        },
        "text_encoder/config.json": {
            "vocab_size": 49408 if is_clip else 54, "hidden_size": STATES, "intermediate_size": 16,
            "num_hidden_layers": 2, "num_attention_heads": 12, "max_position_embeddings": 77 if is_clip else CHUNK,
            "eos_token_id": 2,
        },
    }
    tokenizer = clip_tokenizer() if is_clip else TOKENIZER
    texts.update({f"tokenizer/{name}": content for name, content in tokenizer.items()})
    weights = {name: network.file() for name, network in _networks(is_clip, inputs).items()}
    return {
        **encoded(texts),
        "unet/diffusion_pytorch_model.safetensors": weights["unet"],
        "vae/diffusion_pytorch_model.safetensors": weights["vae"],
        "text_encoder/model.safetensors": weights["text_encoder"],
    }


def one_file(is_clip: bool = False, inputs: int = 4) -> bytes:
    networks, file = _networks(is_clip, inputs), Weights(0)
    for name, tensor in networks["unet"].tensors.items():
        file.tensors[_unet_name(name)] = tensor
    for name, tensor in networks["vae"].tensors.items():
        is_product = re.search(r"to_(q|k|v|out\.0)\.weight", name)  # which were 1 x 1 convolutions
        file.tensors[_autoencoder_name(name)] = tensor[..., None, None] if is_product else tensor
    for name, tensor in networks["text_encoder"].tensors.items():
        file.tensors[f"cond_stage_model.transformer.{name}"] = tensor
    return file.file()
