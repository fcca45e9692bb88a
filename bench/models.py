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

import torch
from diffusers import (
    AutoencoderKL, DDIMPipeline, DDIMScheduler, LDMPipeline, StableDiffusionPipeline, UNet2DConditionModel, UNet2DModel,
    VQModel,
)
from safetensors import safe_open
from safetensors.torch import save_file

from works import PROMPT, REPOSITORY, Cache, Work

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
VQ = dict(
    block_out_channels=(128, 256, 512), layers_per_block=2, latent_channels=3, num_vq_embeddings=8192, sample_size=256,
    down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
)
KL = dict(
    block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, sample_size=512,
    down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
)
STABLE_DIFFUSION = dict(
    sample_size=64, in_channels=4, out_channels=4, layers_per_block=2, block_out_channels=(320, 640, 1280, 1280),
    cross_attention_dim=768, attention_head_dim=8,
)
CLIP = dict(
    vocab_size=49408, max_position_embeddings=77, hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
    num_attention_heads=12, hidden_act="quick_gelu", bos_token_id=49406, eos_token_id=49407,
)
MODELS = [*UNETS, "sd15", "sd15-fp16"]
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
    torch.manual_seed(0)
    pipeline = _stable_diffusion(name.endswith("-fp16")) if name not in UNETS else _unconditional(name)
    with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
        pipeline.save_pretrained(f"{partial}/model")
        os.rename(f"{partial}/model", folder)


def _unconditional(name: str) -> DDIMPipeline | LDMPipeline:
    unet = UNet2DModel(**UNETS[name])
    if not name.startswith("ldm"):
        return DDIMPipeline(unet, DDIMScheduler())
    schedule = dict(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False)
    return LDMPipeline(vqvae=VQModel(**VQ), unet=unet, scheduler=DDIMScheduler(**schedule))


def _stable_diffusion(half: bool) -> StableDiffusionPipeline:
    from transformers import CLIPTextConfig, CLIPTextModel

    schedule = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)
    pipeline = StableDiffusionPipeline(
        unet=UNet2DConditionModel(**STABLE_DIFFUSION), vae=AutoencoderKL(**KL),
        text_encoder=CLIPTextModel(CLIPTextConfig(**CLIP)), tokenizer=_tokenizer(),
        scheduler=DDIMScheduler(**schedule, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )
    return pipeline.to(torch.float16) if half else pipeline


def _tokenizer() -> object:
    """CLIP's, from the list of merges that libmcm carries: bytes, bytes at the end of a word, merges, two marks."""
    from transformers import CLIPTokenizer

    lines = (REPOSITORY / "Sources/CLIPMerges/merges.txt").read_text().splitlines()
    merges = [line for line in lines if line and not line.startswith("#")]
    codes = [*range(33, 127), *range(161, 173), *range(174, 256)]
    characters = [chr(code) for code in codes] + [chr(256 + i) for i in range(256 - len(codes))]
    vocabulary = characters + [f"{c}</w>" for c in characters] + [merge.replace(" ", "") for merge in merges]
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(vocabulary)}))
        Path(folder, "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
        return CLIPTokenizer(f"{folder}/vocab.json", f"{folder}/merges.txt", model_max_length=77)


def make_module(cache: Cache) -> None:
    if cache.module.exists():
        return
    cache.root.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)  # conv_out too: at zero, as before training, e' would equal e whatever the module does
    metadata = {"format": "mcm", "version": "1", "config": json.dumps(MODULE)}
    save_file(_empty_module(MODULE).state_dict(), f"{cache.module}.partial", metadata)
    os.rename(f"{cache.module}.partial", cache.module)


class Base(torch.nn.Module):
    """The prediction e for the sample x, (N, C, H, W), at timestep t, ()."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.net = UNet2DModel.from_pretrained(folder / "unet")

    def forward(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.net(x, t, return_dict=False)[0]


class TextBase(torch.nn.Module):
    """The prediction for a sample x, (N, C, H, W), at timestep t, (), and the states of texts, (N, T, C')."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.net = UNet2DConditionModel.from_pretrained(folder / "unet")

    def forward(self, t: torch.Tensor, x: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        return self.net(x, t, states, return_dict=False)[0]


class Decoder(torch.nn.Module):
    """Pixels, (N, 3, H, W) from 0 to 255, of samples z."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.net = AutoencoderKL.from_pretrained(folder / "vae")
        del self.net.encoder, self.net.quant_conv

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        image = self.net.decode(z / self.net.config.scaling_factor, return_dict=False)[0]
        return (image * 127.5 + 127.5).clamp(0, 255)


class TextEncoder(torch.nn.Module):
    """The states, (N, T, C), of texts' token ids, (N, T)."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        from transformers import CLIPTextModel

        self.net = CLIPTextModel.from_pretrained(folder / "text_encoder")

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.net(ids, return_dict=False)[0]


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
    """What peers run, with t first if it is a denoiser, and then the arrays of `inputs` that it takes."""
    if work.module:
        return Module(cache.module).eval()
    kinds = {"decode": Decoder, "text": TextEncoder, "unet": TextBase if work.reads_text else Base}
    return kinds[work.part](cache.model(work.model)).eval()


def inputs(work: Work, cache: Cache) -> dict[str, torch.Tensor]:
    """x, and for the module e and the conditions: as images for libmcm, as planes y for peers. Texts' states, samples z
    to be decoded, token ids. None for a whole image."""
    if work.part == "image":
        return {}
    if work.part == "text":
        from transformers import CLIPTokenizer

        tokenizer = CLIPTokenizer.from_pretrained(cache.model(work.model) / "tokenizer")
        return {"ids": tokenizer(PROMPT, padding="max_length", return_tensors="pt").input_ids}
    if work.part == "decode":
        torch.manual_seed(1)
        return {"z": torch.randn((work.batch, KL["latent_channels"], work.size, work.size)) * 0.9}
    if work.module == "trained":
        config, size = _training_config(work, cache)
        planes = sum(m["channels"] + config["presence_flags"] for m in config["modalities"])
        torch.manual_seed(1)
        x0 = torch.randn((work.batch, config["prediction_channels"], size, size))
        return {"x0": x0, "y": torch.rand((work.batch, planes, size, size))}
    config = json.loads((cache.model(work.model) / "unet/config.json").read_text())
    size = config["sample_size"]
    shape = (work.batch, config["in_channels"], size, size)
    torch.manual_seed(1)
    x = torch.randn(shape)
    if work.reads_text:
        return {"x": x, "states": torch.randn((work.batch, 77, config["cross_attention_dim"]))}
    if not work.module:
        return {"x": x}
    classes = MODULE["modalities"][1]["channels"]
    e, sketch = torch.randn(shape), (torch.rand(size, size) < 0.1).float()
    segmentation = torch.randint(classes, (8, 8)).repeat_interleave(size // 8, 0).repeat_interleave(size // 8, 1)
    one_hot = torch.nn.functional.one_hot(segmentation, classes).permute(2, 0, 1)
    y = torch.cat([sketch[None], one_hot]).expand(work.batch, -1, -1, -1)
    return {"x": x, "e": e, "y": y, "sketch": sketch, "segmentation": segmentation}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", choices=[*MODELS, "module"])
    parser.add_argument("--cache", type=Path, default=Path("build/bench-models"))
    options = parser.parse_args()
    for chosen in options.models:
        make_module(Cache(options.cache)) if chosen == "module" else make_model(chosen, Cache(options.cache))
