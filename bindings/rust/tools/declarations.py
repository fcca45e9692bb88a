#!/usr/bin/env python3
"""Writes mcm-sys/src/lib.rs, and the table that its test compares with C, from include/mcm.h: declarations.py [--check]

With --check nothing is written, and the exit status is 1 if a file is not what would be written.
"""
import re
import subprocess
import sys
import textwrap
from pathlib import Path

RUST = Path(__file__).resolve().parents[1]
HEADER = (RUST / "../../include/mcm.h").resolve().read_text()
LIBRARY = RUST / "mcm-sys/src/lib.rs"
LAYOUTS = RUST / "mcm-sys/tests/header/layouts.rs"

NUMBERS = {
    "int32_t": "i32", "uint32_t": "u32", "uint64_t": "u64", "uint8_t": "u8", "size_t": "usize", "float": "f32",
    "double": "f64", "char": "c_char", "void": "c_void",
}
KEYWORDS = {"type"}

# A comment, and what may stand after it or before it.
COMMENT = re.compile(r"/\*(.*?)\*/", re.S)
ITEM = re.compile(
    r"/\*(?P<comment>.*?)\*/"
    r"|#define (?P<define>MCM_\w+) (?P<value>\d+)\b"
    r"|typedef struct (?P<struct>\w+) \{(?P<fields>.*?)\n\} \w+;"
    r"|typedef struct (?P<opaque>\w+) \w+;"
    r"|typedef int32_t \(\*(?P<callback>\w+)\)\((?P<parameters>[^()]*)\);"
    r"|typedef (?P<number>\w+) (?P<alias>\w+);"
    r"|(?P<result>[\w ]+?\*?) ?(?P<function>mcm_\w+)\((?P<arguments>[^()]*)\);",
    re.S,
)
FIELD = re.compile(r"\s*(?P<declaration>[^;/]+);|\s*/\*(?P<comment>.*?)\*/", re.S)


def text(comment: str) -> str:
    """A comment's words: a line for each paragraph and for each entry of a list ("  name   what it is")."""
    lines = [""]
    for number, line in enumerate(comment.splitlines()):
        starred = re.match(r" \* ?", line) if number else re.match(" ", line)
        line = line[starred.end() :] if starred else line.lstrip()
        entry = starred and re.match(r"  (\w+)  +(.*)", line)
        if entry:
            lines.append(f"- {entry[1]}: {entry[2]}")
        elif starred and (not line or (lines[-1].startswith("-") and not line.startswith(" "))):
            lines.append(line)
        else:
            lines[-1] += " " + line.strip()
    return "\n".join(line.strip() for line in lines)


def documentation(comment: str, indent: str = "") -> str:
    """A comment as lines of documentation, without marks that rustdoc would take for links or emphasis."""
    paragraphs = []
    for paragraph in re.sub(r"([\[\]<>*`|])", r"\\\1", comment).split("\n"):
        hanging = "  " if paragraph.startswith("- ") else ""
        lines = textwrap.wrap(paragraph, 116 - len(indent), subsequent_indent=hanging, break_long_words=False)
        apart = paragraphs and not (hanging and paragraphs[-1][-1:] and paragraphs[-1][0].startswith("- "))
        paragraphs += [[""]] * bool(apart and lines) + [lines] * bool(lines)
    return "".join(f"{indent}/// {line}".rstrip() + "\n" for lines in paragraphs for line in lines)


def rust_type(base: str, stars: str, constant: bool) -> str:
    name = NUMBERS.get(base, base)
    if base == "mcm_progress" or re.fullmatch(r"mcm_\w+_progress", base):
        return f"Option<{name}>"
    if stars:
        name = f"*{'const' if constant else 'mut'} {name}"
        for star in stars[1:]:
            # "const char *const *": what the inner pointer leads to is not written either.
            name = f"*{'const' if constant else 'mut'} {name}"
    return name


def declared(declaration: str):
    """(name, type) of each variable of a C declaration, e.g. "const float *a" or "uint32_t width, height"."""
    constant, base, rest = re.match(r"\s*(const )?(\w+)\s*(.*)", declaration.replace("*const *", "**"), re.S).groups()
    for variable in rest.split(","):
        stars, name, length = re.match(r"\s*(\**)\s*(\w+)(?:\[(\d+)\])?\s*$", variable).groups()
        kind = rust_type(base, stars, bool(constant))
        yield (f"r#{name}" if name in KEYWORDS else name), (f"[{kind}; {length}]" if length else kind)


def arguments(declaration: str) -> str:
    if declaration.strip() == "void":
        return ""
    return ", ".join(f"{name}: {kind}" for part in declaration.split(",") for name, kind in declared(part))


def struct(name: str, body: str) -> str:
    """Comments that stand after a field on its line are the field's; one on a line of its own is left out."""
    fields = []
    for item in FIELD.finditer(body):
        if item["declaration"]:
            fields += [[field, kind, ""] for field, kind in declared(item["declaration"])]
            group = len(list(declared(item["declaration"])))
        elif fields:
            for field in fields[-group:]:
                field[2] = (field[2] + " " + text(item["comment"])).strip()
    lines = "".join(f"{documentation(comment, '    ')}    pub {field}: {kind},\n" for field, kind, comment in fields)
    return f"#[repr(C)]\n#[derive(Clone, Copy, Debug)]\npub struct {name} {{\n{lines}}}\n"


def library() -> str:
    """The declarations."""
    body = HEADER[HEADER.index('extern "C" {') : HEADER.rindex("#ifdef __cplusplus")]
    version = [re.search(rf"MCM_VERSION_{part} (\d+)", HEADER)[1] for part in ("MAJOR", "MINOR", "PATCH")]
    out, functions, comment, end = [], [], "", 0
    for part, value in zip(("MAJOR", "MINOR", "PATCH"), version):
        out.append(f"pub const MCM_VERSION_{part}: u32 = {value};\n")
    out.append("/// One number to compare.\npub const MCM_VERSION: u32 =\n"
               "    MCM_VERSION_MAJOR * 1_000_000 + MCM_VERSION_MINOR * 1_000 + MCM_VERSION_PATCH;\n")
    for item in ITEM.finditer(body):
        between = body[end : item.start()]
        end = item.end()
        if item["comment"] is not None:
            # A comment after a declaration, on its line, belongs to that; else to what follows.
            if "\n" not in between and out and item.start():
                last = functions if body[: item.start()].rstrip().endswith(");") else out
                last[-1] = documentation(text(item["comment"])) + re.sub("///.*\n", "", last[-1])
                comment = ""
            else:
                comment = text(item["comment"]) if "-----" not in item["comment"] else ""
            continue
        if "\n\n" in between:
            comment = ""
        docs, comment = documentation(comment, "    " if item["function"] else ""), ""
        if item["define"]:
            kind = "i32"
            out.append(f"{docs}pub const {item['define']}: {kind} = {item['value']};\n")
        elif item["struct"]:
            out.append(docs + struct(item["struct"], item["fields"]))
        elif item["opaque"]:
            out.append(f"{docs}#[repr(C)]\npub struct {item['opaque']} {{\n    _nothing: [u8; 0],\n    _kind: Opaque,\n}}\n")
        elif item["callback"]:
            out.append(f"{docs}pub type {item['callback']} =\n"
                       f"    unsafe extern \"C\" fn({arguments(item['parameters'])}) -> i32;\n")
        elif item["alias"]:
            out.append(f"{docs}pub type {item['alias']} = {NUMBERS[item['number']]};\n")
        else:
            result = item["result"].strip()
            kind = "" if result == "void" else " -> " + next(declared(result + " _"))[1]
            functions.append(f"{docs}    pub fn {item['function']}({arguments(item['arguments'])}){kind};\n")
    return (
        "//! Raw declarations of libmcm: `include/mcm.h` in Rust, whose beginning says what holds for all of it. The\n"
        "//! crate `mcm` is the safe way to use them.\n"
        "//!\n"
        "//! Written by `tools/declarations.py`; do not edit.\n"
        "#![allow(non_camel_case_types)]\n\n"
        "use std::marker::{PhantomData, PhantomPinned};\nuse std::os::raw::{c_char, c_void};\n\n"
        "/// What a handle points to: nothing that Rust may move, or take for shared between threads.\n"
        "type Opaque = PhantomData<(*mut u8, PhantomPinned)>;\n\n"
        + re.sub(r"\n\n(?=pub const)", "\n", "\n".join(out)) + '\nextern "C" {\n' + "".join(functions) + "}\n"
    )


def layouts(source: str) -> str:
    """A function that lists the structs and constants of the declarations, as the test has C list them."""
    lines = []
    for name, body in re.findall(r"pub struct (mcm_\w+) \{(.*?)\}", source, re.S):
        fields = re.findall(r"pub ([\w#]+):", body)
        if fields:
            lines.append(f"    layout!(out, {name}, {', '.join(fields)});\n")
    lines += [f"    constant!(out, {name});\n" for name in re.findall(r"pub const (MCM_\w+):", source)]
    return (
        "//! Written by `tools/declarations.py`; do not edit.\nuse mcm_sys::*;\nuse std::fmt::Write;\n\n"
        "/// Field by field its offset and size; NAME.FIELD OFFSET SIZE.\n"
        "macro_rules! layout {\n    ($out:ident, $name:ident, $($field:ident),*) => {\n"
        "        let place = std::mem::MaybeUninit::<$name>::uninit();\n"
        "        writeln!($out, \"{} {}\", stringify!($name), std::mem::size_of::<$name>()).unwrap();\n"
        "        // SAFETY: the fields' addresses are taken, and not what is there.\n"
        "        $(let field = unsafe { std::ptr::addr_of!((*place.as_ptr()).$field) };\n"
        "        let offset = field as usize - place.as_ptr() as usize;\n"
        "        let field_name = stringify!($field).trim_start_matches(\"r#\");\n"
        "        writeln!($out, \"{}.{} {} {}\", stringify!($name), field_name, offset, size(field)).unwrap();)*\n"
        "    };\n}\n\n"
        "macro_rules! constant {\n    ($out:ident, $name:ident) => {\n"
        "        writeln!($out, \"{} {}\", stringify!($name), $name).unwrap();\n    };\n}\n\n"
        "fn size<T>(_: *const T) -> usize {\n    std::mem::size_of::<T>()\n}\n\n"
        "pub fn all() -> String {\n    let mut out = String::new();\n" + "".join(lines) + "    out\n}\n"
    )


def words(source: str) -> str:
    """What is left of a source when its layout is taken away: rustfmt need not be there to compare."""
    return re.sub(r"[\s,{}]|///", "", source)


if __name__ == "__main__":
    declarations = library()
    for path, wanted in ((LIBRARY, declarations), (LAYOUTS, layouts(declarations))):
        if sys.argv[1:] == ["--check"]:
            if words(path.read_text()) != words(wanted):
                sys.exit(f"{path} is not what include/mcm.h says: run {__file__}")
        else:
            path.write_text(wanted)
    if sys.argv[1:] != ["--check"]:
        subprocess.run(["cargo", "fmt", "--package", "mcm-sys"], cwd=RUST, check=True)
