"""Which imports the lint sees, and which it refuses."""

from __future__ import annotations

import subprocess
import tempfile
import unittest
from pathlib import Path

from common import ROOT
from layers import (
    CODE,
    EXCLUDED,
    LINES,
    code_files,
    downward,
    layers,
    long_files,
    loops,
    read,
    siblings,
    tokens,
    tree,
)


class Imports(unittest.TestCase):
    """Each test writes a crate."""

    def setUp(self) -> None:
        """Makes a place for it."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.src = Path(folder.name) / "src"

    def graph(self, **files: str) -> dict[str, set[str]]:
        """Returns what imports what; `a__b` is the file `a/b.rs`."""
        for name, text in files.items():
            path = self.src / (name.replace("__", "/") + ".rs")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.crate = read(self.src / "lib.rs")
        return {self.name(file): {self.name(to) for to in targets} for file, targets in self.crate.imports().items()}

    def name(self, file: Path) -> str:
        """Returns the short name of a file."""
        return str(file.relative_to(self.src).with_suffix(""))

    def test_every_kind_of_import_counts(self) -> None:
        """Nested, renamed, by `super` and `self`, and in the middle of code."""
        for importing in (
            "use crate::b::Thing;",
            "use crate::{c::Other, b::{self, Thing as T}};",
            "pub(crate) use super::b::Thing; fn f(_: Thing) {}",
            "fn f() -> crate::b::Thing { todo!() }",
            "use super::b; fn f() { b::make(); }",
            "use crate::b::*;",
            "mod inner { use super::super::b::Thing; }",
            "mod inner { use crate::b::Thing; }",
            "macro_rules! m { () => { $crate::b::make() } }",
        ):
            with self.subTest(importing):
                graph = self.graph(
                    lib="mod a; mod b; mod c;", a=importing, b="pub struct Thing;", c="pub struct Other;"
                )
                self.assertIn("b", graph["a"])
                self.assertEqual(set(), graph["b"])

    def test_what_is_no_import_does_not_count(self) -> None:
        """Comments, texts, declarations, tests, other crates, and what a file shows without using it."""
        for text in (
            "// use crate::b::Thing;",
            "/// [`Thing`](crate::b::Thing)\nfn f() {}",
            'const TEXT: &str = "crate::b::Thing";',
            'const TEXT: &str = r#"a " crate::b::Thing"#;',
            "#[cfg(test)] mod tests { use crate::b::Thing; }",
            "#[cfg(test)]\nuse crate::b::Thing;\nfn f() {}",
            "use other::b::Thing;",
            "pub use crate::b::Thing;",
            "fn f<'a>(b: &'a str, c: char) -> bool { c == 'b' }",
        ):
            with self.subTest(text):
                self.assertEqual(set(), self.graph(lib="mod a; mod b;", a=text, b="pub struct Thing;")["a"])

    def test_what_a_file_shows_is_imported_from_the_file_that_has_it(self) -> None:
        """A root that shows everything makes no loop of those who use it."""
        graph = self.graph(
            lib="mod app; mod config; pub use app::App; pub use config::Config;",
            app="use crate::Config; pub struct App(Config);",
            config="pub struct Config;",
        )
        self.assertEqual({"lib": set(), "app": {"config"}, "config": set()}, graph)

    def test_a_loop_is_found_also_between_parent_and_child(self) -> None:
        """The way is the shortest, and there is one for each group of files."""
        self.graph(
            lib="mod a; mod b; mod c; mod d;",
            a="use crate::b::B;",
            b="use crate::c::C;",
            c="use crate::a::A;",
            d="mod e; use e::E; pub struct D;",
            d__e="use super::D; pub struct E;",
        )
        found = [[self.name(file) for file in loop] for loop in loops(self.crate.imports())]
        self.assertEqual([["a", "b", "c", "a"], ["d/e", "d", "d/e"]], found)

    def test_a_test_module_in_a_file_of_its_own_is_no_part_of_a_loop(self) -> None:
        """It takes all of its parent."""
        graph = self.graph(lib="mod a;", a="#[cfg(test)]\nmod tests;", a__tests="use super::*; use crate::a::A;")
        self.assertEqual({"lib": set(), "a": set()}, graph)

    def test_a_layer_may_not_import_one_below_it(self) -> None:
        """The table of the crate's documentation says which is below."""
        documentation = (
            "//! | Modules | What |\n//! |---|---|\n//! | `id`, [`time`] | blocks |\n//! | `event` | what |\n"
        )
        rows = layers(documentation)
        self.assertEqual({"id": 0, "time": 0, "event": 1}, rows)
        self.graph(lib="mod id; mod time; mod event;", id="use crate::time::T;", time="", event="use crate::id::I;")
        self.assertEqual([], downward(self.crate, rows))
        self.graph(lib="mod id; mod time; mod event;", id="use crate::event::E;", time="", event="")
        self.assertRegex(
            "\n".join(downward(self.crate, rows)), r"id\.rs imports .*event\.rs, which is in a lower layer"
        )
        self.graph(lib="mod id; mod time; mod event; mod stray;", id="", time="", event="", stray="")
        self.assertRegex("\n".join(downward(self.crate, rows)), "stray has no row")

    def test_a_route_may_import_its_own_parts_and_no_other_route(self) -> None:
        """A part is a file below it."""
        files = {"lib": "mod routes;", "routes": "mod jobs; mod sources;", "routes__jobs": "mod list; use list::L;"}
        self.graph(**files, routes__jobs__list="pub struct L;", routes__sources="use super::jobs::J;")
        found = siblings(self.crate.imports(), self.src / "routes")
        self.assertRegex("\n".join(found), r"^\S+sources\.rs imports \S+jobs\.rs$")

    def test_a_long_file_is_found(self) -> None:
        """One line too many is too many."""
        self.graph(lib="\n" * LINES)
        self.assertEqual([], long_files([self.src / "lib.rs"]))
        self.graph(lib="\n" * (LINES + 1))
        self.assertEqual(1, len(long_files([self.src / "lib.rs"])))

    def test_files_of_tests_may_not_be_long_either(self) -> None:
        """Only the template and the libraries of the console are left out."""
        found = {str(file.relative_to(ROOT)) for file in code_files(ROOT)}
        for name in (
            *("functions/api/src/lib.rs", "functions/api/console/main.js", "infra/local/layers.py", ".ci/run"),
            *("tests/it/main.rs", "tests/simulation/main.rs", "tests/console/test.js", "tests/contract/hooks.py"),
            *("shared/domain/src/delivery/tests.rs", "infra/tests/test_layers.py", "infra/replay.py"),
        ):
            self.assertIn(name, found)
        self.assertEqual([], [name for name in found if name.startswith(EXCLUDED)])

    def test_code_is_where_the_lint_looks(self) -> None:
        """A folder that was renamed is noticed."""
        self.assertEqual([], [path for path in EXCLUDED if not (ROOT / path).exists()])
        for pathspec in CODE:
            command = ["git", "ls-files", "--", pathspec]
            with self.subTest(pathspec):
                self.assertTrue(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)


class Parser(unittest.TestCase):
    """The parts of the parser."""

    def test_trees(self) -> None:
        """A nested `use` is several paths, each with the name that it gets."""
        found = list(tree(tokens("crate::a::{b::{c, D as E}, self, f::*}")))
        paths = [("::".join(path), name) for path, name in found]
        self.assertEqual(
            [("crate::a::b::c", "c"), ("crate::a::b::D", "E"), ("crate::a", "a"), ("crate::a::f", "")], paths
        )
