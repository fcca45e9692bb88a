"""Runs the code blocks of README.md, docs/ and bindings/*/README.md: Tests/docs/README.md says how.

  python3 Tests/docs/run.py [PAGE ...]
"""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import hosts
from blocks import Block, PageError, blocks
from hosts import HOSTS, PREFIX, ROOT, WORK, Failed, Missing

os.environ["MCM_LIBRARY"] = str(ROOT / "build" / "libmcm.so.1")  # not an installed one

from supplies import supply  # noqa: E402


def pages() -> list[str]:
    found = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("bindings/*/README.md")]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def jobs(parsed: list[Block]) -> list[list[Block]]:
    """Programs and commands in order. Parts that are no programs of their own make one for the page and language,
    up to a part that begins another. It runs where its last part stands."""
    alone, together = [], []
    parts: dict[str, list[tuple[int, Block]]] = {}
    for position, block in enumerate(parsed):
        if block.not_run is not None or block.language not in (*HOSTS, "sh"):
            continue
        if block.file:
            continue
        if block.attribute or block.only_built or block.language == "sh" or hosts.is_program(block.language, block.code):
            alone.append((position, [block]))
        else:
            if hosts.begins_program(block.language, block.code) or block.language not in parts:
                parts[block.language] = []
                together.append(parts[block.language])
            parts[block.language].append((position, block))
    programs = [(found[-1][0], [block for _, block in found]) for found in together]
    return [job for _, job in sorted(alone + programs, key=lambda job: job[0])]


def run(job: list[Block], folder: Path) -> None:
    first = job[0]
    name = f"{first.language}_{first.line}"
    if first.language == "sh":
        if "mcm " in first.code and not (PREFIX / "bin" / "mcm").exists() and any(
                line.lstrip().startswith("mcm ") for line in first.code.split("\n")):
            raise Missing("the program mcm is not installed by `make install`")
        (folder / f"{name}.sh").write_text(first.code)
        hosts.run(["sh", "-eu", f"{name}.sh"], folder)
    else:
        commands = HOSTS[first.language](job, folder, name)
        for command in commands[:1] if first.only_built else commands:
            hosts.run(command, folder)


def run_page(page: str) -> list[str]:
    """Returns failures."""
    began = time.monotonic()
    try:
        parsed = blocks(page, (ROOT / page).read_text())
    except PageError as error:
        print(f"FAIL {error}")
        return [str(error)]
    folder = WORK / page.replace("/", "_").removesuffix(".md")
    folder.mkdir()
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "build").mkdir()
    supply(folder, "".join(block.code for block in parsed if block.not_run is None))
    files = [block for block in parsed if block.file]
    for block in files:
        (folder / block.file).write_text(block.code)
    failures, skipped, done = [], [], len(files)
    for job in jobs(parsed):
        try:
            run(job, folder)
            done += len(job)
        except Missing as missing:
            skipped += [f"skip {block.place}: {missing}" for block in job]
        except Failed as failed:
            failures.append(f"{', '.join(block.place for block in job)}: {failed}")
    marked = [block for block in parsed if block.not_run is not None]
    if parsed:
        print(f"{'FAIL' if failures else 'ok  '} {page}: {done} blocks run"
              + (f", {len(marked)} marked as not run" if marked else "") + f" ({time.monotonic() - began:.1f} s)")
    for line in skipped + failures:
        print(f"     {line}")
    sys.stdout.flush()
    return failures


def main() -> None:
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    # With a DESTDIR, so that the system is not told of it.
    subprocess.run(["make", "-s", "-C", ROOT, "install", f"PREFIX={PREFIX}", "DESTDIR=/"], check=True)
    failures = [failure for page in sys.argv[1:] or pages() for failure in run_page(page)]
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
