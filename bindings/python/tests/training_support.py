"""What the tests of training share: examples, and a module that is small enough to learn from them at once."""
from __future__ import annotations

import json

import mcm
import numpy as np

CONFIG = {
    "net": {
        "sample_size": 8, "block_out_channels": (8, 8), "norm_num_groups": 4, "layers_per_block": 1,
        "down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2,
    },
    "prediction_channels": 1,
    "modalities": [{"name": "sketch", "channels": 1}, {"name": "labels", "channels": 4, "encoding": "one-hot"}],
}
COUNT = 24
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8), np.uint8)
CONDITIONS = {"sketch": IMAGES > 127, "labels": IMAGES // 64}


class Stop(Exception):
    """What a callback raises to end a run."""


def make(base, config=CONFIG, **options):
    return mcm.Trainer(base, config, **{"warmup_steps": 0, "learning_rate": 1e-2, **options})


def batch(first, end):
    """Examples as arguments of `step`."""
    return dict(images=IMAGES[first:end], conditions={name: c[first:end] for name, c in CONDITIONS.items()})


def parameters(base, *batches, **options):
    """Of a trainer after a step for each batch."""
    with make(base, **options) as trainer:
        for one in batches:
            trainer.step(**one)
        return trainer.parameters.copy()


def safetensors_parts(path):
    """The header and the data of a file."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]
