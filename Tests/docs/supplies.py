"""Files that pages name and nobody can bundle, in tiny: a Stable Diffusion with random weights and what goes with it.

Samples are 4 x 4, images 8 x 8. They are made where a page's code names them.
"""
from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bindings" / "python"), str(ROOT / "bindings" / "python" / "tests")]
import latent_support as latent  # noqa: E402
import mcm  # noqa: E402

CONDITIONS = ROOT / "examples" / "fashion" / "conditions"


def picture(path: Path) -> None:
    mcm.write_png(path, latent.IMAGES[0])


def mask(path: Path) -> None:
    mcm.write_png(path, np.where(latent.MASK, 255, 0).astype(np.uint8))


SUPPLIES = {
    r"[\w./-]*stable-diffusion-v1-5": lambda path: latent.write(path, latent.model_files()),
    r"[\w./-]*stable-diffusion-xl-base-1.0": lambda path: latent.write(path, latent.model_files(is_xl=True)),
    r"control_v11p_sd15_canny|sd-controlnet-canny": lambda path: latent.write(path, latent.controlnet_files()),
    r"boots.mcm.safetensors": lambda path: path.write_bytes(latent.module_file()),
    r"photo.png|edges.png|lines.png": picture,
    r"mask.png": mask,
    r"sketch.png": lambda path: shutil.copy(CONDITIONS / "07_sketch.png", path),
    r"segmentation.png": lambda path: shutil.copy(CONDITIONS / "07_segmentation.png", path),
}


def supply(folder: Path, code: str) -> None:
    """Makes what strings and commands in the code name."""
    for pattern, make in SUPPLIES.items():
        for name in set(re.findall(rf"(?<![\w./-])(?:{pattern})(?![\w.-])", code)):
            path = folder / name
            if not path.is_absolute() or folder in path.parents:
                path.parent.mkdir(parents=True, exist_ok=True)
                make(path)
