"""Tests that pip and uv install pinned files only: every package has a version and the hashes of its files."""

from __future__ import annotations

import re
import unittest
from pathlib import Path

import main
from common import ROOT

FOLDER = ROOT / "infra" / "local" / "requirements"

# A continued line ends with a backslash.
PINNED = re.compile(r"[A-Za-z0-9._-]+==\S+( ; .+?)?( --hash=sha256:[0-9a-f]{64})+")


def packages(file: Path) -> list[str]:
    """Returns the entries of a requirements file, each on one line."""
    text = re.sub(r"\s*\\\n\s*", " ", file.read_text())
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def name(entry: str) -> str:
    """Returns the normalized name of an entry's package."""
    return re.sub(r"[-_.]+", "-", re.split(r"[=<>!~ \[]", entry)[0]).lower()


class Requirements(unittest.TestCase):
    def test_every_package_has_a_version_and_hashes(self) -> None:
        environments = {"uv", *(each for needed in main.ENVIRONMENTS.values() for each in needed)}
        self.assertEqual(environments, {file.stem for file in FOLDER.glob("*.txt")})
        for environment in sorted(environments):
            locked = packages(FOLDER / f"{environment}.txt")
            self.assertTrue(locked)
            for entry in locked:
                self.assertRegex(entry, re.compile(f"^{PINNED.pattern}$"), environment)
            wanted = {name(entry) for entry in packages(FOLDER / f"{environment}.in")}
            self.assertLessEqual(
                wanted, {name(entry) for entry in locked}, f"run make requirements for {environment}.in"
            )

    def test_nothing_else_is_installed(self) -> None:
        self.assertIn("--require-hashes", main.LOCKED)
        self.assertIn("--no-deps", main.LOCKED)


if __name__ == "__main__":
    unittest.main()
