#!/usr/bin/env python3
"""Measure generated garments against the held-out images whose conditions they were made from.

  python metrics.py --from-npz generated.npz
The file holds generated and images, uint8 (N, 28, 28), and labels (N,), 0..9.
"""
import argparse
from pathlib import Path

import numpy as np
import torch

import conditions
from train_classifier import Classifier

CLASSIFIER = Path(__file__).parent / "classifier.safetensors"


@torch.no_grad()
def judge(images, classifier):
    """images uint8 (N, 28, 28) -> features float64 (N, 96), classes (N,)"""
    x = torch.from_numpy(images.astype(np.float32) / 255)[:, None]
    features = torch.cat([classifier.features(batch) for batch in x.split(500)])
    return features.double().numpy(), classifier.logits(features).argmax(1).numpy()


def frechet_distance(a, b):
    """Between the Gaussians fitted to the features a (N, D) and b (M, D).  It falls as N and M grow:
    compare values for the same numbers of images only."""
    def root(m):
        values, vectors = np.linalg.eigh(m)
        return vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    half = root(covariance_a)
    shared = np.trace(root(half @ covariance_b @ half))
    return np.square(a.mean(0) - b.mean(0)).sum() + np.trace(covariance_a) + np.trace(covariance_b) - 2 * shared


def evaluate(generated, images, labels, classifier=CLASSIFIER):
    """generated, images: uint8 (N, 28, 28); labels: (N,) 0..9; generated[i] was asked to follow images[i].

    Returns a dict of floats: edge_f1 and mask_iou (means, 0..1, higher is better), class_accuracy (how often
    the classifier sees the class asked for), frechet (distance of the generated images' features to
    the held-out ones', lower is better)."""
    net = Classifier.load(classifier)
    features, classes = judge(generated, net)
    real, _ = judge(images, net)
    return {"edge_f1": float(conditions.edge_f1(conditions.sketch(images), generated).mean()),
            "mask_iou": float(conditions.mask_iou(conditions.mask(images), generated).mean()),
            "class_accuracy": float((classes == labels).mean()),
            "frechet": float(frechet_distance(features, real))}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--from-npz", required=True, metavar="FILE")
    p.add_argument("--classifier", default=CLASSIFIER)
    a = p.parse_args()
    with np.load(a.from_npz) as f:
        result = evaluate(f["generated"], f["images"], f["labels"], a.classifier)
    for name, value in result.items():
        print(f"{name:15s} {value:.4f}")


if __name__ == "__main__":
    main()
