"""Tests of the bill of materials and the licences of a package."""

from __future__ import annotations

import json
import unittest

from common import ROOT
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from folder import Folder
from sbom import Crate, Graph, checksums, write_licenses, write_sbom


class Bill(Folder):
    """The bill of materials and the licences."""

    def test_a_tree_of_cargo_is_read(self) -> None:
        graph = Graph()
        graph.add("0api v0.1.0 (/functions/api)\n1aws v0.1.0 (/shared/aws)\n2tokio v1.54.1\n1tokio v1.54.1\n")
        graph.add("\n0sweep v0.1.0 (/functions/sweep)\n1aws v0.1.0 (/shared/aws) (*)\n")
        api, aws, sweep, tokio = (
            Crate(*one.split()) for one in ("api 0.1.0", "aws 0.1.0", "sweep 0.1.0", "tokio 1.54.1")
        )
        self.assertEqual(graph.crates, {api: {aws, tokio}, aws: {tokio}, sweep: {aws}, tokio: set()})
        self.assertEqual(graph.functions, {api, sweep})

    def test_hashes_are_those_of_the_lock_file(self) -> None:
        lock = (
            '[[package]]\nname = "a"\nversion = "1.0.0"\nchecksum = "12"\n[[package]]\nname = "b"\nversion = "0.1.0"\n'
        )
        self.assertEqual(checksums(lock), {Crate("a", "1.0.0"): "12"})

    def test_the_bill_of_this_commit_is_valid_complete_and_always_the_same(self) -> None:
        bills = [self.folder / name for name in ("first", "second")]
        for file in bills:
            write_sbom(ROOT, "0.1.0", "0123456789ab", file)
        text = bills[0].read_text()
        self.assertEqual(text, bills[1].read_text())
        self.assertNotIn(str(ROOT), text)
        self.assertIsNone(JsonStrictValidator(SchemaVersion.V1_6).validate_str(text))
        bill = json.loads(text)
        names = {one["name"] for one in bill["components"]}
        expected = {"api", "sweep", "aws", "domain", "tokio", "rustls", "aws-lc-sys", "libmimalloc-sys", "zstd-sys"}
        self.assertEqual((expected | {"rust-std", "preact", "uplot"}) - names, set())
        # Procedural macros, build scripts, tests, and what only other systems need.
        self.assertEqual(
            names & {"serde_derive", "git-version-macro", "cc", "proptest", "insta", "tests", "windows-sys"}, set()
        )
        self.assertEqual([one["name"] for one in bill["components"] if not one.get("licenses")], [])
        references = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
        self.assertIn("cargo:sweep@0.1.0", references["dynahook"])
        self.assertIn("cargo:aws@0.1.0", references["cargo:sweep@0.1.0"])
        self.assertIn("npm:preact@", " ".join(references["cargo:api@0.1.0"]))

    def test_the_licences_name_every_crate(self) -> None:
        file = self.folder / "LICENSES.txt"
        write_licenses(ROOT, file)
        text = file.read_text()
        for name in ("tokio 1.", "aws-lc-sys 0.", "domain 0.1.0", "The console's libraries"):
            self.assertIn(f"\n{name}", f"\n{text}")
        self.assertNotIn(str(ROOT), text)


if __name__ == "__main__":
    unittest.main()
