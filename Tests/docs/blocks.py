"""The fenced code blocks of a markdown page, and what the comments above them say."""
from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

RUN = {"c", "cpp", "python", "rust", "sh", "swift"}
# As in Rust's documentation tests (no_run: only built); C++ without exceptions.
ATTRIBUTES = {"rust": {"no_run", "compile_fail"}, "cpp": {"results"}}
COMPILED = {"c", "cpp", "rust", "swift"}
SHOWN = {"cmake", "diff", "json", "make", "text", "toml"}  # not programs


class PageError(Exception):
    """One line: where, what was found, what was expected."""


@dataclass
class Block:
    page: str  # path in the repository
    line: int  # of the first line of code, from 1
    language: str
    code: str
    attribute: str = ""  # see ATTRIBUTES
    not_run: str | None = None  # <!-- not run: REASON -->
    only_built: str | None = None  # <!-- only built: REASON -->
    file: str | None = None  # <!-- file: NAME -->: the code is written there, for commands

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str, text: str) -> list[Block]:
    found: list[Block] = []
    lines = text.split("\n")
    above = ""  # the last line before the fence that is not blank
    in_list = False
    i = 0
    while i < len(lines):
        opening = re.match(r"( *)(`{3,}|~{3,})\s*([^`]*?)\s*$", lines[i])
        if not opening:
            if lines[i][:1].strip():
                in_list = re.match(r"([-*+]|\d+\.) ", lines[i]) is not None
            is_indented = lines[i].startswith("    ") and not in_list and not lines[i - 1].strip()
            if is_indented and not page.startswith("bindings/"):
                raise PageError(f"{page}:{i + 1}: an indented code block, expected a fenced one that says its language")
            above = lines[i].strip() or above
            i += 1
            continue
        indent, fence, language = opening.groups()
        language, attribute = (re.split("[ ,]", language, maxsplit=1) + [""])[:2]
        end = next((j for j in range(i + 1, len(lines)) if re.match(rf" *{fence}+\s*$", lines[j])), None)
        place = f"{page}:{i + 1}"
        if end is None:
            raise PageError(f"{place}: the code block has no end, expected {fence}")
        if language not in RUN | SHOWN:
            raise PageError(f"{place}: the code block's language is {language!r}, expected one of "
                            + ", ".join(sorted(RUN | SHOWN)))
        code = "\n".join(line.removeprefix(indent) for line in lines[i + 1 : end]) + "\n"
        if attribute and attribute not in ATTRIBUTES.get(language, ()):
            raise PageError(f"{place}: the code block's language is {language!r} with {attribute!r}, expected one of "
                            + ", ".join(["nothing", *sorted(ATTRIBUTES.get(language, ()))]))
        if language == "json":
            try:
                json.loads(code)
            except ValueError as error:
                raise PageError(f"{place}: {error}, expected JSON") from None
        block = Block(page, i + 2, language, code, attribute)
        comment = re.fullmatch(r"<!-- (not run|only built|file): *(.*?) *-->", above)
        if comment and not comment[2]:
            raise PageError(f"{place}: <!-- {comment[1]}: --> says nothing, expected "
                            + ("a file's name" if comment[1] == "file" else "a reason"))
        if comment:
            setattr(block, comment[1].replace(" ", "_"), comment[2])
        elif above.startswith("<!--") and re.search(r"not.?run|built|file:", above):
            raise PageError(f"{place}: above it is {above!r}, expected <!-- not run: REASON -->, "
                            "<!-- only built: REASON --> or <!-- file: NAME -->")
        if block.only_built and language not in COMPILED:
            raise PageError(f"{place}: {language} is not built, expected <!-- not run: REASON -->")
        found.append(block)
        above = ""
        i = end + 1
    commands = "".join(b.code for b in found if b.language == "sh" and b.not_run is None and b.file is None)
    for block in found:
        if block.file and Path(block.file).name != block.file:
            raise PageError(f"{block.place}: the file's name is {block.file!r}, expected one without folders")
        if block.file and block.file not in commands:
            raise PageError(f"{block.place}: nothing uses {block.file}, expected an sh block that does")
    return found
