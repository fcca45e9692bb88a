"""Writes docs/reference.md, the C API's reference, from include/mcm.h.

  python3 tools/reference.py           writes it
  python3 tools/reference.py --check   fails if it is not what the header says

Everything in the reference is the header's: its sections, declarations and comments. A declaration without a comment is
an error. Functions that follow each other, or a struct, without a blank line share the comment above them; what
mcm_..._init and mcm_..._free do is said once, in the header's conventions.
"""
from __future__ import annotations

import difflib
import os
import re
import sys
from pathlib import Path

from header import Entry, Reader, items

ROOT = Path(__file__).resolve().parents[1]
HEADER, REFERENCE = ROOT / "include" / "mcm.h", ROOT / "docs" / "reference.md"
STATUSES = "INVALID_ARGUMENT|STRUCT_SIZE|SIZE|STATE|INCOMPATIBLE|IO|FORMAT|UNSUPPORTED|OUT_OF_MEMORY"


class Writer:
    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.known: dict[str, Entry] = {}  # in the header's order
        for section in reader.sections:
            for entry in section.entries:
                structs = [entry.initialiser, f"{entry.names[0]}_init"] if entry.initialiser else []
                self.known.update(dict.fromkeys([*entry.names, *structs], entry))

    def link(self, match: re.Match) -> str:
        word = match[0]
        if word.startswith("*"):
            return f"`{word}`"
        if not word.lower().startswith("mcm_"):
            return f"[{word}](#MCM_{'' if word == 'CANCELLED' else 'ERROR_'}{word})"
        name = re.match(r"\w+", word)[0]
        if word.endswith("*"):  # of a group of macros
            first = next((known for known in self.known if known.startswith(name)), None)
            return f"[`{word}`](#{first})" if first else f"`{word}`"
        return f"[`{word}`](#{name})" if name in self.known else f"`{word}`"

    def inline(self, text: str, statuses: str = STATUSES) -> str:
        """What the header says, with links, and nothing in it but *emphasis* taken for markdown."""
        parts = re.split(r"(`[^`]*`|(?<!\w)\*[a-z]\w*\*)", text)
        names = rf"\b(?:mcm|MCM)_[\w.]*(?:\*\w*)?(?<!\.)|\b(?:{statuses})\b|(?<!\w)\*[a-z]\w*"
        for i in range(0, len(parts), 2):
            pieces = re.split(f"({names})", parts[i])
            for j, piece in enumerate(pieces):
                if j % 2:
                    pieces[j] = re.sub(names, self.link, piece)
                else:
                    pieces[j] = re.sub(r"[\\*<>|]", r"\\\g<0>", piece)
            parts[i] = "".join(pieces)
        return "".join(parts).replace("docs/format.md", "[docs/format.md](format.md)").replace(
            "docs/performance.md", "[docs/performance.md](performance.md)").replace(
            "docs/results.md", "[docs/results.md](results.md)")

    def prose(self, comment: str) -> list[str]:
        """Its paragraphs and lists."""
        output: list[str] = []
        for item in items(comment):
            text = self.inline(item.text)
            if item.kind == "title":
                output.append(f"- **{item.name}.** {text}")
            elif item.kind == "argument":
                output.append(f"- `{item.name}`: {text}")
            elif item.kind:
                output.append(f"{item.kind}{self.inline(item.name.rstrip(','))}: {text}")
            else:
                before, found, errors = item.text.partition("Errors: ")
                output += ["", self.inline(before.rstrip())] if before.strip() else []
                output += ["", f"**Errors:** {self.inline(errors, STATUSES + '|CPU|CANCELLED')}"] if found else []
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(output)).strip("\n")
        # A list begins after a blank line.
        return re.sub(r"(?m)^((?!- |\d\. ).+)\n(?=- |\d\. )", r"\1\n\n", text).split("\n")

    def cell(self, text: str) -> str:
        return self.inline(text) or " "

    def anchors(self, names: list[str]) -> str:
        return "".join(f'<a id="{name}"></a>' for name in names)

    def table(self, entry: Entry) -> list[str]:
        if entry.kind == "macros":
            lines = ["| name | value | |", "|---|---|---|"]
            for row in entry.rows:
                lines.append(f"| {self.anchors([row.name])}`{row.name}` | {self.inline(row.type)} | "
                             f"{self.cell(row.comment)} |")
        else:
            lines = ["| type | field | |", "|---|---|---|"]
            for row in entry.rows:
                name = re.sub(r"const |[ *]", "", row.type)
                kind = f"[`{row.type}`](#{name})" if name in self.known else f"`{row.type}`"
                lines.append(f"| {kind} | `{row.name}` | {self.cell(row.comment)} |")
        return lines

    def types(self, entry: Entry) -> list[str]:
        """Links to the structs and handles that its declarations name."""
        words = re.findall(r"\bmcm_\w+\b", " ".join(entry.code))
        types = [word for word in dict.fromkeys(words) if word in self.type_names and word not in entry.names]
        return ["Types: " + ", ".join(f"[`{word}`](#{word})" for word in types) + "."] if types else []

    def entry(self, entry: Entry) -> list[str]:
        lines = []
        if entry.kind == "macros":
            prefix = os.path.commonprefix(entry.names)
            title = f"{prefix}\\*" if len(entry.names) > 1 and prefix.count("_") > 1 else ", ".join(entry.names)
            comment = [*self.prose(entry.comment), ""] if entry.comment else []
            return [f"### {title}", "", *comment, *self.table(entry), ""]
        lines += [f"### {', '.join(entry.names)}", ""]
        if len(entry.names) > 1:
            lines[0:0] = [self.anchors(entry.names), ""]
        if entry.kind != "struct":
            lines += ["```c", *entry.code, "```", ""]
        lines += [*self.prose(entry.comment), ""]
        if entry.kind == "struct":
            lines += [*self.table(entry), ""]
            if entry.initialiser:
                name = entry.names[0]
                lines += [f'{self.anchors([entry.initialiser, name + "_init"])}Initialised with '
                          f"`{entry.initialiser}`, or:", "", "```c", *entry.code, "```", ""]
        else:
            types = self.types(entry)
            lines += [*types, ""] if types else []
        return lines

    def page(self) -> str:
        self.type_names = {name for section in self.reader.sections for entry in section.entries
                           if entry.kind in ("struct", "type") for name in entry.names} - {"mcm_status"}
        title, _, preface = self.reader.preface.partition("\n")
        preface, conventions = preface.split("CONVENTIONS")
        lines = ["<!-- Written by tools/reference.py from include/mcm.h: `make docs`. Edit the header. -->", "",
                 "# C API reference", "", self.inline(title), "", *self.prose(preface), "",
                 "Every text below is [include/mcm.h](../include/mcm.h)'s own. [c.md](c.md) is the introduction.", ""]
        lines += ["## Contents", ""]
        lines.append("- [Conventions](#conventions)")
        for section in self.reader.sections:
            names = [name for entry in section.entries if entry.kind != "macros" for name in entry.names]
            anchor = section.title.lower().replace(" ", "-").replace(":", "")
            links = ", ".join(f"[`{name}`](#{name})" for name in names)
            lines.append(f"- [{section.title}](#{anchor})" + (f": {links}" if links else ""))
        lines += ["", "## Conventions", "", *self.prose(conventions.strip("\n")), ""]
        for section in self.reader.sections:
            lines += [f"## {section.title}", ""]
            lines += [*self.prose(section.introduction), ""] if section.introduction else []
            for entry in section.entries:
                lines += self.entry(entry)
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip("\n") + "\n"


def main() -> None:
    page = Writer(Reader(HEADER.read_text())).page()
    if sys.argv[1:] == ["--check"]:
        found = REFERENCE.read_text() if REFERENCE.exists() else ""
        if found != page:
            sys.stdout.writelines(difflib.unified_diff(found.splitlines(True), page.splitlines(True),
                                                       "docs/reference.md", "what include/mcm.h says"))
            sys.exit("docs/reference.md is not what include/mcm.h says: make docs")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        REFERENCE.write_text(page)


if __name__ == "__main__":
    main()
