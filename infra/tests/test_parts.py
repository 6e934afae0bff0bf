"""Tests of the summary of `make test`: its last lines list the failures."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import unittest
from pathlib import Path

from common import StackError
from parts import Parts, failing_tests

# Output of cargo for a run in which one test fails, one binary is killed and one passes.
CARGO = r"""
import os, sys
print('''   Compiling domain v0.1.0 (/project/shared/domain)
     Running unittests src/lib.rs (target/debug/deps/domain-0123456789abcdef)
running 2 tests
test id::tests::sorts ... ok
test id::tests::parses ... \x1b[31mFAILED\x1b[0m

failures:
    id::tests::parses

test result: FAILED. 1 passed; 1 failed
\x1b[1m\x1b[31merror\x1b[0m: test failed, to rerun pass `-p domain --lib`
     Running tests/it/main.rs (target/debug/deps/it-fedcba9876543210)
test api::panics - should panic ... FAILED
error: test failed, to rerun pass `-p tests --test it`
     Running tests/load/main.rs (target/debug/deps/load-fedcba9876543210)
error: test failed, to rerun pass `-p tests --test load`

Caused by:
  process didn't exit successfully: `/deps/load-fedcba9876543210` (signal: 11, SIGSEGV: invalid memory reference)
error: 3 targets failed:
    `-p domain --lib`''')
sys.exit(101)
"""


def cargo(script: str) -> list[str]:
    """Runs a script instead of cargo, without showing its output."""
    with contextlib.redirect_stdout(io.StringIO()):
        return failing_tests([sys.executable, "-c", script], Path.cwd(), dict(os.environ))


class Summary(unittest.TestCase):
    """Parts that pass, return failures, or raise."""

    def report(self, *parts: tuple) -> tuple[int, list[str]]:
        """Runs parts and returns the exit code and the lines of the report."""
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            made = Parts()
            for part in parts:
                made.run(*part)
        with contextlib.redirect_stdout(out := io.StringIO()):
            code = made.report()
        return code, out.getvalue().splitlines()

    def test_all_that_pass(self) -> None:
        code, lines = self.report(("one", list), ("two", lambda: None))
        self.assertEqual((code, lines[-1]), (0, "2 passed, 0 failed"))

    def test_an_exit_code_is_no_result(self) -> None:
        for result in (0, 1):
            code, lines = self.report(("one", lambda result=result: result))
            self.assertEqual((code, lines[-1]), (1, "0 passed, 1 failed"))

    def test_of_a_long_failure_the_beginning_is_repeated(self) -> None:
        _, lines = self.report(("one", lambda: [f"line {number}" for number in range(50)]))
        self.assertEqual(lines[-4:-2], ["            line 19", "            and 30 lines more, above"])

    def test_a_failure_stops_no_part_and_stands_in_the_last_lines(self) -> None:
        def broken(text: str) -> None:
            raise StackError(text)

        def crashes() -> None:
            raise KeyError("id")

        ran = []
        code, lines = self.report(
            ("cargo test", lambda: ["domain: id::tests::parses"]),
            ("the walkthroughs", broken, "not so\nbut so"),
            ("a crash", crashes),
            ("the last one", lambda: ran.append("it")),
        )
        self.assertEqual((code, ran), (1, ["it"]))
        self.assertEqual(
            lines,
            [
                "",
                "ran:",
                "  FAILED  cargo test, 0 s",
                "            domain: id::tests::parses",
                "  FAILED  the walkthroughs, 0 s",
                "            not so",
                "            but so",
                "  FAILED  a crash, 0 s",
                "            KeyError: 'id'",
                "  ok      the last one, 0 s",
                "",
                "1 passed, 3 failed",
            ],
        )

    def test_what_is_started_after_another_waits_for_it(self) -> None:
        order: list[str] = []
        free = threading.Event()

        def first() -> None:
            free.wait(10)
            order.append("first")

        with contextlib.redirect_stdout(io.StringIO()) as out:
            parts = Parts()
            thread = parts.start("first", first)
            parts.start("second", lambda: order.append("second"), after=thread)
            parts.run("meanwhile", lambda: order.append("meanwhile"))
            free.set()
            parts.join()
            self.assertEqual(parts.report(), 0)
        self.assertEqual(order, ["meanwhile", "first", "second"])
        self.assertIn("3 passed, 0 failed", out.getvalue())


class Cargo(unittest.TestCase):
    """The failures of `cargo test`."""

    def test_failing_tests_are_named_with_their_binaries(self) -> None:
        self.assertEqual(
            cargo(CARGO),
            ["domain: id::tests::parses", "it: api::panics", "load: signal: 11, SIGSEGV: invalid memory reference"],
        )

    def test_a_run_that_passes_has_none(self) -> None:
        self.assertEqual(cargo("print('test a ... ok')"), [])

    def test_a_build_that_fails_and_a_binary_that_is_killed_are_failures(self) -> None:
        failed = cargo(
            "import sys; print('error[E0308]: mismatched types\\nerror: could not compile `x`'); sys.exit(101)"
        )
        self.assertEqual(failed, ["mismatched types", "could not compile `x`"])
        (killed,) = cargo("import os; os.kill(os.getpid(), 9)")
        self.assertIn("ended with -9", killed)
