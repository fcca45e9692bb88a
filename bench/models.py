"""The networks: architectures of well-known models with random weights, since the cost is the same.

    python models.py MODEL... [--cache build/bench-models]

Writes folders that mcm_model_open reads, and the paper's module as a file that mcm_modulator_open reads.
"""
from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import diffusers
import torch
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel
from safetensors import safe_open
from safetensors.torch import save_file

from works import PROMPT, TIMESTEP, Cache, Work

DDPM = dict(
    in_channels=3, out_channels=3, layers_per_block=2, attention_head_dim=None, downsample_padding=0,
    flip_sin_to_cos=False, freq_shift=1, norm_eps=1e-6,
)
UNETS = {
    "ddpm-cifar10-32": dict(
        DDPM, sample_size=32, block_out_channels=(128, 256, 256, 256),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    ),
    "ddpm-celebahq-256": dict(
        DDPM, sample_size=256, block_out_channels=(128, 128, 256, 256, 512, 512),
        down_block_types=("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4,
    ),
    "ldm-celebahq-256": dict(
        sample_size=64, in_channels=3, out_channels=3, layers_per_block=2, block_out_channels=(224, 448, 672, 896),
        down_block_types=("DownBlock2D",) + ("AttnDownBlock2D",) * 3,
        up_block_types=("AttnUpBlock2D",) * 3 + ("UpBlock2D",), attention_head_dim=32, norm_eps=1e-5,
    ),
    # mcm_modulator_modulate wants the base that the module corrects. Small, so that it hardly counts in peak memory.
    "module-base": dict(
        sample_size=64, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(32,),
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
    ),
}
# The paper's module for an unconditional LDM: 3.9 M parameters.
MODULE = {
    "net": dict(
        sample_size=64, block_out_channels=(32, 32, 64, 128), layers_per_block=2,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"), attention_head_dim=None,
    ),
    "prediction_channels": 3,
    "scale_offset": 1.0,
    "presence_flags": False,
    "modalities": [
        {"name": "sketch", "channels": 1, "encoding": "grey", "resize": "area"},
        {"name": "segmentation", "channels": 19, "encoding": "one-hot", "resize": "nearest"},
    ],
}


def _empty_module(config: dict) -> UNet2DModel:
    channels = config["prediction_channels"]
    planes = sum(modality["channels"] for modality in config["modalities"])
    planes += len(config["modalities"]) * config["presence_flags"]
    return UNet2DModel(**config["net"], in_channels=2 * channels + planes, out_channels=2 * channels)


def make_model(name: str, cache: Cache) -> None:
    """The folder, unless it is there."""
    folder = cache.model(name)
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
        if name in UNETS:
            torch.manual_seed(0)
            DDIMPipeline(UNet2DModel(**UNETS[name]), DDIMScheduler()).save_pretrained(f"{partial}/model")
        else:
            import latent_models

            if name == "sd15-fp16":
                make_model("sd15", cache)
            latent_models.save(name, Path(partial, "model"), cache.root, UNETS["ldm-celebahq-256"])
        os.rename(f"{partial}/model", folder)


def make_module(cache: Cache) -> None:
    if cache.module.exists():
        return
    cache.root.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)  # conv_out too: at zero, as before training, e' would equal e whatever the module does
    metadata = {"format": "mcm", "version": "1", "config": json.dumps(MODULE)}
    save_file(_empty_module(MODULE).state_dict(), f"{cache.module}.partial", metadata)
    os.rename(f"{cache.module}.partial", cache.module)


class Base(torch.nn.Module):
    """The prediction e for the sample x, (N, C, H, W), at timestep t, (), and a text's states y, (N, tokens, C')."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        config = json.loads((folder / "unet/config.json").read_text())
        self.net = getattr(diffusers, config["_class_name"]).from_pretrained(folder / "unet")

    def forward(self, t: torch.Tensor, x: torch.Tensor, *y: torch.Tensor) -> torch.Tensor:
        return self.net(x, t, *y, return_dict=False)[0]


class Encoder(torch.nn.Module):
    """The latents, (N, C, H, W), scaled as the UNet has them, of the image x, (N, 3, 8 H, 8 W) in [-1, 1]."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.net = diffusers.AutoencoderKL.from_pretrained(folder / "vae")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net.encode(x).latent_dist.mean * self.net.config.scaling_factor


class Decoder(torch.nn.Module):
    """The image, (N, 3, 8 H, 8 W), of the latents x, (N, C, H, W), which are scaled as the UNet has them."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.net = diffusers.AutoencoderKL.from_pretrained(folder / "vae")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net.decode(x / self.net.config.scaling_factor, return_dict=False)[0]


class TextEncoder(torch.nn.Module):
    """The states, (N, tokens, C), of a text's tokens x, (N, tokens)."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        from transformers import CLIPTextModel

        self.net = CLIPTextModel.from_pretrained(folder / "text_encoder")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x, return_dict=False)[0]


class Module(torch.nn.Module):
    """The modulated prediction e' for x and e, (N, C, H, W), and the condition planes y, (N, K, H, W)."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        with safe_open(file, "pt") as weights:
            config = json.loads(weights.metadata()["config"])
            self.net = _empty_module(config)
            self.net.load_state_dict({key: weights.get_tensor(key).float() for key in weights.keys()})
        self.scale_offset = config["scale_offset"]

    def forward(self, t: torch.Tensor, x: torch.Tensor, e: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        g, v = self.net(torch.cat([x, e, y], 1), t, return_dict=False)[0].chunk(2, 1)
        return e * (self.scale_offset + g) + v


class Training(torch.nn.Module):
    """A step of training as libmcm's: draw, predict, modulate, weigh, go back, clip, AdamW, moving average."""

    def __init__(self, work: Work, cache: Cache, layout: torch.memory_format) -> None:
        super().__init__()
        self.base = Base(cache.model(work.model)).requires_grad_(False).to(memory_format=layout)
        self.module = Module(cache.trained(work)).train().to(memory_format=layout)
        self.average = [parameter.detach().clone() for parameter in self.module.parameters()]
        self.optimizer = torch.optim.AdamW(self.module.parameters(), lr=1e-5, weight_decay=1e-4)
        self.abar = DDIMScheduler().alphas_cumprod

    def forward(self, x0: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """x0 (N, C, H, W), condition planes and flags y (N, K, H, W)."""
        t, noise = torch.randint(1000, (len(x0),)), torch.randn_like(x0)
        abar = self.abar[t][:, None, None, None]
        x = abar.sqrt() * x0 + (1 - abar).sqrt() * noise
        with torch.no_grad():
            e = self.base(t, x)
        weight = ((1 - abar) / abar).sqrt().clamp(0.3, 10)
        loss = (weight * (self.module(t, x, e, y) - noise).square()).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.average, list(self.module.parameters()), 1e-3)
        return loss.detach()


def make_dataset(work: Work, cache: Cache) -> None:
    """Random examples with the modalities of the module that is trained."""
    if cache.dataset(work).exists():
        return
    config, size = _training_config(work, cache)
    generator = torch.Generator().manual_seed(2)
    count, channels = 4 * work.batch, config["prediction_channels"]
    tensors = {"samples": torch.randn((count, channels, size, size), generator=generator)}
    for modality in config["modalities"]:
        limit = modality["channels"] if modality["encoding"] == "one-hot" else 256
        tensors[modality["name"]] = torch.randint(limit, (count, size, size, 1), generator=generator, dtype=torch.uint8)
    cache.root.mkdir(parents=True, exist_ok=True)
    save_file(tensors, f"{cache.dataset(work)}.partial")
    os.rename(f"{cache.dataset(work)}.partial", cache.dataset(work))


def _training_config(work: Work, cache: Cache) -> tuple[dict, int]:
    with safe_open(cache.trained(work), "pt") as weights:
        config = json.loads(weights.metadata()["config"])
    return config, config["net"]["sample_size"]


def network(work: Work, cache: Cache) -> torch.nn.Module:
    """What peers run; it takes `PEER_INPUTS` of `inputs`, those that there are."""
    if work.part == "module":
        return Module(cache.module).eval()
    kind = {"network": Base, "encoder": Encoder, "decoder": Decoder, "text": TextEncoder}[work.part]
    return kind(cache.model(work.model)).eval()


def inputs(work: Work, cache: Cache) -> dict[str, torch.Tensor]:
    """t and x; a text's states y; for the module e and the conditions: as images for libmcm, as planes y for peers."""
    torch.manual_seed(1)
    if work.part == "image":
        return {}
    if work.part == "training":
        config, size = _training_config(work, cache)
        planes = sum(m["channels"] + config["presence_flags"] for m in config["modalities"])
        x0 = torch.randn((work.batch, config["prediction_channels"], size, size))
        return {"x0": x0, "y": torch.rand((work.batch, planes, size, size))}
    if work.part == "text":
        from transformers import CLIPTokenizer

        tokenizer = CLIPTokenizer.from_pretrained(cache.model(work.model) / "tokenizer")
        return {"x": tokenizer(PROMPT, padding="max_length", return_tensors="pt").input_ids}
    if work.part == "encoder":
        return {"x": 2 * torch.rand((work.batch, 3, work.size, work.size)) - 1}
    config = json.loads((cache.model(work.model) / "unet/config.json").read_text())
    size = work.size or config["sample_size"]
    shape = (work.batch, config["in_channels"], size, size)
    x = torch.randn(shape)
    if work.part == "decoder":
        return {"x": x}
    given = {"t": torch.tensor(TIMESTEP), "x": x}
    if work.part == "network":
        text_channels = config.get("cross_attention_dim")
        return given | ({"y": torch.randn(work.batch, 77, text_channels)} if text_channels else {})
    classes = MODULE["modalities"][1]["channels"]
    e, sketch = torch.randn(shape), (torch.rand(size, size) < 0.1).float()
    segmentation = torch.randint(classes, (8, 8)).repeat_interleave(size // 8, 0).repeat_interleave(size // 8, 1)
    one_hot = torch.nn.functional.one_hot(segmentation, classes).permute(2, 0, 1)
    y = torch.cat([sketch[None], one_hot]).expand(work.batch, -1, -1, -1)
    return given | {"e": e, "y": y, "sketch": sketch, "segmentation": segmentation}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help=f"module, or a work's model, one of {', '.join(UNETS)}, ...")
    parser.add_argument("--cache", type=Path, default=Path("build/bench-models"))
    options = parser.parse_args()
    for chosen in options.models:
        make_module(Cache(options.cache)) if chosen == "module" else make_model(chosen, Cache(options.cache))
