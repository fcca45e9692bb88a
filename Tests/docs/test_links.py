"""Links between the repository's pages lead somewhere: to a file, and to a heading or an anchor in it."""
from __future__ import annotations

import re
import subprocess
import unittest
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[2]


def prose(text: str) -> str:
    """Without code."""
    text = re.sub(r"^( *)(`{3,}|~{3,}).*?^ *\2\s*$", "", text, flags=re.M | re.S)
    return re.sub(r"(?<!`)`[^`\n]+`(?!`)", "`code`", text)


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings, and those that the page sets."""
    found, seen = set(re.findall(r'<a id="([^"]+)"', text)), Counter[str]()
    for heading in re.findall(r"^#+ +(.*?) *$", re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.M | re.S), re.M):
        heading = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading.replace("`", "").replace("\\", ""))
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        seen[slug] += 1
        found.add(slug if seen[slug] == 1 else f"{slug}-{seen[slug] - 1}")
    return found


# Pages of hosts that come with their bindings.
HOST_PAGES = {"cpp.md": "bindings/cpp", "rust.md": "bindings/rust", "swift.md": "examples/swift",
              "cli.md": "examples/swift"}


def problems(page: Path) -> list[str]:
    found = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        place = f"{page.relative_to(ROOT)}: {link}"
        if target.parent == ROOT / "docs" and not (ROOT / HOST_PAGES.get(target.name, ".")).exists():
            print(f"skip {place}: {HOST_PAGES[target.name]} is not there")
        elif not target.exists():
            found.append(f"{place}: there is no {path}")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text()):
            found.append(f"{place}: {path or 'the page'} has no #{anchor}")
    return found


class LinkTests(unittest.TestCase):
    def test_links(self):
        listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "*.md"],
                                capture_output=True, text=True)
        pages = [ROOT / line for line in listed.stdout.split("\n") if line]
        if listed.returncode:  # from a tarball
            pages = [page for page in ROOT.rglob("*.md") if not {"build", ".build"} & set(page.parts)]
        self.assertGreater(len(pages), 9)
        found = [problem for page in pages if page.exists() for problem in problems(page)]
        self.assertEqual(found, [])

    def test_all_pages_are_in_the_index(self):
        index = (ROOT / "docs" / "README.md").read_text()
        for page in (ROOT / "docs").rglob("*.md"):
            path = str(page.relative_to(ROOT / "docs"))
            if path != "README.md":
                self.assertIn(f"]({path})", index)

    def test_sources_that_pages_name_are_there(self):
        sources = {path.relative_to(ROOT / "Sources").as_posix() for path in ROOT.glob("Sources/**/*.swift")}
        names = sources | {source.split("/")[-1] for source in sources}
        for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]:
            for name in re.findall(r"`([\w/+]+\.swift)`", page.read_text()):
                self.assertIn(name, names, page)

    def test_what_leads_nowhere_is_found(self):
        page = ROOT / "build" / "links.md"
        page.parent.mkdir(exist_ok=True)
        page.write_text("# A `heading`\n[a](#a-heading) [b](no.md) [c](#no) `[d](no.md)`\n```text\n[e](no.md)\n```\n")
        found = problems(page)
        page.unlink()
        self.assertEqual(found, ["build/links.md: no.md: there is no no.md",
                                 "build/links.md: #no: the page has no #no"])


if __name__ == "__main__":
    unittest.main()
