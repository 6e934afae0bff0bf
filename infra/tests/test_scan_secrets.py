"""Which texts the search for secrets finds."""

from __future__ import annotations

import base64
import json
import unittest
from urllib.parse import quote

from scan_secrets import Search

SECRET = 'whsec_a+b/c="quoted"'


class Searches(unittest.TestCase):
    def test_a_secret_is_found_in_each_form(self) -> None:
        search = Search({"another secret", SECRET})
        texts = [SECRET, json.dumps({"secret": SECRET}), quote(SECRET, safe=""), f"secret={quote(SECRET, safe='')}&x=1"]
        texts += [base64.b64encode(f"{'x' * before}{SECRET} and more".encode()).decode() for before in range(5)]
        for text in texts:
            with self.subTest(text=text):
                self.assertEqual(search.first(f"a line\n{text} and more"), SECRET)

    def test_a_part_of_a_secret_is_no_secret(self) -> None:
        self.assertIsNone(Search({SECRET}).first(SECRET[:-1]))


if __name__ == "__main__":
    unittest.main()
