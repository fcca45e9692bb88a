"""Writes a tiny model that reads texts, a ControlNet and a module for it: tiny_models.py FOLDER"""
import sys
from pathlib import Path

from latent_support import controlnet_files, model_files, module_file, write

folder = Path(sys.argv[1])
write(folder / "model", model_files())
write(folder / "controlnet", controlnet_files())
(folder / "module.mcm.safetensors").write_bytes(module_file())
