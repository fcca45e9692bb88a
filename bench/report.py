"""What bench.py measured, as Markdown tables and as a picture."""
from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

from works import CONTENDERS, PEERS, WORKS, Work

COLOURS = {"torch": "#e69f00", "torch-cl": "#f0e442", "openvino": "#56b4e9", "ncnn": "#009e73", "sd.cpp": "#cc79a7"}

# Other processes' share of the cores above which times are doubtful: spinning OpenMP workers suffer many times over.
QUIET_CORES = 0.05

# The result of one contender and its name to the text of a table's cell.
Cell = Callable[[dict[str, Any], str], str]


def _digits(value: float) -> str:
    """Three significant digits, thousands in full."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _time(result: dict[str, Any], _: str) -> str:
    ratio = f" ({result['ratio']:.2f}x)" if "ratio" in result else ""
    return _digits(result["ms"]) + ratio


def _overhead(result: dict[str, Any], _: str) -> str:
    added = f" (+{100 * (1 / result['ratio'] - 1):.1f} %)" if "ratio" in result else ""
    return _digits(result["ms"]) + added


def _error(result: dict[str, Any], name: str) -> str:
    return "reference" if name == "torch" else f"{result['error']:.0e}" if "error" in result else ""


def _memory(result: dict[str, Any], _: str) -> str:
    return f"{result['peak_mb']:.0f}"


def _working(result: dict[str, Any], _: str) -> str:
    return f"{result['peak_mb'] - result['opened_mb']:.0f}"


def _image(result: dict[str, Any], _: str) -> str:
    ratio = f" ({result['ratio']:.2f}x)" if "ratio" in result else ""
    return f"{result['open_ms'] / 1e3:.1f} + {result['ms'] / 1e3:.1f}{ratio}"


def _opening(result: dict[str, Any], _: str) -> str:
    return f"{_digits(result['open_ms'])} + {_digits(result['first_ms'])}"


def _table(results: list[dict[str, Any]], names: list[str], cell: Cell) -> str:
    def text(contenders: dict[str, Any], name: str) -> str:
        if name not in contenders:
            return ""
        return "failed" if "failed" in contenders[name] else cell(contenders[name], name)

    rows = [["work", "threads", *(CONTENDERS[name] for name in names)], ["---"] + ["---:"] * (len(names) + 1)]
    for result in results:
        rows.append([result["title"], str(result["threads"]), *(text(result["contenders"], name) for name in names)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _machine(run: dict[str, Any]) -> str:
    machine = run["machine"]
    return f"{machine['cpu']} ({', '.join(machine['flags'])}), {machine['cores']} cores, {run['date'][:10]}"


def tables(run: dict[str, Any]) -> str:
    def those(test: Callable[[Work], bool]) -> list[dict[str, Any]]:
        return [result for result in run["results"] if test(WORKS[result["work"]])]

    alone = those(lambda work: work.module not in ("attached", "trained") and work.part != "image")
    decoding = those(lambda work: work.part == "decode")
    training = those(lambda work: work.module == "trained")
    overhead = those(lambda work: work.module == "attached")
    images = those(lambda work: work.part == "image")
    names = ["libmcm"] + [peer for peer in PEERS if any(peer in result["contenders"] for result in alone)]
    compared = any("error" in facts for result in alone for facts in result["contenders"].values())
    parts = [f"{_machine(run)}; {', '.join(f'{name} {version}' for name, version in run['versions'].items())}."]
    if alone:
        parts += [
            f"Milliseconds per step, median of {run['pairs']} pairs (and how many times libmcm's).",
            _table(alone, names, _time),
            "Peak memory of the process, MB.",
            _table(alone, names, _memory),
            *(["Difference from PyTorch, ||out - ref|| / ||ref||.", _table(alone, names, _error)] if compared else []),
            "Milliseconds to open the network, and for the first step.",
            _table(alone, names, _opening),
        ]
    if decoding:
        parts += ["Peak memory beyond that after opening, MB.", _table(decoding, names, _working)]
    if overhead:
        parts += [
            "Milliseconds per step of libmcm with the module attached, and what part of a step without it that adds.",
            _table(overhead, ["libmcm", "libmcm-bare"], _overhead),
        ]
    if training:
        names = ["libmcm", "torch", "torch-cl"]
        parts += [
            "Milliseconds per step of training (and how many times libmcm's).",
            _table(training, names, _time),
            "Peak memory of training, MB.",
            _table(training, names, _memory),
        ]
    if images:
        names = ["libmcm", "libmcm-demand", "torch", "sd.cpp"]
        parts += [
            "Seconds to open a model, and to draw an image (which is how many times libmcm's).",
            _table(images, names, _image),
            "Peak memory, MB.",
            _table(images, names, _memory),
            "Difference from PyTorch's pixels, ||out - ref|| / ||ref||.",
            _table(images, names, _error),
        ]
    parts += [
        f"{CONTENDERS[name]} failed on {result['title']}, threads {result['threads']}: {facts['failed']}"
        for result in run["results"]
        for name, facts in result["contenders"].items()
        if "failed" in facts
    ]
    parts += [
        f"Other processes kept {result['others_cores']:.2f} cores busy during {result['title']}, threads "
        f"{result['threads']}: these times are not to be used."
        for result in run["results"]
        if result["others_cores"] > QUIET_CORES
    ]
    return "\n\n".join(parts)


def plot(run: dict[str, Any], file: Path) -> None:
    """Each peer's time as a multiple of libmcm's, at the greatest number of threads."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    threads = max((result["threads"] for result in run["results"]), default=1)
    bars = []  # (work's title, libmcm's ms, [(peer, ratio, ms)])
    for result in run["results"]:
        work = WORKS[result["work"]]
        if work.module == "trained" or work.part == "image":
            continue
        ratios = [(name, facts["ratio"], facts["ms"]) for name, facts in result["contenders"].items()
                  if name in PEERS and "ratio" in facts]
        if result["threads"] == threads and ratios and "ms" in result["contenders"]["libmcm"]:
            bars.append((result["title"], result["contenders"]["libmcm"]["ms"], ratios))
    if not bars:
        return
    height = 1.6 + sum(0.2 * len(ratios) + 0.25 for *_, ratios in bars)
    figure, axes = pyplot.subplots(figsize=(9, height), layout="constrained")
    y, ticks, labels = 0.0, [], []
    for title, ms, ratios in bars:
        ticks.append(y + (len(ratios) - 1) / 2)
        labels.append(f"{title}\nlibmcm: {_digits(ms)} ms")
        for name, ratio, theirs in ratios:
            axes.barh(y, ratio, height=0.9, color=COLOURS[name])
            axes.text(max(ratio, 1), y, f" {ratio:.2f}x, {_digits(theirs)} ms", va="center", fontsize=7.5)
            y += 1
        y += 1.2
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(ticks, labels, fontsize=8.5)
    axes.invert_yaxis()
    axes.margins(y=0.02)
    axes.set_xlim(0, 1.2 * max(1, *(ratio for *_, ratios in bars for _, ratio, _ in ratios)))
    axes.set_xlabel("time of a step as a multiple of libmcm's (the line at 1)")
    axes.set_title(f"One denoising step, float32, {threads} thread{'s' * (threads > 1)}\n{_machine(run)}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    shown = [name for name in PEERS if any(name == peer for *_, ratios in bars for peer, *_ in ratios)]
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=COLOURS[name]) for name in shown]
    legend = [f"{PEERS[name]} {run['versions'].get(name.removesuffix('-cl'), '')}" for name in shown]
    figure.legend(handles, legend, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.savefig(file, dpi=150)
