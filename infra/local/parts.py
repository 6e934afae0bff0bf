"""The parts of a long check: each runs although others failed, and the last lines list the failures, and how long each
part took."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from common import StackError, step

# Lines of `cargo test`: the binary that runs, a failed test, and a binary that ended for another reason.
RUNNING = re.compile(
    r"^\s*(?:Running (?:unittests )?(?P<source>\S+) \(\S*?(?P<binary>[^/]+?)-[0-9a-f]+\)|Doc-tests (?P<docs>\S+))"
)
FAILED = re.compile(r"^test (?P<name>.+?) (?:- should panic )?\.\.\. FAILED$")
BROKEN = re.compile(r"^error(?:\[E\d+\])?: (?!test failed|doctest failed|\d+ targets? failed)(?P<what>.+)")
KILLED = re.compile(r"^\s+process didn't exit successfully: .*\((?P<what>signal: .+)\)$")
COLOR = re.compile(r"\x1b\[[0-9;]*m")

# How many lines of a part's failures are repeated at the end.
SHOWN = 20


class Parts:
    """Runs parts one after another, or some of them in parallel, and collects failures."""

    def __init__(self) -> None:
        self._failures: dict[str, list[str]] = {}
        self._seconds: dict[str, float] = {}
        self._meanwhile: list[threading.Thread] = []

    def run(self, name: str, part: Callable[..., list[str] | None], *arguments: object) -> None:
        """Runs a part. It fails if it raises an error or returns failures, one line each."""
        step(name)
        started = time.monotonic()
        try:
            failures = checked(part(*arguments))
        except StackError as error:
            failures = str(error).splitlines() or ["failed"]
        except Exception as error:
            traceback.print_exc()
            failures = [f"{type(error).__name__}: {error}"]
        for failure in failures:
            print(f"failed: {failure}", file=sys.stderr, flush=True)
        self._failures[name] = failures
        self._seconds[name] = time.monotonic() - started

    def start(
        self,
        name: str,
        part: Callable[..., list[str] | None],
        *arguments: object,
        after: threading.Thread | None = None,
    ) -> threading.Thread:
        """Runs a part while others run, until `join`, and `after` one of them. Returns its thread."""
        # The report has the order in which parts are started.
        self._failures[name] = ["it has not ended"]

        def wait_and_run() -> None:
            if after:
                after.join()
            self.run(name, part, *arguments)

        thread = threading.Thread(target=wait_and_run, daemon=True)
        thread.start()
        self._meanwhile.append(thread)
        return thread

    def join(self) -> None:
        """Waits for the parts that run meanwhile."""
        while self._meanwhile:
            self._meanwhile.pop().join()

    def report(self) -> int:
        """Prints each part with its result and its failures; returns the exit code."""
        print("\nran:")
        for name, failures in self._failures.items():
            print(f"  {'FAILED' if failures else 'ok':8}{name}, {self._seconds.get(name, 0):.0f} s")
            for failure in failures[:SHOWN]:
                print(f"            {failure}")
            if len(failures) > SHOWN:
                print(f"            and {len(failures) - SHOWN} lines more, above")
        failed = sum(1 for failures in self._failures.values() if failures)
        print(f"\n{len(self._failures) - failed} passed, {failed} failed", flush=True)
        return 1 if failed else 0


def checked(failures: object) -> list[str]:
    """Returns a part's failures. Rejects other types, because an exit code that counts as success would hide a
    failure."""
    if failures is None or isinstance(failures, list):
        return failures or []
    raise TypeError(f"a part must return a list of failures or None, not {failures!r}")


def failing_tests(command: list[str], folder: Path, environment: dict[str, str]) -> list[str]:
    """Runs `cargo test` and shows its output. Returns failed tests, and the reason if it ended for another reason."""
    binary, failures, broken = "", [], []
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            for line in process.stdout or []:
                print(line, end="", flush=True)
                plain = COLOR.sub("", line).rstrip()
                if running := RUNNING.match(plain):
                    binary = running["binary"] or running["docs"]
                elif failed := FAILED.match(plain):
                    failures.append(f"{binary}: {failed['name']}")
                elif error := BROKEN.match(plain):
                    broken.append(error["what"])
                elif killed := KILLED.match(plain):
                    broken.append(f"{binary}: {killed['what']}")
        except BaseException:
            process.terminate()
            raise
    code = process.returncode
    if code == 0:
        return []
    # A killed binary reports no test, and neither does a failed build.
    return failures + broken or [f"{' '.join(command[:2])} ended with {code}; see its last lines"]
