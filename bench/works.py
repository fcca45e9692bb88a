"""What is measured: one denoising step of one network at one batch size, an autoencoder or a text encoder, a step of
training, or a whole image."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

TIMESTEP = 500
PROMPT = "a photograph of a red leather boot on a wooden table, soft light from a window"
GUIDANCE_SCALE = 7.5
TENSORS = "x", "e", "y", "states", "z", "ids"  # of the inputs, those that peers take, in this order
PEERS = {
    "torch": "PyTorch",
    "torch-cl": "PyTorch channels_last",
    "openvino": "OpenVINO f32",
    "ncnn": "ncnn f32",
    "sd.cpp": "stable-diffusion.cpp",
}
CONTENDERS = {
    "libmcm": "libmcm", **PEERS, "libmcm-bare": "libmcm without the module", "libmcm-demand": "libmcm, parts on demand",
}


@dataclass(frozen=True)
class Work:
    title: str
    model: str  # a folder of `Cache`
    batch: int = 1
    module: str = ""  # "" a step of the base, "alone" the paper's module, "attached" a step of both, "trained"
    bank: bool = False  # whether libmcm trains from recorded predictions; peers always run the base
    part: str = "unet"  # or "decode", "text"; "image": all of it, from opening to pixels
    size: int = 0  # height and width of a sample, if not the model's
    steps: int = 0  # of an image
    pairs: int = 0  # runs in turn, if fewer than others: they are long

    @property
    def reads_text(self) -> bool:
        return self.model.startswith("sd15")

    @property
    def contenders(self) -> tuple[str, ...]:
        """Those that libmcm is compared with."""
        if self.module == "trained":
            return "torch", "torch-cl"
        if self.module == "attached":
            return ("libmcm-bare",)
        if self.part == "image":
            return ("torch", "libmcm-demand", "sd.cpp") if self.reads_text else ("torch",)
        with_text = ("sd.cpp",) if self.reads_text and self.part != "text" else ()
        return "torch", "torch-cl", "openvino", "ncnn", *with_text


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
    "vae-decode-256": Work("Its autoencoder, to 256x256", "sd15", part="decode", size=32, pairs=3),
    "vae-decode-512": Work("Its autoencoder, to 512x512", "sd15", part="decode", size=64, pairs=3),
    "clip-text": Work("Its text encoder, 77 tokens", "sd15", part="text"),
    "module": Work("The paper's module, batch 1", "module-base", module="alone"),
    "ldm-module": Work("LDM CelebA-HQ with the module, batch 1", "ldm-celebahq-256", module="attached"),
    "fashion-train": Work("Training: Fashion-MNIST, batch 64", "fashion", 64, "trained"),
    "ldm-train": Work("Training: the paper's module on the LDM, batch 4", "ldm-celebahq-256", 4, "trained"),
    "ldm-train-bank": Work("Training: the same from recorded predictions", "ldm-celebahq-256", 4, "trained", True),
    "ldm-256-50": Work("LDM CelebA-HQ, 256x256, 50 steps", "ldm-celebahq-256", part="image", steps=50, pairs=1),
    "sd-512-20": Work("Stable Diffusion 1.5, 512x512, 20 steps", "sd15", part="image", steps=20, pairs=1),
    "sd-512-20-fp16": Work("The same with float16 weights", "sd15-fp16", part="image", steps=20, pairs=1),
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
        if work.module:
            return self.module
        part = {"decode": "vae/diffusion_pytorch_model", "text": "text_encoder/model"}
        return self.model(work.model) / f"{part.get(work.part, 'unet/diffusion_pytorch_model')}.safetensors"

    def converted(self, work: Work, peer: str) -> Path:
        """A folder with the network in the peer's own format."""
        name = "module" if work.module else work.model
        if peer != "sd.cpp" and work.part != "unet":  # stable-diffusion.cpp has all parts in one file
            name += f"-{work.part}" + (f"-{work.size}" if peer == "ncnn" and work.size else "")
        return self.root / f"{name}.{peer}"
