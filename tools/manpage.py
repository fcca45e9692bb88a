"""The manual page of a program that is made with swift-argument-parser, from what `mcm --experimental-dump-help` says.

mcm --experimental-dump-help | manpage.py VERSION > mcm.1
"""
import json
import sys


def escape(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in text.split("\n"))


def name(argument: dict) -> str:
    dashes = "-" if argument["kind"] == "short" else "--"
    return "\\fB" + escape(dashes + argument["name"]) + "\\fR"


def value(argument: dict) -> str:
    return "\\fI" + escape(argument["valueName"]) + "\\fR"


def discussion(text: str, level: str) -> list[str]:
    """Paragraphs; a line of capitals is a heading, indented lines stay as they are."""
    lines, is_block = [], False
    for line in text.split("\n"):
        if line.startswith("  ") != is_block and line:
            is_block = not is_block
            lines.append(".nf\n.RS 2" if is_block else ".RE\n.fi")
        if line.isupper():
            lines.append(f".{level} {escape(line)}")
        else:
            lines.append(escape(line.strip() if not line.startswith("      ") else "    " + line.strip()) or ".PP")
    return lines + ([".RE\n.fi"] if is_block else [])


def options(command: dict) -> list[str]:
    lines, merged = [], []
    for argument in command.get("arguments", []):
        if not argument["shouldDisplay"]:
            continue
        if merged and argument["kind"] == "flag" and merged[-1]["abstract"] == argument.get("abstract"):
            merged[-1]["names"] = merged[-1]["names"] + argument["names"]  # --x and --no-x
        else:
            merged.append(dict(argument))
    for argument in merged:
        title = ", ".join(map(name, sorted(argument.get("names", []), key=lambda n: n["kind"] == "long")))
        if argument["kind"] == "positional":
            title = value(argument)
        elif argument["kind"] == "option":
            title += " " + value(argument)
        text = escape(argument.get("abstract", ""))
        if argument.get("defaultValue"):
            text += " Default: " + escape(argument["defaultValue"]) + "."
        if argument.get("allValues"):
            text += " One of " + escape(", ".join(argument["allValues"])) + "."
        if argument["isRepeating"]:
            text += " May be given several times."
        lines += [".TP", title, text]
    return lines


root = json.load(sys.stdin)["command"]
page = [f'.TH MCM 1 "" "libmcm {sys.argv[1]}" "User Commands"', ".SH NAME",
        "mcm \\- " + escape(root["abstract"][0].lower() + root["abstract"][1:].rstrip(".")), ".SH SYNOPSIS",
        "\\fBmcm\\fR \\fIcommand\\fR [\\fIoption\\fR ...]", ".SH DESCRIPTION",
        *discussion(root.get("discussion", ""), "SH"), ".SH OPTIONS", *options(root), ".SH COMMANDS"]
for command in root["subcommands"]:
    if command["commandName"] == "help" or not command["shouldDisplay"]:
        continue
    positional = [value(a) for a in command["arguments"] if a["kind"] == "positional"]
    synopsis = [f"\\fBmcm {command['commandName']}\\fR", *positional, "[\\fIoption\\fR ...]"]
    page += [f".SS mcm {command['commandName']}", " ".join(synopsis), ".PP", escape(command["abstract"]), ".PP",
             *(line for line in discussion(command.get("discussion", ""), "PP\n.B")),
             *options({"arguments": [a for a in command["arguments"]
                                     if a.get("valueName") not in ("version", "help")]})]
page += [".SH SEE ALSO", "The library's documentation: docs/cli.md and docs/format.md of its sources, or of Debian's package "
         "libmcm\\-dev in /usr/share/doc/libmcm\\-dev."]
print("\n".join(page))
