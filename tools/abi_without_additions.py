"""abi_without_additions.py OLD NEW: prints NEW, an ABI as abidw writes it, without what programs that were built against
OLD do not see: fields that were added behind a struct's end, if the struct tells its size, and constants.

What is left must be OLD. Added functions are left to abidiff.
"""
import sys
import xml.etree.ElementTree as ET


def by_name(root, tag):
    return {element.get("name"): element for element in root.iter(tag) if element.get("is-declaration-only") != "yes"}


def remove_fields(struct, old):
    fields = struct.findall("data-member")
    if not fields or fields[0].find("var-decl").get("name") != "struct_size":
        return
    end = int(old.get("size-in-bits"))
    added = [field for field in fields if int(field.get("layout-offset-in-bits")) >= end]
    for field in added:
        struct.remove(field)
    if added:
        struct.set("size-in-bits", str(end))


def remove_constants(enum, old):
    known = {constant.get("name") for constant in old.findall("enumerator")}
    for constant in enum.findall("enumerator"):
        if constant.get("name") not in known:
            enum.remove(constant)


old, new = (ET.parse(path).getroot() for path in sys.argv[1:])
for tag, remove in ("class-decl", remove_fields), ("enum-decl", remove_constants):
    known = by_name(old, tag)
    for name, element in by_name(new, tag).items():
        if name in known:
            remove(element, known[name])
ET.dump(new)
