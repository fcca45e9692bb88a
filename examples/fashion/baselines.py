#!/usr/bin/env python3
"""Baselines for the conditioning module: the other ways to make this example's base follow a sketch and a class map.

  finetune  the whole base learns on, with the condition planes as further inputs that start at zero
  scratch   the same network from random weights
  guide     the base stays as it is; a small network that tells the conditions from a noisy image steers it
            by its gradient (Dhariwal and Nichol 2021, equation 14)

Each writes FOLDER/log.jsonl (loss, examples, seconds, memory), FOLDER/ema-STEP.safetensors (averaged weights) and
FOLDER/checkpoint.pt, from which the same command goes on after it was killed, to the same result.

  python baselines.py finetune --out runs/finetune --examples 60000 --steps 2000
  python baselines.py guide --out runs/guide --examples 59000 --steps 2000
  python baselines.py tune --run runs/guide               scores guidance scales on the last training images
  python baselines.py evaluate --run runs/finetune        scores on test images, as evaluate.py does with libmcm
  python baselines.py evaluate                            the base alone
  python baselines.py time                                seconds of a sampling step
"""
import argparse
import copy
import fcntl
import json
import math
import os
import resource
import statistics
import time
from pathlib import Path

import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional

import conditions
import data
import metrics
from modulator import MCM
from train_base import load_unet
from train_module import make_dataset

HERE = Path(__file__).parent
RATES = {"finetune": 3e-4, "scratch": 1e-3, "guide": 1e-3}
GIVEN = {(1, 1): 0.4, (1, 0): 0.25, (0, 1): 0.25, (0, 0): 0.1}                     # how often, in training
SETTINGS = {"sketch": (1, 0), "segmentation": (0, 1), "both": (1, 1)}              # given (sketch, segmentation)
PLANES = 1 + 11                                                                    # sketch, one-hot classes
EVERY = 100                                                                        # steps between checkpoints

# The network that reads noisy images: 240,412 parameters; logits of the sketch and of the 11 classes.
READER = dict(sample_size=28, in_channels=1, out_channels=PLANES, layers_per_block=1,
              block_out_channels=(16, 24, 32), norm_num_groups=8, attention_head_dim=16,
              down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
              up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"))


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = p.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--data", default=data.DATA, help="folder with Fashion-MNIST's four idx files")
    shared.add_argument("--base", default=HERE / "base", help="diffusers folder of the base")
    shared.add_argument("--cache", type=Path, default=Path("cache"), help="as train_module.py's")
    shared.add_argument("--threads", type=int, default=1)

    for name in RATES:
        c = commands.add_parser(name, parents=[shared])
        c.add_argument("--out", required=True, help="folder to write, or to go on from")
        c.add_argument("--examples", type=int, default=60000, help="train on the first so many images only")
        c.add_argument("--steps", type=int, default=2000)
        c.add_argument("--keep", type=int, nargs="*", default=[], help="steps whose averaged weights are kept as well")
        c.add_argument("--batch", type=int, default=64)
        c.add_argument("--lr", type=float, default=RATES[name])
        if name != "guide":
            c.add_argument("--power", type=float, default=1.0, help="of the noise-to-signal ratio that weighs the loss")
        c.add_argument("--seed", type=int, default=0)

    sampling = argparse.ArgumentParser(add_help=False)
    sampling.add_argument("--ddim-steps", type=int, default=25)
    sampling.add_argument("--batch", type=int, default=100)
    c = commands.add_parser("tune", parents=[shared, sampling])
    c.add_argument("--run", required=True, help="folder of a guide; FOLDER/tune.json is written")
    c.add_argument("--step", type=int, help="which averaged weights; the last ones by default")
    c.add_argument("--scales", type=float, nargs="+", default=[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1])
    c.add_argument("--images", type=int, default=250, help="the last so many of the 60,000 training images")
    c = commands.add_parser("evaluate", parents=[shared, sampling])
    c.add_argument("--run", help="folder that training wrote; the base alone by default")
    c.add_argument("--step", type=int, help="which averaged weights; the last ones by default")
    c.add_argument("--scales", type=float, nargs="+", help="of guidance; what FOLDER/tune.json recommends by default")
    c.add_argument("--images", type=int, default=1000, help="the first so many of the 10,000 test images")
    c.add_argument("--out", default="baselines.json", help="results; what is in it already is not measured again")
    c = commands.add_parser("time", parents=[shared])
    c.add_argument("--batch", type=int, default=8)
    c.add_argument("--rounds", type=int, default=40)
    c.add_argument("--out", default="baselines.json")
    return p.parse_args()


# Networks

def build(kind, base):
    """The network of a kind with its first weights; base: a diffusers folder."""
    if kind == "guide":
        return UNet2DModel(**READER)
    source = load_unet(base)
    net = UNet2DModel.from_config({**source.config, "in_channels": 1 + PLANES + 2})
    if kind == "finetune":
        weights = source.state_dict()
        weights["conv_in.weight"] = functional.pad(weights["conv_in.weight"], (0, 0, 0, 0, 0, PLANES + 2))
        net.load_state_dict(weights)
    return net


def load(path, base):
    """(kind, network ready to sample with) of an ema-STEP.safetensors."""
    with safe_open(path, "pt") as f:
        kind = f.metadata()["kind"]
        net = build(kind, base)
        net.load_state_dict({k: f.get_tensor(k) for k in f.keys()})
    return kind, net.eval().requires_grad_(False)


def planes_of(sketches, maps, given):
    """sketches (0 or 1), maps (0..10) uint8 (N, 28, 28); given (N, 2) -> float (N, 12, 28, 28), 0 where not given."""
    one_hot = functional.one_hot(maps.long(), 11).permute(0, 3, 1, 2).float()
    sketch, given = sketches[:, None].float(), given[:, :, None, None, None]
    return torch.cat([sketch * given[:, 0], one_hot * given[:, 1]], 1)


def conditioned(net, x, t, planes, given):
    """Epsilon (N, 1, 28, 28) by a network that reads the conditions; t (N,) or one number."""
    flags = given[:, :, None, None].expand(-1, -1, *x.shape[2:])
    return net(torch.cat([x, planes, flags], 1), t).sample


def log_likelihood(logits, planes, given):
    """Of the given conditions, every pixel by itself; logits (N, 12, 28, 28) -> (N,)"""
    sketch = -functional.binary_cross_entropy_with_logits(logits[:, :1], planes[:, :1], reduction="none")
    classes = logits[:, 1:].log_softmax(1) * planes[:, 1:]                 # the planes are 0 where not given
    return sketch.sum((1, 2, 3)) * given[:, 0] + classes.sum((1, 2, 3))


def guided(base, reader, x, t, planes, given, scale, alpha_bar):
    """The base's epsilon, moved against the gradient of the conditions' log-likelihood; one number t."""
    e = base(x, t).sample
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        gradient, = torch.autograd.grad(log_likelihood(reader(x, t).sample, planes, given).sum(), x)
    return e - (1 - alpha_bar[t]).sqrt() * scale * gradient


# Training

def load_training_set(a):
    """uint8 (N, 28, 28): images, sketches (0 or 1), class maps (0..10)"""
    tensors = load_file(make_dataset(a.data, a.cache, 60000))
    images, sketches, maps = (tensors[name][..., 0] for name in ("images", "sketch", "segmentation"))
    return images, sketches // 255, maps


def write(path, save):
    """save(temporary path), then rename: the file is whole or not there."""
    temporary = path.with_name(path.name + ".part")
    save(temporary)
    os.replace(temporary, path)


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def train(a):
    kind, out = a.command, Path(a.out)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(a.seed)
    images, sketches, maps = (v[:a.examples] for v in load_training_set(a))
    scheduler = DDPMScheduler.from_pretrained(a.base, subfolder="scheduler")
    net = build(kind, a.base).train()
    ema = copy.deepcopy(net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=a.lr, weight_decay=1e-4)
    options = {"kind": kind, "parameters": sum(p.numel() for p in net.parameters()), "examples": len(images)}
    options |= {k: v for k, v in vars(a).items() if k in ("steps", "batch", "lr", "power", "seed")}
    step, before, log = 0, {"cpu": 0.0, "wall": 0.0, "peak": 0.0}, []
    if (out / "checkpoint.pt").exists():
        state = torch.load(out / "checkpoint.pt", weights_only=True)
        if state["options"] != options:
            raise SystemExit(f"{out}: was trained with {state['options']}, not {options}")
        for to, name in ((net, "net"), (ema, "ema"), (optimizer, "optimizer")):
            to.load_state_dict(state[name])
        torch.set_rng_state(state["random"])
        step, before, log = state["step"], state["spent"], state["log"]
    print(f"{out}: {options}, from step {step}", flush=True)

    # As the module is trained ("noise"): the layout is decided at high noise, where the plain loss is tiny.
    if kind != "guide":
        noise_to_signal = ((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod).sqrt()
        weight = noise_to_signal.pow(a.power).clamp(0.3, 10 ** a.power)
        weight = weight / weight.mean()
    combinations = torch.tensor(list(GIVEN), dtype=torch.float32)
    chances = torch.tensor(list(GIVEN.values()))

    cpu, wall, at_start, losses, n = time.process_time(), time.time(), peak_mb(), [], a.batch
    while step < a.steps:
        lr = a.lr * min(1, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * step / a.steps))
        for group in optimizer.param_groups:
            group["lr"] = lr
        index = torch.randint(len(images), (n,))
        t = (torch.randperm(n) * 1000 + torch.randint(1000, (n,))) // n            # stratified over 0..999
        noise = torch.randn(n, 1, 28, 28)
        x = scheduler.add_noise(images[index, None].float() / 127.5 - 1, noise, t)
        if kind == "guide":
            given = torch.ones(n, 2)
            planes = planes_of(sketches[index], maps[index], given)
            loss = -log_likelihood(net(x, t).sample, planes, given).mean() / (28 * 28)
        else:
            given = combinations[torch.multinomial(chances, n, replacement=True)]
            planes = planes_of(sketches[index], maps[index], given)
            error = (conditioned(net, x, t, planes, given) - noise).square().mean((1, 2, 3))
            loss = (weight[t] * error).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(0.999, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.parameters()), list(net.parameters()), 1 - decay)
        losses.append(loss.item())

        if step in a.keep or step == a.steps:
            weights = {k: w.contiguous() for k, w in ema.state_dict().items()}
            metadata = {"kind": kind, "step": str(step), "options": json.dumps(options)}
            write(out / f"ema-{step}.safetensors", lambda path: save_file(weights, path, metadata))
        if step % EVERY == 0 or step == a.steps:
            spent = {"cpu": before["cpu"] + time.process_time() - cpu, "wall": before["wall"] + time.time() - wall,
                     "peak": max(before["peak"], peak_mb())}
            log.append({"step": step, "examples": step * n, "loss": round(sum(losses) / len(losses), 5), "lr": lr,
                        "cpu_seconds": round(spent["cpu"], 1), "wall_seconds": round(spent["wall"], 1),
                        "peak_rss_mb": round(spent["peak"]), "rss_before_training_mb": round(at_start)})
            state = {"options": options, "net": net.state_dict(), "ema": ema.state_dict(),
                     "optimizer": optimizer.state_dict(), "random": torch.get_rng_state(),
                     "step": step, "spent": spent, "log": log}
            write(out / "checkpoint.pt", lambda path: torch.save(state, path))
            lines = "".join(json.dumps(line) + "\n" for line in log)
            write(out / "log.jsonl", lambda path: path.write_text(lines))
            print(json.dumps(log[-1]), flush=True)
            losses = []


# Measuring

@torch.no_grad()
def draw(denoise, sketches, maps, given, a):
    """Images uint8 (N, 28, 28) for conditions (N, 28, 28) each.  denoise(x, t, planes, given) is epsilon; image i
    starts from the noise that libmcm draws for the seed i, as in evaluate.py."""
    scheduler = DDIMScheduler.from_pretrained(a.base, subfolder="scheduler")
    scheduler.set_timesteps(a.ddim_steps)
    drawn = []
    for rows in torch.arange(len(sketches)).split(a.batch):
        flags = torch.tensor(given, dtype=torch.float32).repeat(len(rows), 1)
        planes = planes_of(sketches[rows], maps[rows], flags)
        x = torch.cat([torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(int(i))) for i in rows])
        for t in scheduler.timesteps:
            x = scheduler.step(denoise(x, t, planes, flags), t, x).prev_sample
        drawn.append(((x[:, 0] / 2 + 0.5).clamp(0, 1) * 255).round().byte())
    return torch.cat(drawn).numpy()


def record(path, key, measure):
    """Adds {**key, **measure()} to the JSON list at path, unless it has an entry with this key."""
    path = Path(path)
    read = lambda: json.loads(path.read_text()) if path.exists() else []
    if any(key.items() <= entry.items() for entry in read()):
        return
    cpu = time.process_time()
    found = {**key, **measure(), "cpu_seconds": round(time.process_time() - cpu, 1)}
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        entries = [*read(), found]  # read again: another process may have added some meanwhile
        text = "[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n"
        write(path, lambda temporary: temporary.write_text(text))
    print(json.dumps(found), flush=True)


def score(a, path, key, denoise, given, images, labels, sketches, maps):
    def measure():
        found = metrics.evaluate(draw(denoise, sketches, maps, given, a), images, labels)
        return {name: round(value, 4) for name, value in found.items()}
    record(path, {**key, "images": len(images), "ddim_steps": a.ddim_steps}, measure)


def recommended(run, setting):
    """The scales that FOLDER/tune.json speaks for: for following the conditions, and for the Fréchet distance."""
    entries = [entry for entry in json.loads((Path(run) / "tune.json").read_text()) if entry["setting"] == setting]
    following = max(entries, key=lambda m: m["edge_f1"] + m["mask_iou"] + m["class_accuracy"])
    return dict.fromkeys((following["scale"], min(entries, key=lambda m: m["frechet"])["scale"]))


def weights_of(a):
    """The file of --run and --step."""
    files = {int(f.stem.split("-")[1]): f for f in Path(a.run).glob("ema-*.safetensors")}
    if not files:
        raise SystemExit(f"{a.run}: no averaged weights yet")
    return files[a.step or max(files)]


def evaluate(a):
    """On test images, or (tune) on the last training images."""
    if a.command == "tune":
        images, sketches, maps = (v[-a.images:] for v in load_training_set(a))
        images = images.numpy()
        labels = data.load(a.data, "train")[1][-a.images:]
        results = Path(a.run) / "tune.json"
    else:
        images, labels = (values[:a.images] for values in data.load(a.data, "t10k"))
        sketches = torch.from_numpy(conditions.sketch(images) // 255)
        maps = torch.from_numpy(conditions.segmentation(images, labels))
        results = a.out
    shared = (images, labels, sketches, maps)
    base = load_unet(a.base).eval().requires_grad_(False)
    if not a.run:
        key = {"run": "base alone", "setting": "nothing"}
        return score(a, results, key, lambda x, t, planes, given: base(x, t).sample, (0, 0), *shared)

    file = weights_of(a)
    kind, net = load(file, a.base)
    key = {"run": Path(a.run).name, "step": int(file.stem.split("-")[1])}
    alpha_bar = DDIMScheduler.from_pretrained(a.base, subfolder="scheduler").alphas_cumprod
    for setting, given in SETTINGS.items():
        if kind != "guide":
            denoise = lambda x, t, planes, given: conditioned(net, x, t, planes, given)
            score(a, results, {**key, "setting": setting}, denoise, given, *shared)
            continue
        for scale in a.scales or recommended(a.run, setting):
            denoise = lambda x, t, planes, given: guided(base, net, x, t, planes, given, scale, alpha_bar)
            score(a, results, {**key, "setting": setting, "scale": scale}, denoise, given, *shared)


@torch.no_grad()
def measure_time(a):
    """Of one step with both conditions by each way, taking turns; medians, CPU time since others may be at work."""
    prepare = lambda net: net.eval().requires_grad_(False)
    base, wide, reader = map(prepare, (load_unet(a.base), build("finetune", a.base), build("guide", a.base)))
    module = prepare(MCM.load(HERE / "module.mcm.safetensors"))
    scheduler = DDIMScheduler.from_pretrained(a.base, subfolder="scheduler")
    scheduler.set_timesteps(25)
    x, t, given = torch.randn(a.batch, 1, 28, 28), scheduler.timesteps[12], torch.ones(a.batch, 2)
    shape = (a.batch, 28, 28)
    planes = planes_of(torch.randint(2, shape), torch.randint(11, shape), given)
    ways = {"base alone": lambda: base(x, t).sample,
            "finetune": lambda: conditioned(wide, x, t, planes, given),
            "guide": lambda: guided(base, reader, x, t, planes, given, 1.0, scheduler.alphas_cumprod),
            "module": lambda: module.modulate(x, base(x, t).sample, t, planes, given)}

    def measure():
        seconds = {name: [] for name in ways}
        for _ in range(a.rounds):
            for name, way in ways.items():
                start = time.process_time()
                scheduler.step(way(), t, x)
                seconds[name].append(time.process_time() - start)
        median = {name: statistics.median(s[a.rounds // 4:]) for name, s in seconds.items()}
        found = {f"{name} ms": round(1000 * s, 2) for name, s in median.items()}
        return found | {f"{name} / base": round(median[name] / median["base alone"], 3) for name in list(ways)[1:]}
    record(a.out, {"run": "time of a step", "batch": a.batch, "threads": a.threads}, measure)


def main():
    a = arguments()
    torch.set_num_threads(a.threads)
    {"time": measure_time, "tune": evaluate, "evaluate": evaluate}.get(a.command, train)(a)


if __name__ == "__main__":
    main()
