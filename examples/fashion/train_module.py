#!/usr/bin/env python3
"""Train the conditioning module of this example with libmcm: no PyTorch.  The base is run once for each recorded
prediction (`Bank`) and never changes; the module is trained from those.

Two modalities, each at the image's own 28x28 pixels: "sketch" (one plane, 0 or 1) and "segmentation"
(eleven one-hot planes: background, then the ten classes on the garment).  See conditions.py.

  python train_module.py --steps 20000

A run that was stopped, however it was stopped, goes on with the same command.  The same arguments give the same
file, bit for bit.  Needs the mcm Python package, numpy and the Debian package dataset-fashion-mnist.
"""
import argparse
import fcntl
import json
import resource
import time
from pathlib import Path

import numpy as np

import conditions
import mcm
from data import DATA, load

HERE = Path(__file__).parent

# Channels at 28x28, 14x14 and 7x7, by the module's share of the base's parameters.
SIZES = {"1%": (4, 8, 8), "5%": (12, 16, 16), "20%": (24, 32, 36)}
MODALITIES = {"sketch": {"name": "sketch", "channels": 1, "encoding": "grey", "resize": "area"},
              "segmentation": {"name": "segmentation", "channels": 11, "encoding": "one-hot", "resize": "nearest"}}


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", default=DATA, help="folder with train-images-idx3-ubyte.gz and its labels")
    p.add_argument("--base", type=Path, default=HERE / "base", help="diffusers folder of the frozen base")
    p.add_argument("--out", type=Path, default=Path("module.mcm.safetensors"))
    p.add_argument("--cache", type=Path, default=Path("cache"), help="folder for the data set and the bank")
    p.add_argument("--examples", type=int, default=60000, help="the first so many training images")
    p.add_argument("--bank", type=int, default=240000, help="recorded predictions; 0: run the base in each step")
    p.add_argument("--size", choices=SIZES, default="5%", help="of the base's parameters")
    p.add_argument("--modalities", default="sketch,segmentation")
    p.add_argument("--steps", type=int, default=20000)
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--weighting", choices=("uniform", "min_snr", "noise"), default="noise")
    p.add_argument("--timesteps", choices=("uniform", "weighted"), default="uniform")
    p.add_argument("--dropout", type=float, default=0.3, help="how often each modality is withheld")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()
    if a.bank and a.timesteps != "uniform":
        p.error("--timesteps weighted wants --bank 0: timesteps of a bank are drawn evenly")
    return a


def make_dataset(data, cache, examples):
    """The data set of the first so many training images with their conditions, made unless it is there."""
    path = cache / f"fashion-{examples}.safetensors"
    if not path.exists():
        images, labels = (values[:examples] for values in load(data, "train"))
        print(f"deriving the conditions of {examples} images", flush=True)
        cache.mkdir(parents=True, exist_ok=True)
        mcm.write_dataset(path, images=images, sketch=conditions.sketch(images),
                          segmentation=conditions.segmentation(images, labels))
    return path


def make_bank(base, dataset, path, count, threads):
    """Records predictions into the file `path` unless they are there; another process that does it is waited for.
    Returns the CPU seconds that it took here."""
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return 0.0
        print(f"recording {count} predictions", flush=True)
        start = time.process_time()
        with mcm.Model.open(base, threads=threads) as model:
            mcm.Bank.record(model, dataset, path, count=count, batch=64).close()
        return time.process_time() - start


def main():
    a = arguments()
    net = dict(sample_size=28, block_out_channels=SIZES[a.size], layers_per_block=1, norm_num_groups=4,
               down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
               up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"), attention_head_dim=SIZES[a.size][-1])
    config = {"net": net, "prediction_channels": 1, "scale_offset": 1.0, "presence_flags": True,
              "modalities": [MODALITIES[name] for name in a.modalities.split(",")]}
    options = dict(learning_rate=a.lr, total_steps=a.steps, weighting=a.weighting, timesteps=a.timesteps,
                   dropout=a.dropout, seed=a.seed)

    dataset = mcm.Dataset(make_dataset(a.data, a.cache, a.examples))
    bank, recording = None, 0.0
    if a.bank:
        path = a.cache / f"fashion-{a.examples}-{a.bank}.bank"
        recording = make_bank(a.base, dataset, path, a.bank, a.threads)
        bank = mcm.Bank(path)
        options["threads"] = a.threads
    base = bank or mcm.Model.open(a.base, threads=a.threads)

    saved = a.out.with_suffix(".trainer")
    if saved.exists():
        trainer = mcm.Trainer.resume(base, saved, threads=a.threads if bank else 0)
        print(f"going on from step {trainer.state.step}", flush=True)
    else:
        trainer = mcm.Trainer(base, config, **options)
    print(f"{trainer.state.parameter_count} parameters", flush=True)

    start, first, losses = time.time(), trainer.state.step, []

    def log(report):
        losses.append((report.loss, report.weighted_loss, report.base_loss))
        if report.step % 500 == 0:
            loss, weighted, plain = np.mean(losses[-500:], 0)
            speed = (report.step - first) * a.batch / (time.time() - start)
            print(f"step {report.step}  loss {loss:.5f} (weighted {weighted:.5f}), the base's {plain:.5f}  "
                  f"{speed:.0f} examples/s", flush=True)

    mcm.train(trainer, dataset, bank, batch=a.batch, steps=a.steps, save=saved, save_every=500, progress=False,
              callback=log)
    trainer.write_modulator(a.out)
    facts = {"parameters": trainer.state.parameter_count, "steps": trainer.state.step,
             "examples": trainer.state.examples, "seconds": round(time.time() - start),
             "recording_seconds": round(recording), "cpu_seconds": round(time.process_time()),
             "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
    print(json.dumps(facts))
    saved.unlink()


if __name__ == "__main__":
    main()
