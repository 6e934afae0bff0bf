"""`make bench`: what an event and a delivery cost, as ratios within one run; and `make soak`."""

from __future__ import annotations

import os
import subprocess

from build import SAM_BUILD, TARGET, sam_build
from common import ROOT, step


def bench() -> int:
    """Runs the functions' benchmarks, then the built fanout and deliver under load. Run nothing else at the same
    time."""
    sam_build()
    step("benchmarks of the functions (compiled like the deployed ones)")
    cargo("bench", "--package", "fanout", "--bench", "fanout")
    step("the built fanout and deliver under load")
    cargo("build", "--release", "--package", "deliver", "--example", "bare")
    load()
    return 0


def soak() -> int:
    """Makes 100,000 deliveries with 5 % failures through the built deliver and sweep, which takes some minutes."""
    sam_build()
    step("a soak of deliver and sweep")
    load("soak")
    return 0


def load(*parts: str) -> None:
    """Runs parts of the load tests."""
    environment = {"DYNAHOOK_BUILD": str(SAM_BUILD), "DYNAHOOK_BARE": str(TARGET / "release" / "examples" / "bare")}
    cargo("test", "--workspace", "--test", "load", parts=parts, **environment)


def cargo(*arguments: str, parts: tuple[str, ...] = (), **environment: str) -> None:
    """Runs cargo."""
    command = ["cargo", *arguments, "--locked", *(["--", *parts] if parts else [])]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=True)
