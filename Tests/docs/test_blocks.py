"""What the pages' code blocks are taken for."""
from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

import hosts
from blocks import PageError, blocks
from run import jobs


def page(text: str) -> list:
    return blocks("page.md", text)


class BlockTests(unittest.TestCase):
    def test_blocks(self):
        first, second, third = page(
            "text\n```python\na = 1\n```\n<!-- not run: needs weights -->\n\n```sh\nmake\n```\n"
            "- item\n\n  ```c\n  int x;\n  ```\n")
        self.assertEqual((first.line, first.language, first.code, first.not_run), (3, "python", "a = 1\n", None))
        self.assertEqual((second.language, second.not_run), ("sh", "needs weights"))
        self.assertEqual((third.code, third.not_run), ("int x;\n", None))

    def test_errors(self):
        for text, message in [
            ("```\nx\n```\n", "page.md:1: the code block's language is '', expected one of "),
            ("```bash\nx\n```\n", "page.md:1: the code block's language is 'bash', expected one of "),
            ("```rust,ignore\nx\n```\n", "page.md:1: the code block's language is 'rust' with 'ignore', expected one "),
            ("```c\nx\n", "page.md:1: the code block has no end, expected ```"),
            ("<!-- only built: slow -->\n```sh\nx\n```\n", "sh is not built, expected <!-- not run"),
            ("text\n\n    make\n", "page.md:3: an indented code block, expected a fenced one"),
            ("```json\n{x}\n```\n", "page.md:1: Expecting property name"),
            ("<!-- not run: -->\n```c\nx\n```\n", "says nothing, expected a reason"),
            ("<!-- notrun: weights -->\n```c\nx\n```\n", "expected <!-- not run: REASON -->, "),
            ("<!-- file: a.c -->\n```c\nx\n```\n", "nothing uses a.c, expected an sh block that does"),
            ("<!-- file: ../a.c -->\n```c\nx\n```\n", "the file's name is '../a.c', expected one without folders"),
        ]:
            with self.assertRaises(PageError) as raised:
                page(text)
            self.assertIn(message, str(raised.exception))

    def test_parts_of_a_page_are_one_program(self):
        text = ("```python\na = 1\n```\n```c\nint x = 1;\n```\n```c\nint main(void) { return 0; }\n```\n"
                "```python\nassert a == 1\n```\n```c\nx++;\n```\n```json\n{}\n```\n")
        self.assertEqual([[block.line for block in job] for job in jobs(page(text))], [[8], [2, 11], [5, 14]])

    def test_a_part_that_names_the_library_begins_a_program(self):
        text = "".join(f"```swift\n{code}\n```\n" for code in (
            "import LibMCM\nlet a = 1", "print(a)", "import LibMCM\nlet a = 2", "import PackageDescription"))
        self.assertEqual([[block.line for block in job] for job in jobs(page(text))], [[2, 6], [9], [13]])

    def test_failures_name_the_line(self):
        with tempfile.TemporaryDirectory() as name:
            for language, code, place in [
                ("python", "a = 1\nb = a / 0", 'page.md", line 3'),
                ("c", "int a = 1;\nint b = c;", "page.md:3:"),
                ("c", "#include <time.h>\ntime_t now = time(NULL) + b;", "page.md:3:"),
            ]:
                job = page(f"```{language}\n{code}\n```\n")
                with self.assertRaises(hosts.Failed) as raised:
                    for command in hosts.HOSTS[language](job, Path(name), language):
                        hosts.run(command, Path(name))
                self.assertIn(place, str(raised.exception))


if __name__ == "__main__":
    unittest.main()
