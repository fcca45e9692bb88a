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
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADER, REFERENCE = ROOT / "include" / "mcm.h", ROOT / "docs" / "reference.md"
STATUSES = "INVALID_ARGUMENT|STRUCT_SIZE|SIZE|STATE|INCOMPATIBLE|IO|FORMAT|UNSUPPORTED|OUT_OF_MEMORY"


@dataclass
class Row:
    """A macro or a struct's field."""

    name: str
    type: str  # of a macro: its value
    comment: str


@dataclass
class Entry:
    kind: str  # "functions", "struct", "type" or "macros"
    names: list[str]
    comment: str
    code: list[str] = field(default_factory=list)  # prototypes; of a struct that of its init function
    rows: list[Row] = field(default_factory=list)
    initialiser: str = ""


@dataclass
class Section:
    title: str
    introduction: str
    entries: list[Entry] = field(default_factory=list)


# Reading the header


def comment_text(raw: str) -> str:
    """A comment without its stars: lines, indented as they were."""
    first, *others = raw.strip()[2:-2].rstrip().split("\n")
    lines = [first.removeprefix(" "), *(re.sub(r"^ \* ?", "", line) for line in others)]
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def one_line(text: str) -> str:
    return " ".join(text.split())


def fields(body: str) -> list[Row]:
    rows = []
    for declaration, comment in re.findall(r"([^;/]+;)\s*(?:/\*(.*?)\*/)?", body, re.S):
        declaration = one_line(declaration)
        base, names = re.match(r"((?:const )?\w+(?: \*const)?) (.*);", declaration).groups()
        stars = re.match(r"\**", names)[0]
        rows.append(Row(names.replace("*", ""), f"{base} {stars}".strip(), one_line(comment)))
    return rows


class Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.preface = comment_text(re.match(r"/\*.*?\*/", text, re.S)[0])
        self.sections = [Section("Version", "")]
        self.comment: str | None = None
        self.last: Entry | None = None  # what a declaration that follows at once goes with
        self.missing: list[str] = []  # declarations without a comment
        body = re.sub(r"#ifdef __cplusplus\n.*\n#endif\n", "", text[text.index("#ifndef MCM_H") :])
        self.read(re.sub(r"#ifndef MCM_H\n#define MCM_H\n|#include .*\n|#endif.*", "", body))
        if self.missing:
            sys.exit("\n".join(f"include/mcm.h: {name} has no comment, expected one above it or beside it"
                               for name in self.missing))

    def read(self, text: str) -> None:
        patterns = [
            (r"\n", self.blank_line),
            (r"/\* -{20,}.*?\*/\n", self.section),
            (r"/\*.*?\*/\n", self.above),
            (r"#define (\w+) ((?:[^/\n]|\\\n)*?(?:\\\n(?:[^/\n]|\\\n)*?)*)[ ]*(/\*.*?\*/)?\n", self.macro),
            (r"typedef struct (\w+) \{\n(.*?)\n\} \w+;\n", self.struct),
            (r"typedef [^{};]*?(\w+)\)?(?:\([^{};]*\))?;[ ]*(/\*.*?\*/)?\n", self.type),
            (r"\w[\w ]*?\*?(mcm_\w+)\([^;]*?\);\n", self.function),
        ]
        compiled = [(re.compile(pattern, re.S), action) for pattern, action in patterns]
        position = 0
        while position < len(text):
            for pattern, action in compiled:
                match = pattern.match(text, position)
                if match:
                    action(match)
                    position = match.end()
                    break
            else:
                line = text[position:].split("\n")[0]
                sys.exit(f"include/mcm.h: {line!r} is no declaration that tools/reference.py knows")

    def add(self, entry: Entry) -> None:
        self.sections[-1].entries.append(entry)
        self.last, self.comment = entry, None

    def blank_line(self, _: re.Match) -> None:
        self.comment = self.last = None

    def section(self, match: re.Match) -> None:
        lines = [line[3:] for line in match[0].split("\n")[1:-2]]
        self.sections.append(Section(lines[0].strip(), "\n".join(lines[1:]).strip("\n")))

    def above(self, match: re.Match) -> None:
        self.comment, self.last = comment_text(match[0]), None

    def macro(self, match: re.Match) -> None:
        name, value, beside = match[1], one_line(match[2].replace("\\\n", " ")), match[3]
        if name.endswith("_INIT"):
            struct = self.struct_of(name[:-5].lower())
            struct.initialiser, self.last = name, struct
            return
        row = Row(name, value, one_line(comment_text(beside)) if beside else "")
        if not (row.comment or self.comment or self.last and self.last.kind == "macros" and self.last.comment):
            self.missing.append(name)
        # A comment above a later macro of a group begins a new one.
        if self.last and self.last.kind == "macros" and self.comment is None:
            self.last.rows.append(row)
            self.last.names.append(name)
        else:
            self.add(Entry("macros", [name], self.comment or "", rows=[row]))

    def struct(self, match: re.Match) -> None:
        if self.comment is None:
            self.missing.append(match[1])
        self.add(Entry("struct", [match[1]], self.comment or "", rows=fields(match[2])))

    def struct_of(self, name: str) -> Entry:
        for section in self.sections:
            for entry in section.entries:
                if entry.kind == "struct" and name in entry.names:
                    return entry
        sys.exit(f"include/mcm.h: there is no struct {name} for {name.upper()}_INIT")

    def type(self, match: re.Match) -> None:
        comment = comment_text(match[2]) if match[2] else self.comment
        if comment is None:
            self.missing.append(match[1])
        code = re.sub(r"[ ]*/\*.*", "", match[0].rstrip("\n"), flags=re.S)
        self.add(Entry("type", [match[1]], comment or "", [code]))

    def function(self, match: re.Match) -> None:
        name, code = match[1], match[0].rstrip("\n")
        if name.endswith("_init"):
            struct = self.struct_of(name[:-5])
            struct.code.append(code)
            if self.comment:
                struct.comment += "\n\n" + self.comment.replace("Same as", f"{name} does the same as")
            self.comment, self.last = None, struct
        elif self.comment is None and self.last and self.last.kind in ("functions", "struct"):
            self.last.names.append(name)
            self.last.code.append(code)
        elif self.comment is None and name.endswith("_free"):
            self.add(Entry("functions", [name], "Releases it; NULL is fine.", [code]))
        else:
            if self.comment is None:
                self.missing.append(name)
            self.add(Entry("functions", [name], self.comment or "", [code]))


# Writing markdown


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
        """Paragraphs and lists of a comment. An indented line begins an item, whose text stands two spaces or more
        after its name; deeper ones go on."""
        lines: list[list[str]] = []  # [begin of the paragraph or item, left column, right column]
        for line in comment.split("\n"):
            item = re.match(r"  ?(?: ?)(\d\. )?(\S+(?: \S+)*?)(?:  +(.*))?$", line)
            deeper = re.match(r" {4,}(\S+(?: \S+)*?)(?:  +(.*))?$", line)
            title = re.match(r"(\w+)\.  +(.*)$", line)
            if not line.strip():
                lines.append(["", "", ""])
            elif title:
                lines.append(["title", title[1], title[2]])
            elif deeper and lines and lines[-1][0]:
                aligned = lines[-1][0] in ("title", "argument") or len(line) - len(line.lstrip()) > 8
                if aligned:
                    lines[-1][2] += " " + line.strip()
                else:
                    lines[-1][1] += " " + deeper[1]
                    lines[-1][2] += " " + (deeper[2] or "")
            elif item and line.startswith("  "):
                if not item[3] and not item[1]:  # a long name, one space from its text
                    item = re.match(r"(?: +)()?(\S+) (.*)", line)
                lines.append(["argument" if not item[1] else item[1], item[2], item[3] or ""])
            elif lines and lines[-1][0] == "" and lines[-1][2]:
                if line.startswith("Errors: "):
                    lines.append(["", "", line])
                else:
                    lines[-1][2] += " " + line
            else:
                lines.append(["", "", line])
        output: list[str] = []
        for kind, left, right in lines:
            right = one_line(right)
            if kind == "title":
                output.append(f"- **{left}.** {self.inline(right)}")
            elif kind == "argument":
                output.append(f"- `{left}`: {self.inline(right)}")
            elif kind:
                output.append(f"{kind}{self.inline(left.rstrip(','))}: {self.inline(right)}")
            else:
                before, found, errors = right.partition("Errors: ")
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
