"""The checks of the documents find what is wrong."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from unittest import mock

import book
import documents
from common import ROOT, StackError

# In two parts, so that this file is not where the name is found.
ABSENT = "no_such" + "_name"

PAGE = f"""# A page

[a heading](#a-page), [another](#no-heading), [a file](missing.md), ![a picture](missing.svg)

`infra/local/main.py`, `local/main.py`, `Stack` and `free_port()` exist; `infra/local/nothing.py`, `{ABSENT}` and
`Stack::{ABSENT}` do not. `own_name` is in the code below.

```python
own_name = 1
```
"""


class Documents(unittest.TestCase):
    """What each check reports about a page."""

    def setUp(self) -> None:
        # Within the repository, as the reports name pages by their path in it.
        folder = tempfile.TemporaryDirectory(dir=ROOT / "target" if (ROOT / "target").is_dir() else ROOT)
        self.addCleanup(folder.cleanup)
        self.docs = Path(folder.name)
        self.page = self.docs / "page.md"
        self.page.write_text(PAGE)
        (self.docs / "SUMMARY.md").write_text("# Summary\n\n- [A page](page.md)\n")
        for name, value in {"DOCS": self.docs, "documents": lambda: [self.page]}.items():
            patch = mock.patch.object(documents, name, value)
            patch.start()
            self.addCleanup(patch.stop)

    def reported(self, check: object) -> list[str]:
        """Returns the lines of what a check reports, without the first and the path of the page."""
        with self.assertRaises(StackError) as raised:
            check()  # type: ignore[operator]
        return [line.partition(": ")[2] for line in str(raised.exception).splitlines()[1:]]

    def test_broken_links(self) -> None:
        self.assertEqual(self.reported(documents.check_links), ["#no-heading", "missing.md", "missing.svg"])

    def test_names_that_the_code_does_not_have(self) -> None:
        with mock.patch.object(documents, "FOREIGN", set()):
            self.assertEqual(
                self.reported(documents.check_names), ["infra/local/nothing.py", ABSENT, f"Stack::{ABSENT}"]
            )

    def test_a_page_that_the_book_does_not_list(self) -> None:
        documents.check_summary()
        (self.docs / "other.md").write_text("# Another\n")
        with self.assertRaisesRegex(StackError, "other.md"):
            documents.check_summary()

    def test_a_diagram_that_the_book_does_not_render(self) -> None:
        documents.check_diagrams()
        self.page.write_text("```mermaid\nflowchart LR\n```\n")
        with self.assertRaisesRegex(StackError, "page.md"):
            documents.check_diagrams()


class Book(unittest.TestCase):
    """What becomes of links in the book."""

    def test_links_lead_to_pages_or_to_copies_of_files(self) -> None:
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(book, "BOOK", Path(folder)):
            page = Path(folder) / "use" / "page.html"
            broken: list[str] = []
            page.parent.mkdir()
            page.touch()
            anchors = {page: {"a-heading"}}
            for link, expected in {
                "https://example.com/": "https://example.com/",
                "page.html#a-heading": "page.html#a-heading",
                "../../samconfig.toml": "../source/samconfig.toml.txt",
                "../../CHANGELOG.html": "../source/CHANGELOG.md.txt",
                "../../infra": "",
            }.items():
                self.assertEqual(book.followed(page, link, anchors, broken), expected)
            self.assertEqual(broken, [])
            book.followed(page, "page.html#nothing", anchors, broken)
            book.followed(page, "nothing.html", anchors, broken)
            self.assertEqual(len(broken), 2)
