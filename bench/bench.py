#!/usr/bin/env python3
"""libmcm and its peers in turn on one machine: the same weights, the same input, outputs compared.

    python bench/bench.py                                  all works at 1 and 2 threads: docs/benchmark.json and .png
    python bench/bench.py --works ldm-b1 --only-libmcm     a quick look, which writes only what --json names
    python bench/bench.py --table docs/benchmark.json      print the tables of an earlier run

bench/README.md says what is measured and how.
"""
from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Iterator

import numpy as np

import report
from works import PEERS, REPOSITORY, WORKS, Cache, Work

HERE = Path(__file__).resolve().parent
# Idle OpenMP workers of PyTorch and ncnn spin for about 10 ms after a run, on the core that the next one needs.
PAUSE_SECONDS = 0.05
CONVERTED = ("openvino", "ncnn", "sdcpp")


class Failure(Exception):
    """Why a contender has no result, in one line."""


def _environment(library: Path, threads: int) -> dict[str, str]:
    counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {
        **os.environ,
        **{name: str(threads) for name in counts},
        "MCM_LIBRARY": str(library),
        "PYTHONPATH": str(REPOSITORY / "bindings/python"),
    }


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing on standard error"


class Contender:
    """A contender.py process; idle, blocked on its standard input, except while `ask` waits."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self.errors = tempfile.TemporaryFile("w+")
        command = [sys.executable, str(HERE / "contender.py"), *arguments]
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)
        self.process = subprocess.Popen(command, **pipes, text=True, env=environment)

    def answer(self) -> Any:
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        status = self.process.wait()
        self.errors.seek(0)
        raise Failure(f"exit status {status}: {_last_line(self.errors.read())}")

    def ask(self, question: str) -> Any:
        try:
            print(question, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass  # `answer` says why
        return self.answer()

    def run(self) -> float:
        time.sleep(PAUSE_SECONDS)
        return self.ask("run")

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()


class Bench:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.cache = Cache(options.models.resolve())
        self.library = options.library.resolve()

    def _prepare(self, work: Work) -> dict[str, np.ndarray]:
        """The model's folder and the inputs."""
        import models

        if work.model != "fashion":
            models.make_model(work.model, self.cache)
        models.make_module(self.cache)
        if work.part == "training":
            models.make_dataset(work, self.cache)
            self._record(work)
        return {name: tensor.numpy() for name, tensor in models.inputs(work, self.cache).items()}

    def _record(self, work: Work) -> None:
        """The bank of predictions, unless it is there."""
        if not work.bank or self.cache.bank(work).exists():
            return
        _log("  recording predictions")
        script = ("import mcm, sys; model, dataset, bank = sys.argv[1:]; "
                  "mcm.Bank.record(mcm.Model.open(model), mcm.Dataset(dataset), bank, count=64)")
        files = [self.cache.model(work.model), self.cache.dataset(work), self.cache.bank(work)]
        environment = _environment(self.library, len(os.sched_getaffinity(0)))
        subprocess.run([sys.executable, "-c", script, *files], check=True, env=environment)

    def _convert(self, peer: str, name: str) -> None:
        work = WORKS[name]
        folder = self.cache.converted(work, peer)
        if peer == "sdcpp":
            import models

            models.make_model(work.whole_model, self.cache)
        if folder.exists() and folder.stat().st_mtime > self.cache.weights(work).stat().st_mtime:
            return
        _log(f"  converting for {peer}")
        command = [sys.executable, HERE / "convert.py", peer, name, "--cache", self.cache.root]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise Failure(f"conversion failed, exit status {done.returncode}: {_last_line(done.stderr)}")

    def measure(self, name: str, threads: int) -> dict[str, Any]:
        """One work at one number of threads: libmcm beside each peer in turn."""
        result: dict[str, Any] = {"work": name, "title": WORKS[name].title, "threads": threads, "contenders": {}}
        contenders = result["contenders"]
        peers = [] if self.options.only_libmcm else [
            peer for peer in WORKS[name].contenders if peer in self.options.peers or peer not in PEERS
        ]
        outputs: dict[str, np.ndarray] = {}
        most = min(self.options.pairs, WORKS[name].pairs)
        given = self._prepare(WORKS[name])
        with tempfile.TemporaryDirectory() as scratch:
            np.savez(f"{scratch}/inputs.npz", **given)

            def contender(kind: str) -> Contender:
                arguments = [kind, name, str(threads), str(self.cache.root), f"{scratch}/inputs.npz"]
                return Contender(arguments, _environment(self.library, threads))

            def finish(kind: str, process: Contender) -> dict[str, float]:
                memory = process.ask(f"finish {scratch}/{kind}.npy")
                if os.path.exists(f"{scratch}/{kind}.npy"):
                    outputs[kind] = np.load(f"{scratch}/{kind}.npy").astype(np.float64)
                return memory

            try:
                with contender("libmcm") as ours:
                    opened = ours.answer()
                    ours_ms: list[float] = []
                    for peer in peers:
                        try:
                            if peer in CONVERTED:
                                self._convert(peer, name)
                            with contender(peer) as theirs:
                                _log(f"  {peer}")
                                facts = theirs.answer()
                                count = 1 if peer == "sdcpp" else most  # which makes a whole image for each step
                                pairs = [(ours.run(), theirs.run()) for _ in range(count)]
                                facts |= finish(peer, theirs)
                        except Failure as failure:
                            if ours.process.poll() is not None:
                                raise
                            contenders[peer] = {"failed": str(failure)}
                            continue
                        ours_ms += [a for a, _ in pairs]
                        contenders[peer] = facts | {
                            "ms": statistics.median(b for _, b in pairs),
                            "ratio": statistics.median(b / a for a, b in pairs),
                            "runs_ms": [b for _, b in pairs],
                            "libmcm_runs_ms": [a for a, _ in pairs],
                        }
                    ours_ms = ours_ms or [ours.run() for _ in range(most)]
                    timed = {"ms": statistics.median(ours_ms), "runs_ms": ours_ms}
                    contenders["libmcm"] = opened | finish("libmcm", ours) | timed
            except Failure as failure:
                contenders["libmcm"] = {"failed": str(failure)}
        if "torch" in outputs:
            reference = outputs["torch"]
            for kind, output in outputs.items():
                contenders[kind]["error"] = float(np.linalg.norm(output - reference) / np.linalg.norm(reference))
        return result


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _output_of(command: list[str], environment: dict[str, str] | None = None) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True).stdout.strip()


@contextlib.contextmanager
def _others() -> Iterator[dict[str, float]]:
    """Cores that other processes kept busy meanwhile: more than a few hundredths, and the times are not to be used."""

    def clocks() -> tuple[float, float, float]:
        user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
        busy = (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
        return time.monotonic(), busy, sum(os.times()[:4])  # children count once they have been waited for

    use: dict[str, float] = {}
    before = clocks()
    yield use
    elapsed, busy, own = (b - a for a, b in zip(before, clocks()))
    use["others_cores"] = round(max(0.0, busy - own) / elapsed, 3)


def _machine() -> dict[str, Any]:
    facts = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    cpu = {key.strip(): value.strip() for key, value in facts.items()}
    flags = set(cpu["flags"].split())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": cpu["model name"],
        "family_model": [int(cpu["cpu family"]), int(cpu["model"])],
        "flags": [flag for flag in ("avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_vnni") if flag in flags],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 2**30, 1),
        "system": platform.platform(),
    }


def _versions(library: Path) -> dict[str, str]:
    ask = [sys.executable, "-c", "import mcm; print(mcm.library_version())"]
    versions = {"libmcm": _output_of(ask, _environment(library, 1)), "python": platform.python_version()}
    packages = (
        "torch", "diffusers", "transformers", "openvino", "ncnn", "pnnx", "stable-diffusion-cpp-python", "numpy",
    )
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pass  # the peer then says in the table that it cannot be imported
    return versions


def _names(known: dict[str, Any]) -> Any:
    def parse(text: str) -> list[str]:
        unknown = [name for name in text.split(",") if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(known)}")
        return text.split(",")

    return parse


def _counts(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", type=_names(WORKS), default=list(WORKS), help=",".join(WORKS))
    parser.add_argument("--threads", type=_counts, default=[1, 2],
                        help="default 1,2; images with the most of them only")
    parser.add_argument("--peers", type=_names(PEERS), default=list(PEERS), help=",".join(PEERS))
    parser.add_argument("--only-libmcm", action="store_true", help="no peers, hence no ratios and no errors")
    parser.add_argument("--pairs", type=int, default=7, 
                        help="runs of libmcm and a peer in turn, at most (default 7; fewer of what takes seconds)")
    parser.add_argument("--library", type=Path, default=REPOSITORY / "build/libmcm.so")
    parser.add_argument("--models", type=Path, default=REPOSITORY / "build/bench-models", help="cache folder")
    parser.add_argument("--json", type=Path, help="default docs/benchmark.json")
    parser.add_argument("--plot", type=Path, help="default docs/benchmark.png")
    parser.add_argument("--table", type=Path, metavar="JSON", help="measure nothing: print the tables of JSON")
    options = parser.parse_args()
    if options.table:
        print(report.tables(json.loads(options.table.read_text())))
        return
    if options.pairs < 1:
        parser.error("--pairs must be at least 1")
    if not options.library.exists():
        parser.error(f"{options.library} is not there: make builds it")

    if not options.only_libmcm:
        options.json = options.json or REPOSITORY / "docs/benchmark.json"
        options.plot = options.plot or REPOSITORY / "docs/benchmark.png"

    bench = Bench(options)
    run = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": _machine(),
        "versions": _versions(bench.library),
        "pairs": options.pairs,
        "results": [],
    }
    for name in options.works:
        minutes = WORKS[name].part == "image"
        for threads in [max(options.threads)] if minutes else options.threads:
            _log(f"{name}, threads: {threads}")
            with _others() as others:
                result = bench.measure(name, threads)
            run["results"].append(result | others)
            if options.json:  # after each, so that a break loses little
                options.json.write_text(json.dumps(run, indent=1) + "\n")
    print(report.tables(run))
    if options.plot:
        report.plot(run, options.plot)


if __name__ == "__main__":
    main()
