"""Controllable diffusion: pretrained models, multimodal conditioning modules and step-wise sampling with libmcm."""
from . import plot
from ._convert import ArrayLike
from ._images import ImageLike, ImagesLike
from ._native import lib as _lib
from .controlnet import ControlNet
from .dataset import Bank, Dataset, write_dataset
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
from .model import Memory, Model, ModelInfo, ModelOptions
from .modulator import Modality, Modulator, ModulatorInfo
from .png import read_png, write_png
from .prompt import Prompt
from .rng import Generator
from .scheduler import Scheduler, StepResult
from .session import Attachment, Conditioning, Session, SessionOptions, Step, generate
from .training import Losses, ModalityLosses, Trainer, TrainerState, TrainReport
from .training_loop import TrainHistory, train
from .training_options import TrainerOptions

__version__ = "0.1.0"


def library_version() -> str:
    """The version of libmcm at run time."""
    version: bytes = _lib.mcm_version_string()
    return version.decode()


__all__ = [
    "ArrayLike",
    "Attachment",
    "Bank",
    "CPUError",
    "Cancelled",
    "Conditioning",
    "ControlNet",
    "Dataset",
    "FormatError",
    "Generator",
    "IOFailure",
    "ImageLike",
    "ImagesLike",
    "IncompatibleError",
    "InvalidArgument",
    "Losses",
    "MCMError",
    "Memory",
    "Modality",
    "ModalityLosses",
    "Model",
    "ModelInfo",
    "ModelOptions",
    "Modulator",
    "ModulatorInfo",
    "OutOfMemory",
    "Prompt",
    "Scheduler",
    "Session",
    "SessionOptions",
    "SizeError",
    "StateError",
    "Step",
    "StepResult",
    "StructSizeError",
    "TrainHistory",
    "TrainReport",
    "Trainer",
    "TrainerOptions",
    "TrainerState",
    "UnsupportedError",
    "generate",
    "library_version",
    "plot",
    "read_png",
    "train",
    "write_dataset",
    "write_png",
]
