"""A multimodal conditioning module (MCM) for a frozen diffusion model, in PyTorch.

Ham et al., "Modulating Pretrained Diffusion Models for Multimodal Image Synthesis", SIGGRAPH 2023.
A small U-Net reads the noisy sample x, the frozen network's prediction e, the timestep and the
condition planes, and returns a scale g and a shift v of e's shape.  The sampler goes on with
e * (scale_offset + g) + v.  The last convolution starts at zero: an untrained module changes nothing.

A module is one safetensors file.  Its keys are UNet2DModel's own; its metadata is format = "mcm",
version = "1" and config = JSON, see `MCM`.
"""
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn


class MCM(nn.Module):
    """config = {
         "net": UNet2DModel's keyword arguments; in_channels and out_channels follow from the rest,
         "prediction_channels": C,
         "scale_offset": 1.0,
         "presence_flags": whether each modality has a 0/1 plane that says if it is given,
         "modalities": [{"name", "channels", "encoding", "resize"}, ...],
         "base": {"prediction_type", "channels", "sample_size", "fingerprint"}, what it was trained on
       }"""

    def __init__(self, config):
        super().__init__()
        self.config = config
        c, modalities = config["prediction_channels"], config["modalities"]
        planes = sum(m["channels"] for m in modalities) + len(modalities) * config["presence_flags"]
        self.net = UNet2DModel(**config["net"], in_channels=2 * c + planes, out_channels=2 * c)
        nn.init.zeros_(self.net.conv_out.weight)
        nn.init.zeros_(self.net.conv_out.bias)

    def forward(self, x, e, t, conditions):
        """x, e (N, C, H, W): sample and the base's prediction; t (N,) timesteps;
        conditions {name: (N, K, H, W)}, an absent name meaning 'not given'.  -> (N, C, H, W)"""
        planes, given = [], []
        for m in self.config["modalities"]:
            y = conditions.get(m["name"])
            planes.append(x.new_zeros(len(x), m["channels"], *x.shape[2:]) if y is None else y)
            given.append(x.new_full((len(x),), float(y is not None)))
        return self.modulate(x, e, t, torch.cat(planes, 1), torch.stack(given, 1))

    def modulate(self, x, e, t, planes, given):
        """As forward, with all planes (N, sum of K, H, W), zero where not given, and given (N, modalities)
        of 0 and 1, so that it may differ within a batch."""
        inputs = [x, e, planes]
        if self.config["presence_flags"]:
            inputs.append(given[:, :, None, None].expand(-1, -1, *x.shape[2:]))
        g, v = self.net(torch.cat(inputs, 1), t).sample.chunk(2, 1)
        return e * (self.config["scale_offset"] + g) + v

    def save(self, path, dtype=torch.float16):
        metadata = {"format": "mcm", "version": "1", "config": json.dumps(self.config)}
        save_file({k: w.to(dtype).contiguous() for k, w in self.net.state_dict().items()}, path, metadata)

    @staticmethod
    def load(path):
        """The module of a file, in fp32."""
        with safe_open(path, "pt") as f:
            metadata = f.metadata() or {}
            if (metadata.get("format"), metadata.get("version")) != ("mcm", "1"):
                raise ValueError(f"{path}: not a version 1 mcm file")
            module = MCM(json.loads(metadata["config"]))
            module.net.load_state_dict({k: f.get_tensor(k).float() for k in f.keys()})
        return module


def fingerprint(base):
    """16 hex digits that tell one base from another, whatever float type its file has.

    FNV-1a (64 bit) over the tensors of BASE/unet/diffusion_pytorch_model.safetensors in ascending order of
    their names' bytes.  Each gives: its UTF-8 name; for each dimension a space and its decimal digits; a line feed;
    then up to 16 elements, those at flat index (i * count) // 16 for i < 16, or all of them where there
    are fewer than 16, each rounded to fp16 (nearest even, NaN = 0x7e00) as two little-endian bytes."""
    digest = 0xcbf29ce484222325
    with safe_open(Path(base) / "unet" / "diffusion_pytorch_model.safetensors", "np") as f:
        for name in sorted(f.keys(), key=str.encode):
            tensor = f.get_tensor(name)
            flat, count = tensor.reshape(-1), tensor.size
            index = [i * count // 16 for i in range(16)] if count >= 16 else range(count)
            with np.errstate(over="ignore"):
                bits = flat[list(index)].astype("<f2").view("<u2")
            bits = np.where((bits & 0x7fff) > 0x7c00, 0x7e00, bits).astype("<u2")
            shape = "".join(f" {n}" for n in tensor.shape)
            for byte in f"{name}{shape}\n".encode() + bits.tobytes():
                digest = (digest ^ byte) * 0x100000001b3 % 2**64
    return f"{digest:016x}"
