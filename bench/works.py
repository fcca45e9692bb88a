"""What is measured: each work is one pass of a network at one batch size, one step of training, or a whole image."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

TIMESTEP = 500
PROMPT = "a photograph of a temple by the sea"
GUIDANCE = 7.5
PEERS = {
    "torch": "PyTorch",
    "torch-cl": "PyTorch channels_last",
    "openvino": "OpenVINO f32",
    "ncnn": "ncnn f32",
    "sdcpp": "stable-diffusion.cpp",
}
CONTENDERS = {
    "libmcm": "libmcm",
    **PEERS,
    "libmcm-bare": "libmcm without the module",
    "libmcm-on-demand": "libmcm, parts on demand",
}
# What peers' networks take, in this order: see `models.inputs`.
PEER_INPUTS = ("t", "x", "e", "y")


@dataclass(frozen=True)
class Work:
    title: str
    model: str  # a folder of `Cache`
    batch: int = 1
    part: str = "network"  # a step of the base; or "module", the paper's alone; "attached", a step of both; "training";
    #                        "encoder", "decoder" and "text", of Stable Diffusion; "image", from opening to pixels
    size: int = 0  # height and width of what the network reads; 0: the model's own
    steps: int = 0  # of an image
    bank: bool = False  # whether libmcm trains from recorded predictions; peers always run the base
    pairs: int = 7  # at most: what takes seconds is less noisy

    @property
    def contenders(self) -> tuple[str, ...]:
        """Those that libmcm is compared with."""
        diffusion = ("sdcpp",) if self.model.startswith("sd15") else ()
        return {
            "attached": ("libmcm-bare",),
            "training": ("torch", "torch-cl"),
            "encoder": ("torch", "torch-cl", "openvino", "ncnn"),
            "text": ("torch", "openvino", "ncnn"),  # without channels; stable-diffusion.cpp does not say its time
            "image": ("libmcm-on-demand", "torch", *diffusion) if diffusion else ("torch",),
        }.get(self.part, ("torch", "torch-cl", "openvino", "ncnn", *diffusion))

    @property
    def whole_model(self) -> str:
        """What stable-diffusion.cpp opens, also for a part."""
        return self.model if self.part == "image" else "sd15"


WORKS = {
    "fashion-b1": Work("Fashion-MNIST 28x28, batch 1", "fashion"),
    "fashion-b8": Work("Fashion-MNIST 28x28, batch 8", "fashion", 8),
    "fashion-b64": Work("Fashion-MNIST 28x28, batch 64", "fashion", 64),
    "cifar-b1": Work("DDPM CIFAR-10 32x32, batch 1", "ddpm-cifar10-32"),
    "cifar-b8": Work("DDPM CIFAR-10 32x32, batch 8", "ddpm-cifar10-32", 8),
    "celebahq-b1": Work("DDPM CelebA-HQ 256x256, batch 1", "ddpm-celebahq-256"),
    "ldm-b1": Work("LDM CelebA-HQ 64x64, batch 1", "ldm-celebahq-256"),
    "ldm-b4": Work("LDM CelebA-HQ 64x64, batch 4", "ldm-celebahq-256", 4),
    "sd-unet-b2": Work("Stable Diffusion 1.5 64x64, batch 2", "sd15", 2, pairs=3),
    "vae-decode-256": Work("Stable Diffusion's decoder, 256x256", "sd15-vae", part="decoder", size=32, pairs=3),
    "vae-decode-512": Work("Stable Diffusion's decoder, 512x512", "sd15-vae", part="decoder", size=64, pairs=3),
    "vae-encode-512": Work("Stable Diffusion's encoder, 512x512", "sd15-vae", part="encoder", size=512, pairs=3),
    "clip-text": Work("Stable Diffusion's text encoder, 77 tokens", "sd15-text", part="text"),
    "module": Work("The paper's module, batch 1", "module-base", part="module"),
    "ldm-module": Work("LDM CelebA-HQ with the module, batch 1", "ldm-celebahq-256", part="attached"),
    "fashion-train": Work("Training: Fashion-MNIST, batch 64", "fashion", 64, "training"),
    "ldm-train": Work("Training: the paper's module on the LDM, batch 4", "ldm-celebahq-256", 4, "training"),
    "ldm-train-bank": Work(
        "Training: the same from recorded predictions", "ldm-celebahq-256", 4, "training", bank=True),
    "ldm-256-50": Work("LDM, an image of 256x256 in 50 steps", "ldm-images", part="image", steps=50, pairs=1),
    "sd-512-20": Work(
        "Stable Diffusion 1.5, an image of 512x512 in 20 steps", "sd15", part="image", steps=20, pairs=1),
    "sd-512-20-fp16": Work("The same with weights of 16 bits", "sd15-fp16", part="image", steps=20, pairs=1),
}


@dataclass(frozen=True)
class Cache:
    """The folder that keeps models, and what peers made of them, from one run to the next."""

    root: Path

    def model(self, name: str) -> Path:
        return REPOSITORY / "examples/fashion/base" if name == "fashion" else self.root / name

    @property
    def module(self) -> Path:
        return self.root / "module.mcm.safetensors"

    def trained(self, work: Work) -> Path:
        """The module that training begins with."""
        return REPOSITORY / "examples/fashion/module.mcm.safetensors" if work.model == "fashion" else self.module

    def dataset(self, work: Work) -> Path:
        return self.root / f"{work.model}.dataset.safetensors"

    def bank(self, work: Work) -> Path:
        return self.root / f"{work.model}.bank"

    def weights(self, work: Work) -> Path:
        """Of the network that peers run."""
        return self.module if work.part == "module" else self.model(work.model) / {
            "encoder": "vae/diffusion_pytorch_model.safetensors",
            "decoder": "vae/diffusion_pytorch_model.safetensors",
            "text": "text_encoder/model.safetensors",
        }.get(work.part, "unet/diffusion_pytorch_model.safetensors")

    def converted(self, work: Work, peer: str) -> Path:
        """A folder with the network, or for stable-diffusion.cpp the whole model, in the peer's own format."""
        if peer == "sdcpp":
            return self.root / f"{work.whole_model}.sdcpp"
        name = "module" if work.part == "module" else work.model
        return self.root / f"{name}{f'-{work.size}' if work.size else ''}.{peer}"
