"""`make bench`: what an event costs, as ratios within one run."""

from __future__ import annotations

import os
import subprocess

from stack import BUILD, ROOT, build, step


def bench() -> int:
    """Runs the functions' benchmarks, then the built fanout under load. Nothing else should run meanwhile."""
    build()
    step("benchmarks of the functions (they are compiled as what is deployed is)")
    subprocess.run(["cargo", "bench", "--package", "fanout", "--bench", "fanout", "--locked"], cwd=ROOT, check=True)
    step("the built fanout under load")
    environment = {**os.environ, "DYNAHOOK_BUILD": str(BUILD)}
    subprocess.run(["cargo", "test", "--package", "tests", "--test", "load", "--locked"], cwd=ROOT, env=environment, check=True)
    return 0
