"""Controllable diffusion: pretrained models, multimodal conditioning modules and step-wise sampling with libmcm."""
from ._images import ImageLike, ImagesLike
from ._native import lib as _lib
from .errors import (
    Cancelled,
    CPUError,
    FormatError,
    IncompatibleError,
    InvalidArgument,
    IOFailure,
    MCMError,
    OutOfMemory,
    SizeError,
    StateError,
    StructSizeError,
    UnsupportedError,
)
from .model import Memory, Model, ModelInfo
from .modulator import Modality, Modulator, ModulatorInfo
from .png import read_png, write_png
from .rng import Generator
from .scheduler import Scheduler, StepResult
from .session import Attachment, Conditioning, Session, Step, generate

__version__ = "0.1.0"


def library_version() -> str:
    """The version of libmcm at run time."""
    version: bytes = _lib.mcm_version_string()
    return version.decode()


__all__ = [
    "Attachment",
    "CPUError",
    "Cancelled",
    "Conditioning",
    "FormatError",
    "Generator",
    "IOFailure",
    "ImageLike",
    "ImagesLike",
    "IncompatibleError",
    "InvalidArgument",
    "MCMError",
    "Memory",
    "Modality",
    "Model",
    "ModelInfo",
    "Modulator",
    "ModulatorInfo",
    "OutOfMemory",
    "Scheduler",
    "Session",
    "SizeError",
    "StateError",
    "Step",
    "StepResult",
    "StructSizeError",
    "UnsupportedError",
    "generate",
    "library_version",
    "read_png",
    "write_png",
]
