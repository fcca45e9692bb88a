#!/usr/bin/env python3
"""Train the small classifier that judges generated garments (metrics.py).

  python train_classifier.py --epochs 6
"""
import argparse
import time

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from data import DATA, load


class Classifier(nn.Module):
    """Logits of the ten classes; features() is the 96-dimensional layer before them."""

    def __init__(self):
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.hidden = nn.Linear(3 * 3 * 128, 96)
        self.dropout = nn.Dropout(0.3)
        self.logits = nn.Linear(96, 10)

    def features(self, x):
        """x (N, 1, 28, 28) in [0, 1] -> (N, 96)"""
        return self.hidden(self.convolutions(x)).relu()

    def forward(self, x):
        """x (N, 1, 28, 28) in [0, 1] -> (N, 10)"""
        return self.logits(self.dropout(self.features(x)))

    def save(self, path):
        weights = {k: w.half().contiguous() for k, w in self.state_dict().items() if w.is_floating_point()}
        save_file(weights, path)

    @staticmethod
    def load(path):
        """The classifier of a file, in fp32, ready to judge."""
        net = Classifier()
        net.load_state_dict({k: w.float() for k, w in load_file(path).items()}, strict=False)
        return net.eval()


def load_set(data, split):
    """Images (N, 1, 28, 28) float32 in [0, 1] and labels (N,) of split "train" or "t10k"."""
    images, labels = load(data, split)
    return torch.from_numpy(images[:, None] / np.float32(255)), torch.from_numpy(labels.astype(np.int64))


@torch.no_grad()
def accuracy(net, images, labels):
    found = torch.cat([net(batch).argmax(1) for batch in images.split(500)])
    return (found == labels).float().mean().item()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", default=DATA, help="folder with the four idx files")
    p.add_argument("--out", default="classifier.safetensors")
    p.add_argument("--epochs", type=int, default=6)
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--lr", type=float, default=3e-3)
    p.add_argument("--threads", type=int, help="torch's CPU threads")
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()
    torch.manual_seed(a.seed)
    if a.threads:
        torch.set_num_threads(a.threads)

    images, labels = load_set(a.data, "train")
    net = Classifier().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=a.lr, weight_decay=1e-2)
    steps = len(images) // a.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, a.lr, total_steps=a.epochs * steps)
    start = time.time()
    for epoch in range(a.epochs):
        net.train()
        total = 0.0
        for rows in torch.randperm(len(images))[:steps * a.batch].split(a.batch):
            loss = nn.functional.cross_entropy(net(images[rows]), labels[rows], label_smoothing=0.05)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}  loss {total / steps:.4f}  {(time.time() - start) / 60:.1f} min", flush=True)
    net.save(a.out)
    print(f"{sum(p.numel() for p in net.parameters())} parameters, accuracy on the 10,000 test images "
          f"{accuracy(Classifier.load(a.out), *load_set(a.data, 't10k')):.4f}")


if __name__ == "__main__":
    main()
