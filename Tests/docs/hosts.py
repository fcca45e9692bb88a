"""How a program of each language is built and run. Each takes the program as a page has it, and returns the commands
that do it, or raises Missing where the host is not here."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from blocks import Block

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "docs"  # everything that the tests of the pages write
PREFIX = WORK / "prefix"  # libmcm, installed
SECONDS = 300  # for a command

HEADERS = ["mcm.h", "math.h", "stdint.h", "stdio.h", "stdlib.h", "string.h"]


class Missing(Exception):
    """What is not here."""


class Failed(Exception):
    """What a command printed."""


def environment() -> dict[str, str]:
    paths = [str(PREFIX / "bin"), str(ROOT / "build" / "venv" / "bin"), os.environ["PATH"]]
    return {
        **os.environ,
        "PATH": ":".join(paths),
        "PKG_CONFIG_PATH": str(PREFIX / "lib" / "pkgconfig"),
        "CMAKE_PREFIX_PATH": str(PREFIX),
        "LD_LIBRARY_PATH": str(PREFIX / "lib"),
        "MCM_LIBRARY": str(PREFIX / "lib" / "libmcm.so.1"),
        "MCM_LIB_DIR": str(PREFIX / "lib"),
        "PYTHONPATH": str(ROOT / "bindings" / "python"),
        "CC": os.environ.get("CC", "cc"),
    }


def run(command: list[str | Path], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, env=environment(), text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, errors="replace")
    except subprocess.TimeoutExpired as expired:
        raise Failed(f"not done after {SECONDS} s: {' '.join(map(str, command))}") from expired
    if done.returncode:
        raise Failed(f"exit status {done.returncode}: {' '.join(map(str, command))}\n{done.stdout[-4000:]}")


def is_program(language: str, code: str) -> bool:
    """Whether a block is a program of its own and not a part of its page's."""
    main = {"c": r"^int main\(", "cpp": r"^int main\(", "rust": r"^fn main\(",
            "swift": r"^@main|^import PackageDescription"}
    return language in main and re.search(main[language], code, re.M) is not None


def begins_program(language: str, code: str) -> bool:
    """Whether a part is the first of a program, since it names the library."""
    names = {"c": r"^#include <mcm", "cpp": r"^#include <mcm", "rust": r"^use mcm", "swift": r"^import LibMCM"}
    return language in names and re.search(names[language], code, re.M) is not None


def located(blocks: list[Block], line: str) -> str:
    """Blocks one after the other, so that messages name lines of the page."""
    return "".join(line.format(line=block.line, page=block.page) + block.code for block in blocks)


def python(blocks: list[Block], folder: Path, name: str) -> list[list[str | Path]]:
    program = folder / f"{name}.py"
    parts = [(str(ROOT / block.page), "\n" * (block.line - 1) + block.code) for block in blocks]
    program.write_text(f"namespace = {{'__name__': '__main__'}}\nfor path, code in {parts!r}:\n"
                       "    exec(compile(code, path, 'exec'), namespace)\n")
    return [["python3", program]]


def _declarations(blocks: list[Block]) -> tuple[list[Block], list[Block]]:
    """Parts that define functions at the margin, which stand before main, and the others, which stand in it."""
    at_margin = [b for b in blocks if re.search(r"^(?!else|for|if|while|do|switch)[a-z][^;=\n]*\) \{$", b.code, re.M)]
    return at_margin, [b for b in blocks if b not in at_margin]


def _c_like(blocks: list[Block], before: str, inside: str) -> str:
    if is_program(blocks[0].language, blocks[0].code):
        return located(blocks, '#line {line} "{page}"\n')
    functions, statements = _declarations(blocks)
    line = '#line {line} "{page}"\n'
    body = located(functions, line) + f"int main(void) {{\n{inside}{{\n" + located(statements, line) + "}\n}\n"
    includes = "".join(re.findall(r"^#include .*\n", body, re.M))
    return before + includes + re.sub(r"^#include .*$", "", body, flags=re.M)


def c(blocks: list[Block], folder: Path, name: str) -> list[list[str | Path]]:
    check = ("static void check(mcm_status status) {\n"
             '    if (status != MCM_OK) { fprintf(stderr, "%s\\n", mcm_last_error()); exit(1); }\n}\n')
    includes = "".join(f"#include <{header}>\n" for header in HEADERS)
    source, program = folder / f"{name}.c", folder / name
    source.write_text(_c_like(blocks, includes + check, "    (void)check;\n"))
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-unused", "-I", PREFIX / "include"]
    libraries = ["-L", PREFIX / "lib", "-lmcm", "-lm"]
    return [["cc", *flags, source, "-o", program, *libraries], [program]]


# What parts in C++ find there, unless they declare it themselves.
CPP_SESSION = """
auto model = mcm::Model::open("examples/fashion/base");
auto module = mcm::Modulator::open("examples/fashion/module.mcm.safetensors");
mcm::SessionOptions options;
options.scheduler = mcm::SchedulerKind::ddim;
options.steps = 25;
auto session = mcm::Session::create(model, options);
auto id = session.attach(module);
session.seed(1);
"""


def cpp(blocks: list[Block], folder: Path, name: str) -> list[list[str | Path]]:
    if not (PREFIX / "include" / "mcm.hpp").exists():
        raise Missing("mcm.hpp is not installed by `make install`")
    includes = "#include <mcm.hpp>\n" + "".join(f"#include <{header}>\n" for header in (
        "algorithm", "array", "cstdio", "iostream", "string", "vector"))
    source, program = folder / f"{name}.cpp", folder / name
    if blocks[0].attribute == "results":
        part = located(blocks, '#line {line} "{page}"\n')
        code = f"#define MCM_NO_EXCEPTIONS\n{includes}static void part() {{\n{part}}}\nint main() {{ part(); }}\n"
    else:
        code = _c_like(blocks, includes, CPP_SESSION).replace("int main(void) {", "int main() {")
    source.write_text(code)
    flags = ["-std=c++20", "-Wall", "-Wextra", "-Wno-unused", "-I", PREFIX / "include"]
    return [["c++", *flags, source, "-o", program, "-L", PREFIX / "lib", "-lmcm"], [program]]


def rust(blocks: list[Block], folder: Path, name: str) -> list[list[str | Path]]:
    crate = ROOT / "bindings" / "rust" / "mcm"
    if not (crate / "Cargo.toml").exists():
        raise Missing("bindings/rust/mcm is not there")
    if not shutil.which("cargo"):
        raise Missing("cargo is not installed")
    code = located(blocks, "// {page}:{line}\n")
    if not is_program("rust", code):
        code = f"fn main() -> Result<(), Box<dyn std::error::Error>> {{\n{code}Ok(())\n}}\n"
    code = "#![allow(unused)]\n" + re.sub(r"^ *#(?: |$)", "", code, flags=re.M)  # hidden lines of documentation tests
    package = folder / f"{name}-package"
    (package / "src").mkdir(parents=True)
    (package / "src" / "main.rs").write_text(code)
    (package / "Cargo.toml").write_text(f'[package]\nname = "{name}"\nversion = "0.0.0"\nedition = "2021"\n'
                                        f'[dependencies]\nmcm = {{ path = "{crate}" }}\n[workspace]\n')
    target = ROOT / "build" / "docs-cargo"  # shared by all programs, and kept
    where = ["--manifest-path", package / "Cargo.toml", "--target-dir", target]
    build = ["cargo", "build", "--offline", "--quiet", *where]
    if blocks[0].attribute == "compile_fail":
        return [["sh", "-c", '! "$@"', "sh", *build]]
    return [build] if blocks[0].attribute else [build, [target / "debug" / name]]


def swift(blocks: list[Block], folder: Path, name: str) -> list[list[str | Path]]:
    """Linked with the objects of the release build, since a package of its own would compile all of libmcm again."""
    build = ROOT / ".build" / "release"
    compiler = shutil.which("swiftc") or "/opt/swift/usr/bin/swiftc"
    if not (build / "Modules" / "LibMCM.swiftmodule").exists() or not Path(compiler).exists():
        raise Missing("LibMCM is not built: swift build -c release")
    targets = [path for path in (ROOT / "Sources").iterdir() if path.name != "MCM"]
    programs = [t for t in targets if any("@main" in source.read_text() for source in t.glob("**/*.swift"))]
    objects = [o for t in targets if t not in programs for o in (build / f"{t.name}.build").rglob("*.o")]
    maps = [f"-fmodule-map-file={build}/{name}.build/module.modulemap" for name in ("CShims", "CLIPMerges")]
    source, program = folder / f"{name}.swift", folder / name
    code = "".join(f'#sourceLocation(file: "{b.page}", line: {b.line})\n{b.code}' for b in blocks)
    source.write_text(code)
    if "import PackageDescription" in code:  # a Package.swift
        manifests = Path(compiler).resolve().parents[1] / "lib" / "swift" / "pm" / "ManifestAPI"
        return [[compiler, "-typecheck", "-package-description-version", "6.2", "-I", manifests, source]]
    as_library = ["-parse-as-library"] if "@main" in code else []
    flags = [*as_library, "-I", build / "Modules", "-I", ROOT / "Sources" / "CPNG"]
    flags += [flag for each in maps for flag in ("-Xcc", each)]
    return [[compiler, source, "-o", program, *flags, *objects, "-use-ld=lld", "-lpng"], [program]]


HOSTS = {"c": c, "cpp": cpp, "python": python, "rust": rust, "swift": swift}
