"""The picture that is made of a terminal's lines."""

from __future__ import annotations

import unittest
from xml.etree import ElementTree

from recording import COLUMNS, ROWS, fold, kind, picture


class Recording(unittest.TestCase):
    """What the picture shows."""

    def test_every_line_is_shown_and_markup_is_escaped(self) -> None:
        lines = [(0.0, "$ make run"), (100.0, '{"a": "<b>&"}'), (100.1, "")]
        root = ElementTree.fromstring(picture(lines))
        texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
        self.assertEqual(texts, ["$ make run", '{"a": "<b>&"}'])

    def test_a_long_pause_is_cut(self) -> None:
        self.assertNotIn("animation-delay:100", picture([(0.0, "a"), (100.0, "b")]))

    def test_a_long_line_is_folded(self) -> None:
        self.assertEqual([len(part) for part in fold("x" * (COLUMNS + 1))], [COLUMNS, 1])

    def test_the_screen_scrolls_only_if_it_is_full(self) -> None:
        self.assertNotIn("translateY", picture([(float(number), "x") for number in range(ROWS)]))
        self.assertIn("translateY(-18px)", picture([(float(number), "x") for number in range(ROWS + 1)]))

    def test_lines_have_the_colour_of_their_kind(self) -> None:
        lines = (
            "$ make run",
            "· 0:03 building",
            "webhook-id: evt_1",
            '  "entityId": "amelie",',
            "signature verified by the library",
        )
        self.assertEqual([kind(line) for line in lines], ["command", "step", "header", "", "good"])
