"""Fashion-MNIST's files.  Needs numpy only."""
import gzip
from pathlib import Path

import numpy as np

DATA = "/usr/share/datasets/fashion-mnist"


def load(folder, split):
    """Images (N, 28, 28) and labels (N,), 0..9, uint8 both, of split "train" or "t10k"."""
    read = lambda name, offset: np.frombuffer(gzip.open(Path(folder) / name).read(), np.uint8, offset=offset).copy()
    images = read(f"{split}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
    return images, read(f"{split}-labels-idx1-ubyte.gz", 8)
