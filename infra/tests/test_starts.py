"""Tests of the check that a built function starts and answers, with scripts instead of functions."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import starts

# A correct function; the comment imitates the symbols of a binary.
HEAD = f"""#!{sys.executable}
# GLIBC_2.17
import json, os, signal, sys, time, urllib.request
API = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
def poll():
    with urllib.request.urlopen(API + "next") as answer:
        return answer.headers["Lambda-Runtime-Aws-Request-Id"], json.load(answer)
def post(id, what, body):
    urllib.request.urlopen(urllib.request.Request(API + id + "/" + what, json.dumps(body).encode(), method="POST"))
"""
GOOD = """
id, event = poll()
assert event == {"Records": []} and os.environ["DELIVERIES_TABLE"] == "DeliveriesTable"
post(id, "response", {"batchItemFailures": []})
poll()
"""


class Starts(unittest.TestCase):
    """Functions that behave correctly or not."""

    def check(self, script: str, head: str = HEAD, name: str = "DeliverFunction") -> list[str]:
        """Returns the result of the check for a build with one function."""
        known = starts.environments("{}")
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(starts, "PATIENCE", 3):
            binary = Path(folder) / name / "bootstrap"
            binary.parent.mkdir()
            binary.write_text(head + script)
            binary.chmod(0o755)
            only = {name: known.get(name, {})}
            with mock.patch.object(starts, "environments", lambda _: only), contextlib.redirect_stdout(io.StringIO()):
                return starts.check_starts(Path(folder))

    def test_one_that_answers_passes(self) -> None:
        self.assertEqual(self.check(GOOD), [])

    def test_one_that_crashes_or_is_silent_or_answers_nonsense_fails(self) -> None:
        for script, reason in {
            "print('no table'); sys.exit(3)": "it ended with exit code 3 and did not answer; its log ends: no table",
            "os.kill(os.getpid(), signal.SIGSEGV)": "it ended with signal 11 and did not answer",
            "time.sleep(60)": "it did not answer within 3 s",
            "poll(); poll()": "next: {}",
            "id, _ = poll(); post(id, 'response', {}); poll()": "response: {}",
            "id, _ = poll(); post(id, 'error', {'errorMessage': 'no'}); poll()": 'error: {"errorMessage": "no"}',
            GOOD.replace("\npoll()", "\nsys.exit(0)"): "it ended with exit code 0 and did not ask for more work",
        }.items():
            with self.subTest(reason):
                (failed,) = self.check(script)
                self.assertIn(f"DeliverFunction: {reason}", failed)

    def test_one_that_needs_a_newer_c_library_fails(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            binary = Path(folder) / "DeliverFunction" / "bootstrap"
            binary.parent.mkdir()
            binary.write_text(HEAD)
            self.assertEqual(starts.check_glibc(Path(folder)), [])
            binary.write_text(HEAD.replace("GLIBC_2.17", "GLIBC_2.38"))
            (failed,) = starts.check_glibc(Path(folder))
            self.assertIn("DeliverFunction needs glibc 2.38", failed)

    def test_a_function_without_an_event_or_that_was_not_built_fails(self) -> None:
        (failed,) = self.check(GOOD, name="NewFunction")
        self.assertIn("NewFunction: no event is known for it", failed)
        with tempfile.TemporaryDirectory() as folder:
            self.assertIn("DeliverFunction was not built", starts.check_starts(Path(folder)))

    def test_every_function_of_the_template_has_an_event(self) -> None:
        self.assertEqual(
            starts.trials(mock.Mock(token=lambda *_, **__: "token")).keys(), starts.environments("{}").keys()
        )
