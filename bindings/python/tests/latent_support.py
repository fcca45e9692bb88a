"""Files of tiny models that read texts and work on latents: random weights, samples of 4 x 4, images of 8 x 8."""
from __future__ import annotations

import json
import string
from typing import Any

import numpy as np

CHUNK = 12
TEXT, POOLED = 8, 6


class Weights:
    """Tensors by name, with what networks are made of."""

    def __init__(self, seed: int, width: int = 8) -> None:
        self.random, self.tensors, self.width = np.random.default_rng(seed), {}, width

    def add(self, name, *shape):
        fan_in = max(1, int(np.prod(shape[1:])))
        values = self.random.uniform(-1, 1, shape) * (1.7 / fan_in**0.5 if len(shape) > 1 else 0.1)
        self.tensors[name] = (values + (len(shape) == 1 and name.endswith("weight"))).astype(np.float32)

    def norms(self, *names, channels):
        for name in names:
            self.add(f"{name}.weight", channels)
            self.add(f"{name}.bias", channels)

    def linear(self, name, inputs, outputs, *kernel, bias=True):
        self.add(f"{name}.weight", outputs, inputs, *kernel)
        if bias:
            self.add(f"{name}.bias", outputs)

    def conv(self, name, inputs, outputs, kernel=3):
        self.linear(name, inputs, outputs, kernel, kernel)

    def resnet(self, name, inputs, outputs, time=0):
        self.norms(f"{name}.norm1", channels=inputs)
        self.norms(f"{name}.norm2", channels=outputs)
        self.conv(f"{name}.conv1", inputs, outputs)
        self.conv(f"{name}.conv2", outputs, outputs)
        if time:
            self.linear(f"{name}.time_emb_proj", time, outputs)
        if inputs != outputs:
            self.conv(f"{name}.conv_shortcut", inputs, outputs, 1)

    def attention(self, name, states, bias):
        for part, inputs in (("to_q", self.width), ("to_k", states), ("to_v", states)):
            self.linear(f"{name}.{part}", inputs, self.width, bias=bias)
        self.linear(f"{name}.to_out.0", self.width, self.width)

    def transformer(self, name, states):
        block, width = f"{name}.transformer_blocks.0", self.width
        self.norms(f"{name}.norm", f"{block}.norm1", f"{block}.norm2", f"{block}.norm3", channels=width)
        self.conv(f"{name}.proj_in", width, width, 1)
        self.conv(f"{name}.proj_out", width, width, 1)
        self.attention(f"{block}.attn1", width, bias=False)
        self.attention(f"{block}.attn2", states, bias=False)
        self.linear(f"{block}.ff.net.0.proj", width, 8 * width)
        self.linear(f"{block}.ff.net.2", 4 * width, width)

    def file(self, **metadata: str) -> bytes:
        header, end = {"__metadata__": metadata} if metadata else {}, 0
        for name, tensor in self.tensors.items():
            begin, end = end, end + tensor.nbytes
            header[name] = {"dtype": f"F{8 * tensor.itemsize}", "shape": tensor.shape, "data_offsets": [begin, end]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text + b"".join(t.tobytes() for t in self.tensors.values())


def _encoder_half(w: Weights, states: int) -> None:
    """Of a UNet2DConditionModel of one level, or a ControlNetModel."""
    time = 4 * w.width
    w.conv("conv_in", 4, w.width)
    w.linear("time_embedding.linear_1", w.width, time)
    w.linear("time_embedding.linear_2", time, time)
    for name in ("down_blocks.0.resnets.0", "mid_block.resnets.0", "mid_block.resnets.1"):
        w.resnet(name, w.width, w.width, time)
    for name in ("down_blocks.0.attentions.0", "mid_block.attentions.0"):
        w.transformer(name, states)


def _unet(states: int, is_xl: bool = False, width: int = 8) -> Weights:
    w, time = Weights(1, width), 4 * width
    _encoder_half(w, states)
    if is_xl:
        w.linear("add_embedding.linear_1", POOLED + 24, time)
        w.linear("add_embedding.linear_2", time, time)
    for i in range(2):
        w.resnet(f"up_blocks.0.resnets.{i}", 2 * width, width, time)
        w.transformer(f"up_blocks.0.attentions.{i}", states)
    w.norms("conv_norm_out", channels=width)
    w.conv("conv_out", width, 4)
    return w


def _autoencoder(width: int = 8) -> Weights:
    w, half_width = Weights(2, width), width // 2
    w.conv("encoder.conv_in", 3, half_width)
    w.resnet("encoder.down_blocks.0.resnets.0", half_width, half_width)
    w.conv("encoder.down_blocks.0.downsamplers.0.conv", half_width, half_width)
    w.resnet("encoder.down_blocks.1.resnets.0", half_width, width)
    for half in ("encoder", "decoder"):
        for i in range(2):
            w.resnet(f"{half}.mid_block.resnets.{i}", width, width)
        w.norms(f"{half}.mid_block.attentions.0.group_norm", channels=width)
        w.attention(f"{half}.mid_block.attentions.0", width, bias=True)
    w.norms("encoder.conv_norm_out", channels=width)
    w.conv("encoder.conv_out", width, 8)
    w.conv("quant_conv", 8, 8, 1)
    w.conv("post_quant_conv", 4, 4, 1)
    w.conv("decoder.conv_in", 4, width)
    for i in range(2):
        w.resnet(f"decoder.up_blocks.0.resnets.{i}", width, width)
        w.resnet(f"decoder.up_blocks.1.resnets.{i}", half_width if i else width, half_width)
    w.conv("decoder.up_blocks.0.upsamplers.0.conv", width, width)
    w.norms("decoder.conv_norm_out", channels=half_width)
    w.conv("decoder.conv_out", half_width, 3)
    return w


def _text_encoder(
    seed: int, has_projection: bool, states: int = TEXT, vocabulary: int = 54, positions: int = CHUNK
) -> Weights:
    w = Weights(seed)
    w.add("text_model.embeddings.token_embedding.weight", vocabulary, states)
    w.add("text_model.embeddings.position_embedding.weight", positions, states)
    for i in range(2):
        layer = f"text_model.encoder.layers.{i}"
        w.norms(f"{layer}.layer_norm1", f"{layer}.layer_norm2", channels=states)
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            w.linear(f"{layer}.self_attn.{part}", states, states)
        w.linear(f"{layer}.mlp.fc1", states, 16)
        w.linear(f"{layer}.mlp.fc2", 16, states)
    w.norms("text_model.final_layer_norm", channels=states)
    if has_projection:
        w.linear("text_projection", states, POOLED, bias=False)
    return w


_COMMON = {
    "block_out_channels": [8], "layers_per_block": 1, "norm_num_groups": 2, "attention_head_dim": 2,
    "down_block_types": ["CrossAttnDownBlock2D"],
}
_LETTERS = [letter + end for end in ("", "</w>") for letter in string.ascii_lowercase]
TOKENIZER = {
    "vocab.json": {token: i for i, token in enumerate([*_LETTERS, "<|startoftext|>", "<|endoftext|>"])},
    "merges.txt": "#version: 0.2\n",
    "tokenizer_config.json": {"model_max_length": CHUNK},
}


def model_files(is_xl: bool = False) -> dict[str, bytes]:
    """Of a Stable Diffusion with a vocabulary of letters; XL: with two text encoders."""
    unet = {
        "_class_name": "UNet2DConditionModel", "sample_size": 4, "in_channels": 4, "out_channels": 4, **_COMMON,
        "up_block_types": ["CrossAttnUpBlock2D"], "cross_attention_dim": 2 * TEXT if is_xl else TEXT,
    }
    if is_xl:
        unet.update(
            addition_embed_type="text_time", addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=POOLED + 24,
        )
    index = {
        "_class_name": f"StableDiffusion{'XL' if is_xl else ''}Pipeline",
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DDIMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
    }
    texts = {
        "unet/config.json": unet,
        "scheduler/scheduler_config.json": {
            "_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085,
            "beta_end": 0.012, "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1,
        },
        "vae/config.json": {
            "block_out_channels": [4, 8], "norm_num_groups": 2, "down_block_types": ["DownEncoderBlock2D"] * 2,
            "up_block_types": ["UpDecoderBlock2D"] * 2,
        },
    }
    files = {
        "unet/diffusion_pytorch_model.safetensors": _unet(2 * TEXT if is_xl else TEXT, is_xl).file(),
        "vae/diffusion_pytorch_model.safetensors": _autoencoder().file(),
    }
    for i in range(1 + is_xl):
        end = "_2" if i else ""
        texts[f"text_encoder{end}/config.json"] = {
            "vocab_size": 54, "hidden_size": TEXT, "intermediate_size": 16, "projection_dim": POOLED,
            "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": CHUNK, "eos_token_id": 53,
        }
        files[f"text_encoder{end}/model.safetensors"] = _text_encoder(3 + i, has_projection=i == 1).file()
        texts.update({f"tokenizer{end}/{name}": content for name, content in TOKENIZER.items()})
        if i:
            index["text_encoder_2"] = ["transformers", "CLIPTextModelWithProjection"]
    texts["model_index.json"] = index
    return {**files, **encoded(texts)}


def encoded(texts: dict[str, Any]) -> dict[str, bytes]:
    """Texts, and what becomes JSON."""
    return {name: (t if isinstance(t, str) else json.dumps(t)).encode() for name, t in texts.items()}


def controlnet_files(width: int = 8) -> dict[str, bytes]:
    w = Weights(5, width)
    _encoder_half(w, TEXT)
    for name, inputs, outputs in (("conv_in", 3, 4), ("blocks.0", 4, 4), ("blocks.1", 4, 8), ("conv_out", 8, width)):
        w.conv(f"controlnet_cond_embedding.{name}", inputs, outputs)
    for name in ("controlnet_down_blocks.0", "controlnet_down_blocks.1", "controlnet_mid_block"):
        w.conv(name, width, width, 1)
    config = {
        **_COMMON, "block_out_channels": [width], "cross_attention_dim": TEXT,
        "conditioning_embedding_out_channels": [4, 8],
    }
    return {"config.json": json.dumps(config).encode(), "diffusion_pytorch_model.safetensors": w.file()}


def module_file(sample_size: int = 4, channels: int = 4, seed: int = 6, **base: Any) -> bytes:
    """A module that follows a sketch, not the identity; base: what it was trained on, e.g. channels=4."""
    w, time = Weights(seed), 32
    w.conv("conv_in", 2 * channels + 1, 8)
    w.linear("time_embedding.linear_1", 8, time)
    w.linear("time_embedding.linear_2", time, time)
    for name in ("down_blocks.0.resnets.0", "mid_block.resnets.0", "mid_block.resnets.1"):
        w.resnet(name, 8, 8, time)
    w.norms("mid_block.attentions.0.group_norm", channels=8)
    w.attention("mid_block.attentions.0", 8, bias=True)
    for i in range(2):
        w.resnet(f"up_blocks.0.resnets.{i}", 16, 8, time)
    w.norms("conv_norm_out", channels=8)
    w.conv("conv_out", 8, 2 * channels)
    config = {
        "net": {
            "sample_size": sample_size, "block_out_channels": [8], "layers_per_block": 1, "norm_num_groups": 2,
            "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"],
        },
        "prediction_channels": channels, "scale_offset": 1.0, "presence_flags": False, "base": base,
        "modalities": [{"name": "sketch", "channels": 1, "encoding": "grey", "resize": "area"}],
    }
    return w.file(format="mcm", version="1", config=json.dumps(config))


def write(folder, files):
    """Returns the folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


IMAGES = np.random.default_rng(7).integers(0, 256, (6, 8, 8, 3), np.uint8)
MASK = np.arange(64).reshape(8, 8) % 8 > 3
SKETCH = np.where(IMAGES[1, ..., 0] > 127, 255, 0).astype(np.uint8)
