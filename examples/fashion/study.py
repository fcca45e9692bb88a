#!/usr/bin/env python3
"""All runs behind docs/results.md: modules trained by libmcm, baselines by PyTorch, images drawn and scored.

  python study.py list                   the commands
  python study.py run --out study        run them: hours.  What is finished is skipped, what was cut off goes on;
                                         start it twice for two at a time
  python study.py table --out study      the tables, as Markdown

Each run writes OUT/NAME.log, and OUT/NAME.done at its end.
"""
import argparse
import fcntl
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent

# Modules, and the arguments of train_module.py.
MODULES = {
    "bundled": "--steps 20000",
    "size-5": "",
    "size-1": "--size 1%",
    "size-20": "--size 20%",
    "sketch": "--modalities sketch",
    "segmentation": "--modalities segmentation",
    "examples-100": "--examples 100 --bank 60000",
    "examples-1000": "--examples 1000 --bank 60000",
    "examples-10000": "--examples 10000 --bank 60000",
    "bank-15000": "--bank 15000",
    "bank-60000": "--bank 60000",
    "live": "--bank 0",
    "uniform": "--weighting uniform",
    "min-snr": "--weighting min_snr",
    "timesteps": "--bank 0 --timesteps weighted",
}
STEPS = "--steps 5000"  # unless they say others

# Images that are scored: modules, and the arguments of evaluate.py.
SCORES = {
    "base alone": ("bundled", "--settings 'base alone'"),
    **{name: (name, "--settings sketch segmentation both") for name in ("bundled", "size-5", "size-1", "size-20")},
    "sketch": ("sketch", "--settings sketch"),
    "segmentation": ("segmentation", "--settings segmentation"),
    "composed": ("sketch segmentation", "--settings both"),
    "composed at half": ("sketch segmentation", "--settings both --weight 0.5"),
    **{name: (name, "--settings both") for name in list(MODULES)[6:]},
    **{f"weight {w}": ("bundled", f"--settings both --weight {w}") for w in ("0.5", "0.75", "1.25", "1.5", "2")},
}

# Networks of PyTorch, and the arguments of baselines.py.
BASELINES = {
    "finetune-60000": "finetune --examples 60000",
    "scratch-60000": "scratch --examples 60000",
    "guide-59000": "guide --examples 59000",  # the last 1,000 are for choosing the scale
    "finetune-100": "finetune --examples 100 --keep 500 1000",
    "finetune-1000": "finetune --examples 1000 --keep 500 1000",
    "finetune-10000": "finetune --examples 10000",
}


def runs(out, threads):
    """(name, names of those that it needs, command), in order"""
    shared = f"--cache {out}/cache --threads {threads}"
    file = lambda module: f"{out}/{module}.mcm.safetensors"
    scores = [(f"score {name}", [f"train {module}" for module in modules.split()],
               f"evaluate.py --module {' '.join(map(file, modules.split()))} {arguments} "
               f"--json '{out}/{name}.scores' --threads {threads}") for name, (modules, arguments) in SCORES.items()]
    for name, arguments in MODULES.items():
        steps = "" if "--steps" in arguments else STEPS
        yield f"train {name}", [], f"train_module.py --out {file(name)} {steps} {arguments} {shared}"
        yield from (score for score in scores if score[1][-1] == f"train {name}")
    for name, arguments in BASELINES.items():
        folder, results = f"{out}/runs/{name}", f"--out {out}/baselines.json"
        yield name, [], f"baselines.py {arguments} --out {folder} {shared}"
        if name.startswith("guide"):
            yield f"{name} tuning", [name], f"baselines.py tune --run {folder} {shared}"
        needed = f"{name} tuning" if name.startswith("guide") else name
        for step in ("500", "1000", "2000") if "--keep" in arguments else ("2000",):
            yield (f"{name} scores {step}", [needed],
                   f"baselines.py evaluate --run {folder} --step {step} {results} {shared}")
    yield "time of a step", [], f"baselines.py time --out {out}/baselines.json --threads {threads}"


def run(out, threads):
    out.mkdir(parents=True, exist_ok=True)
    done = lambda name: (out / f"{name}.done").exists()
    while left := [r for r in runs(out, threads) if not done(r[0])]:
        for name, needed, command in left:
            with open(out / f"{name}.log", "a") as log:
                try:
                    fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:  # another process is at it
                    continue
                if all(map(done, needed)) and not done(name):
                    print(name, flush=True)
                    script, *arguments = shlex.split(command)
                    subprocess.run([sys.executable, str(HERE / script), *arguments], check=True, stdout=log)
                    (out / f"{name}.done").touch()
                    break
        else:
            time.sleep(10)


# Tables

def row(*cells):
    print("| " + " | ".join(map(str, cells)) + " |")


def head(*cells):
    print()
    row(*cells)
    print("|---" * len(cells) + "|")


def quality(m):
    """The cells of a measurement, or of none."""
    if m is None:
        return ("-",) * 4
    return f"{m['edge_f1']:.3f}", f"{m['mask_iou']:.3f}", f"{m['class_accuracy']:.3f}", f"{m['frechet']:.2f}"


QUALITY = ("edge F1", "mask IoU", "class accuracy", "Fréchet distance")


def table(out):
    read = lambda path: path.read_text().splitlines() if path.exists() else []
    facts = {name: json.loads(read(out / f"train {name}.log")[-1]) for name in MODULES
             if (out / f"train {name}.done").exists()}
    # Whichever run came first recorded the bank that most share: it counts for each of them.
    sharing = [f for name, f in facts.items() if "--bank" not in MODULES[name]]
    recording = max((f["recording_seconds"] for f in sharing), default=0)
    for f in sharing:
        f["cpu_seconds"] += recording - f["recording_seconds"]
        f["recording_seconds"] = recording
    scores = {(name, m["setting"]): m for name in SCORES for m in map(json.loads, read(out / f"{name}.scores"))}
    baselines = json.loads("\n".join(read(out / "baselines.json")) or "[]")
    logs = {name: json.loads(lines[-1]) for name in BASELINES if (lines := read(out / "runs" / name / "log.jsonl"))}

    def baseline(name, setting, step=2000, scale=None):
        found = [m for m in baselines if (m["run"], m.get("step"), m.get("setting")) == (name, step, setting)
                 and scale in (None, m.get("scale"))]
        return found[0] if found else None

    def minutes(name, seconds, digits=0):
        """What a run that was cut off says of time is of its last process alone."""
        whole = not any(line.startswith("going on") for line in read(out / f"train {name}.log"))
        return f"{seconds / 60:.{digits}f}" if whole else "-"

    def cost(name):
        if name in facts:
            f = facts[name]
            return (f"{f['parameters']:,}", f"{f['examples']:,}", minutes(name, f["cpu_seconds"]), f["peak_mb"])
        if name in logs:
            f = logs[name]
            size = {"finetune": 1809153, "scratch": 1809153, "guide": 240412}[name.split("-")[0]]
            return f"{size:,}", f"{f['examples']:,}", f"{f['cpu_seconds'] / 60:.0f}", f["peak_rss_mb"]
        return ("-",) * 4

    scales = sorted({m["scale"] for m in baselines if m["run"] == "guide-59000"})
    names = {"size-1": "module, 1 %", "size-5": "module, 5 %", "size-20": "module, 20 %",
             "bundled": "module, 5 %, 20,000 steps (bundled)", "finetune-60000": "base fine-tuned",
             "scratch-60000": "from scratch"}
    for setting in ("both", "sketch", "segmentation"):
        print(f"\n{setting}:")
        costs = lambda name: cost(name) if setting == "both" else ()
        head("way", *(("trained parameters", "examples seen", "CPU minutes", "peak MB") if setting == "both" else ()),
             *QUALITY)
        alone = scores.get(("base alone", "base alone"))
        row("base alone", *(["0", "0", "0", "-"] if setting == "both" else ()), *quality(alone))
        for name in ("size-1", "size-5", "size-20", "bundled"):
            row(names[name], *costs(name), *quality(scores.get((name, setting))))
        for name in ("finetune-60000", "scratch-60000"):
            row(names[name], *costs(name), *quality(baseline(name, setting)))
        for scale in scales:
            if m := baseline("guide-59000", setting, scale=scale):
                row(f"classifier guidance, scale {scale:g}", *costs("guide-59000"), *quality(m))
    head("training images", "way", "steps", *QUALITY)
    for count in (100, 1000, 10000, 60000):
        row(f"{count:,}", "module, 5 %", "5,000",
            *quality(scores.get(("size-5" if count == 60000 else f"examples-{count}", "both"))))
        for step in (500, 1000, 2000):
            if tuned := baseline(f"finetune-{count}", "both", step):
                row(f"{count:,}", "base fine-tuned", f"{step:,}", *quality(tuned))
    head("conditions", "modules", *QUALITY)
    for setting in ("sketch", "segmentation"):
        row(setting, "trained with both", *quality(scores.get(("size-5", setting))))
        row(setting, "trained with it alone", *quality(scores.get((setting, setting))))
    row("both", "trained with both", *quality(scores.get(("size-5", "both"))))
    row("both", "two, each trained alone, weights 1", *quality(scores.get(("composed", "both"))))
    row("both", "two, each trained alone, weights 1/2", *quality(scores.get(("composed at half", "both"))))
    head("predictions", "CPU minutes, with recording", *QUALITY)
    for name, title in (("bank-15000", "15,000 recorded"), ("bank-60000", "60,000 recorded"),
                        ("size-5", "240,000 recorded"), ("live", "320,000, live")):
        f = facts.get(name)
        row(title, minutes(name, f["cpu_seconds"], 1) if f else "-",
            *quality(scores.get((name, "both"))))
    head("weighting of the loss", *QUALITY)
    for name, title in (("uniform", "none"), ("min-snr", "min-SNR, gamma 5"), ("size-5", "noise, the default"),
                        ("timesteps", "noise, by drawing timesteps")):
        row(title, *quality(scores.get((name, "both"))))
    head("weight", *QUALITY)
    for w in ("0.5", "0.75", "1", "1.25", "1.5", "2"):
        row(w, *quality(scores.get(("bundled" if w == "1" else f"weight {w}", "both"))))
    print()
    for m in baselines:
        if m["run"] == "time of a step":
            print(m)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("command", choices=("run", "list", "table"))
    p.add_argument("--out", type=Path, default=Path("study"))
    p.add_argument("--threads", type=int, default=1)
    a = p.parse_args()
    if a.command == "list":
        for name, _, command in runs(a.out, a.threads):
            print(f"{name}: {command}")
    elif a.command == "run":
        run(a.out, a.threads)
    else:
        table(a.out)


if __name__ == "__main__":
    main()
