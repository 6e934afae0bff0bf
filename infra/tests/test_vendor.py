"""How the libraries of the console are joined."""

from __future__ import annotations

import json
import unittest

from common import StackError
from vendor import MANIFEST, check_vendored, hashes, wrapped

VARIABLES = {"preact": "preactModule"}


class Vendor(unittest.TestCase):
    """What becomes of a module."""

    def test_the_copies_are_those_of_the_manifest(self) -> None:
        check_vendored()
        self.assertEqual(json.loads(MANIFEST.read_text()).keys(), hashes().keys())

    def test_exports_become_an_object(self) -> None:
        code = 'import{options as n,h}from"preact";var a=n;export{a as useState,h};\n//# sourceMappingURL=x.map\n'
        self.assertEqual(
            wrapped("hooks", code, VARIABLES),
            "(() => {const{options:n,h}=preactModule;var a=n;;return{useState:a,h};})()",
        )

    def test_a_default_export_and_exports_of_another_module_are_kept(self) -> None:
        self.assertEqual(
            wrapped("htm", "var n=1;export default function(s){return n}", VARIABLES),
            "(() => {var n=1;const exportedDefault=function(s){return n};return{default:exportedDefault};})()",
        )
        self.assertEqual(
            wrapped("signals", 'export{signal}from"preact";export{x};', VARIABLES),
            "(() => {;return{signal:preactModule.signal,x};})()",
        )

    def test_another_statement_is_refused(self) -> None:
        for code in ("export const a=1;", 'import*as a from"preact";export{a};', 'import{a}from"other";export{a};', ""):
            with self.subTest(code), self.assertRaises(StackError):
                wrapped("module", code, VARIABLES)
