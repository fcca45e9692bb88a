"""The C API's reference is what the header says, and tools/reference.py says what it misses."""
from __future__ import annotations

import re
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import reference  # noqa: E402

HEADER = (ROOT / "include" / "mcm.h").read_text()
PAGE = (ROOT / "docs" / "reference.md").read_text()
CODE = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.S)


class ReferenceTests(unittest.TestCase):
    def failure(self, header: str) -> str:
        with self.assertRaises(SystemExit) as raised:
            reference.Writer(reference.Reader(header)).page()
        return str(raised.exception)

    def test_page_is_up_to_date(self):
        run = subprocess.run([sys.executable, ROOT / "tools" / "reference.py", "--check"],
                             capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stdout[-2000:] + run.stderr)

    def test_everything_declared_is_there_once(self):
        names = set(re.findall(r"\b(mcm_\w+)\(", CODE)) | set(re.findall(r"#define (MCM_\w+) ", CODE))
        names |= set(re.findall(r"typedef .*?\b(mcm_\w+)(?:\)\(.*\)| \{)?;?$", CODE, re.M))
        self.assertGreater(len(names), 230)
        for name in sorted(names - {"MCM_H"}):
            headings = len(re.findall(rf"^### {name}$", PAGE, re.M)) if name.islower() else 0
            self.assertEqual(PAGE.count(f'<a id="{name}"></a>') + headings, 1, name)

    def test_every_field_is_there(self):
        for name, body in re.findall(r"typedef struct (\w+) \{(.*?)\} \1;", CODE, re.S):
            entry = re.search(rf"^### {name}\b.*?(?=^### )", PAGE, re.M | re.S)[0]
            for field in re.findall(r"(\w+)(?:\[\d+\])?(?=[,;])", body):
                self.assertRegex(entry, rf"`[^`|]*\b{field}\b[^`|]*` \|", f"{name}.{field}")

    def test_every_word_of_the_comments_is_there(self):
        def words(text: str) -> list[str]:
            return re.findall(r"[a-z0-9]+", text.lower())

        there = set(words(PAGE))
        for comment in re.findall(r"/\*(.*?)\*/", HEADER, re.S):
            for word in words(comment):
                self.assertIn(word, there, comment)

    def test_a_declaration_without_a_comment_fails(self):
        for line, name in [
            ("mcm_status mcm_new(int32_t number);\n", "mcm_new"),
            ("typedef struct mcm_new {\n    int32_t number;\n} mcm_new;\n", "mcm_new"),
            ("typedef struct mcm_new mcm_new;\n", "mcm_new"),
            ("#define MCM_NEW 1\n", "MCM_NEW"),
        ]:
            header = HEADER.replace("/* A view of the caller's pixels", f"{line}\n/* A view of the caller's pixels")
            self.assertEqual(self.failure(header),
                             f"include/mcm.h: {name} has no comment, expected one above it or beside it")

    def test_what_is_no_declaration_fails(self):
        header = HEADER.replace("/* A view of the caller's pixels", "static int x;\n/* A view of the caller's pixels")
        self.assertIn("'static int x;' is no declaration", self.failure(header))

    def test_a_changed_comment_changes_the_page(self):
        header = HEADER.replace("A view of the caller's", "A sight of the caller's")
        changed = reference.Writer(reference.Reader(header)).page()
        self.assertNotEqual(changed, PAGE)
        self.assertIn("A sight of the caller's pixels", changed)


if __name__ == "__main__":
    unittest.main()
