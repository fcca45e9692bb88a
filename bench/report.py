"""What bench.py measured, as Markdown tables and as a picture."""
from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

from works import CONTENDERS, PEERS, WORKS

COLOURS = {"torch": "#e69f00", "torch-cl": "#f0e442", "openvino": "#56b4e9", "ncnn": "#009e73", "sdcpp": "#cc79a7"}

# Other processes' share of the cores above which times are doubtful: spinning OpenMP workers suffer many times over.
QUIET_CORES = 0.05

# The result of one contender and its name to the text of a table's cell.
Cell = Callable[[dict[str, Any], str], str]


def _duration(ms: float) -> str:
    return f"{_digits(ms)} ms" if ms < 1e4 else f"{_digits(ms / 1e3)} s"


def _digits(value: float) -> str:
    """Three significant digits, thousands in full."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _time(result: dict[str, Any], _: str) -> str:
    ratio = f" ({result['ratio']:.2f}x)" if "ratio" in result else ""
    return _digits(result["ms"]) + ratio


def _overhead(result: dict[str, Any], _: str) -> str:
    added = f" ({100 * (1 / result['ratio'] - 1):+.1f} %)" if "ratio" in result else ""
    return _digits(result["ms"]) + added


def _error(result: dict[str, Any], name: str) -> str:
    return "reference" if name == "torch" else f"{result['error']:.0e}" if "error" in result else ""


def _memory(result: dict[str, Any], _: str) -> str:
    return f"{result['peak_mb']:.0f}"


def _opening(result: dict[str, Any], _: str) -> str:
    return " + ".join(_digits(result[key]) for key in ("open_ms", "first_ms") if key in result)


def _working(result: dict[str, Any], _: str) -> str:
    return f"{result['opened_mb']:.0f} + {result['working_mb']:.0f}" if "working_mb" in result else ""


def _seconds(result: dict[str, Any], _: str) -> str:
    ratio = f" ({result['ratio']:.2f}x)" if "ratio" in result else ""
    return f"{_digits(result['ms'] / 1e3)}{ratio}"


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
    def of(*parts: str) -> list[dict[str, Any]]:
        return [result for result in run["results"] if WORKS[result["work"]].part in parts]

    alone, images = of("network", "module", "encoder", "decoder", "text"), of("image")
    training, overhead = of("training"), of("attached")
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
    if autoencoders := of("encoder", "decoder"):
        parts += [
            "Memory that an autoencoder takes: MB held when it is open, and how much more at the peak.",
            _table(autoencoders, names, _working),
        ]
    if images:
        known = ("libmcm", "libmcm-on-demand", *PEERS)
        names = [name for name in known if any(name in result["contenders"] for result in images)]
        parts += [
            "Seconds for an image, opening included (and how many times libmcm's).",
            _table(images, names, _seconds),
            "Milliseconds of those for opening.",
            _table(images, names, _opening),
            "Peak memory of the process, MB.",
            _table(images, names, _memory),
            "Difference from PyTorch's pixels, ||out - ref|| / ||ref||.",
            _table(images, names, _error),
        ]
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
        if WORKS[result["work"]].part == "training":
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
        labels.append(f"{title}\nlibmcm: {_duration(ms)}")
        for name, ratio, theirs in ratios:
            axes.barh(y, ratio, height=0.9, color=COLOURS[name])
            axes.text(max(ratio, 1), y, f" {ratio:.2f}x, {_duration(theirs)}", va="center", fontsize=7.5)
            y += 1
        y += 1.2
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(ticks, labels, fontsize=8.5)
    axes.invert_yaxis()
    axes.margins(y=0.02)
    axes.set_xlim(0, 1.2 * max(1, *(ratio for *_, ratios in bars for _, ratio, _ in ratios)))
    axes.set_xlabel("time as a multiple of libmcm's (the line at 1)")
    title = f"One pass, or a whole image; {threads} thread{'s' * (threads > 1)}"
    axes.set_title(f"{title}\n{_machine(run)}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    shown = [name for name in PEERS if any(name == peer for *_, ratios in bars for peer, *_ in ratios)]
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=COLOURS[name]) for name in shown]
    packages = {"torch-cl": "torch", "sdcpp": "stable-diffusion-cpp-python"}
    legend = [f"{PEERS[name]} {run['versions'].get(packages.get(name, name), '')}" for name in shown]
    figure.legend(handles, legend, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.savefig(file, dpi=150)
