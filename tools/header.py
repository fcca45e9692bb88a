"""include/mcm.h as sections of declarations with their comments, for tools/reference.py."""
from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field


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


def comment_text(raw: str) -> str:
    """A comment without its stars: lines, indented as they were."""
    first, *others = raw.strip()[2:-2].rstrip().split("\n")
    lines = [first.removeprefix(" "), *(re.sub(r"^ \* ?", "", line) for line in others)]
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def one_line(text: str) -> str:
    return " ".join(text.split())


@dataclass
class Item:
    """A paragraph, or an item of a list."""

    kind: str  # "" (a paragraph), "title", "argument", or an item's number such as "1. "
    name: str = ""
    text: str = ""


def items(comment: str) -> list[Item]:
    """What a comment consists of. An indented line begins an item, whose text stands two spaces or more after its name;
    deeper ones go on, in both columns where the item has a number."""
    found: list[Item] = []
    for line in comment.split("\n"):
        last = found[-1] if found else Item("")
        title = re.match(r"(\w+)\.  +(.*)$", line)
        begins = re.match(r" {2,3}(\d\. )?(\S+(?: \S+)*?)(?:  +(.*))?$", line)
        goes_on = re.match(r" {4,}(\S+(?: \S+)*?)(?:  +(.*))?$", line)
        if not line.strip():
            found.append(Item(""))
        elif title:
            found.append(Item("title", title[1], title[2]))
        elif goes_on and last.kind:
            indentation = len(line) - len(line.lstrip())
            if last.kind in ("title", "argument") or indentation > 8:
                last.text += " " + line.strip()
            else:
                last.name += " " + goes_on[1]
                last.text += " " + (goes_on[2] or "")
        elif begins and begins[1]:
            found.append(Item(begins[1], begins[2], begins[3] or ""))
        elif begins:
            name, text = (begins[2], begins[3]) if begins[3] else begins[2].partition(" ")[::2]  # a long name
            found.append(Item("argument", name, text))
        elif last.kind == "" and last.text and not line.startswith("Errors: "):
            last.text += " " + line
        else:
            found.append(Item("", text=line))
    for item in found:
        item.text = one_line(item.text)
    return found


def fields(body: str) -> list[Row]:
    """Those of one type may share a line. Anything else ends the program, so that the reference leaves nothing out."""
    name = r"\**\w+(?:\[\w+\])?"
    field = re.compile(rf"\s*((?:const )?\w+(?: \*const)?) ({name}(?:,\s+{name})*);[ ]*(?:/\*(.*?)\*/)?", re.S)
    rows, position = [], 0
    while body[position:].strip():
        match = field.match(body, position)
        stars = {re.match(r"\**", one)[0] for one in match[2].replace(",", " ").split()} if match else set()
        if match is None or len(stars) != 1:
            line = body[position:].strip().split("\n")[0]
            sys.exit(f"include/mcm.h: {line!r} is no field that tools/reference.py knows")
        names = one_line(match[2]).replace("*", "")
        rows.append(Row(names, f"{match[1]} {stars.pop()}".strip(), one_line(match[3] or "")))
        position = match.end()
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
