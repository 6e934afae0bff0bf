"""The search for words that make prose hard to read."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from words import findings

MARKDOWN = """# A page that nobody reads

The row stands
beside another. `nobody` and `what is to be` are code; "stands for" is English.

```text
whoever
```
"""

RUST = """//! Whoever calls.
/// What is
/// to be done, and a span: `somebody`.
fn nobody() -> &'static str {
    let quote = '"'; // told
    let (key, message) = ("nobody", "the key is not good");
    r#"somebody "else""#
}
"""

PYTHON = '''"""A module that goes
back."""

KEY = "nobody"
MESSAGE = f"{KEY} tells of it"  # made anew
'''


class Words(unittest.TestCase):
    """What is found, and at which line."""

    def found(self, name: str, text: str) -> list[tuple[int, str]]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_text(text)
            return [(line, word) for line, word, _ in findings(path)]

    def test_markdown_is_searched_outside_code(self) -> None:
        self.assertEqual(self.found("page.md", MARKDOWN), [(1, "nobody"), (3, "stands"), (4, "beside")])

    def test_rust_is_searched_in_comments_and_messages(self) -> None:
        expected = [(1, "Whoever"), (2, "is to be"), (5, "told"), (6, "is not good"), (7, "somebody")]
        self.assertEqual(sorted(self.found("code.rs", RUST)), sorted(expected))

    def test_python_is_searched_in_comments_docstrings_and_messages(self) -> None:
        self.assertEqual(self.found("code.py", PYTHON), [(1, "goes back"), (5, "anew"), (5, "tells of")])

    def test_a_template_is_searched_as_a_whole(self) -> None:
        self.assertEqual(
            self.found("template.yaml", "Description: Told when it is\n# nobody\nType: String\n"),
            [(1, "Told"), (2, "nobody")],
        )
