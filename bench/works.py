"""What is measured: each work is one denoising step of one network at one batch size, or one step of training."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

TIMESTEP = 500
PEERS = {
    "torch": "PyTorch",
    "torch-cl": "PyTorch channels_last",
    "openvino": "OpenVINO f32",
    "ncnn": "ncnn f32",
}
CONTENDERS = {"libmcm": "libmcm", **PEERS, "libmcm-bare": "libmcm without the module"}


@dataclass(frozen=True)
class Work:
    title: str
    model: str  # a folder of `Cache`
    batch: int = 1
    module: str = ""  # "" a step of the base, "alone" the paper's module, "attached" a step of both, "trained"
    bank: bool = False  # whether libmcm trains from recorded predictions; peers always run the base

    @property
    def contenders(self) -> tuple[str, ...]:
        """Those that libmcm is compared with."""
        if self.module == "trained":
            return "torch", "torch-cl"
        return ("libmcm-bare",) if self.module == "attached" else tuple(PEERS)


WORKS = {
    "fashion-b1": Work("Fashion-MNIST 28x28, batch 1", "fashion"),
    "fashion-b8": Work("Fashion-MNIST 28x28, batch 8", "fashion", 8),
    "fashion-b64": Work("Fashion-MNIST 28x28, batch 64", "fashion", 64),
    "cifar-b1": Work("DDPM CIFAR-10 32x32, batch 1", "ddpm-cifar10-32"),
    "cifar-b8": Work("DDPM CIFAR-10 32x32, batch 8", "ddpm-cifar10-32", 8),
    "celebahq-b1": Work("DDPM CelebA-HQ 256x256, batch 1", "ddpm-celebahq-256"),
    "ldm-b1": Work("LDM CelebA-HQ 64x64, batch 1", "ldm-celebahq-256"),
    "ldm-b4": Work("LDM CelebA-HQ 64x64, batch 4", "ldm-celebahq-256", 4),
    "module": Work("The paper's module, batch 1", "module-base", module="alone"),
    "ldm-module": Work("LDM CelebA-HQ with the module, batch 1", "ldm-celebahq-256", module="attached"),
    "fashion-train": Work("Training: Fashion-MNIST, batch 64", "fashion", 64, "trained"),
    "ldm-train": Work("Training: the paper's module on the LDM, batch 4", "ldm-celebahq-256", 4, "trained"),
    "ldm-train-bank": Work("Training: the same from recorded predictions", "ldm-celebahq-256", 4, "trained", True),
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
        return self.module if work.module else self.model(work.model) / "unet/diffusion_pytorch_model.safetensors"

    def converted(self, work: Work, peer: str) -> Path:
        """A folder with the network in the peer's own format."""
        return self.root / f"{'module' if work.module else work.model}.{peer}"
