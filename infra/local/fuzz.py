"""`make fuzz`: runs the fuzz targets for input from outside, each of which states a law.

TARGET=… names one of them, and SECONDS=… says how long each runs."""

from __future__ import annotations

import os
import shutil
import subprocess

from common import LOCAL, ROOT, StackError, step

FUZZ = ROOT / "tests" / "fuzz"

# The size of an event; a template may be longer than a filter.
MAX_BYTES = 8192

# An input that takes longer, in seconds, is a finding. On a busy machine a fraction of a second can become ten seconds.
TIMEOUT = 60

MEMORY_MB = 2048


def fuzz() -> int:
    """Runs the targets one after the other."""
    if not shutil.which("c++"):
        raise StackError("no C++ compiler (c++) is on the PATH: install g++ or clang++ to build libFuzzer")
    targets = sorted(path.stem for path in (FUZZ / "targets").glob("*.rs"))
    chosen = os.environ.get("TARGET") or None
    if chosen not in (None, *targets):
        raise StackError(f"TARGET must be one of {', '.join(targets)}")
    seconds = os.environ.get("SECONDS") or "60"
    if not seconds.isdecimal():
        raise StackError("SECONDS must be a whole number")
    cargo_fuzz = str(LOCAL / "venv" / "fuzz" / "bin" / "cargo-fuzz")
    step("cargo fuzz build (a workspace of its own: a few minutes the first time)")
    # Without sanitizers: they need a nightly toolchain, and the workspace has no unsafe code.
    options = ["--fuzz-dir", str(FUZZ), "--sanitizer", "none"]
    environment = {
        **os.environ,
        "CARGO_TARGET_DIR": os.environ.get("FUZZ_TARGET_DIR") or str(LOCAL / "fuzz" / "target"),
    }
    if not run([cargo_fuzz, "build", *options], environment):
        raise StackError("cargo fuzz build failed")
    broken = []
    for target in [chosen] if chosen else targets:
        step(f"{target}: {seconds} s")
        # The first folder collects new inputs; the seeds stay unchanged.
        corpus = LOCAL / "fuzz" / "corpus" / target
        corpus.mkdir(parents=True, exist_ok=True)
        limits = [
            f"-max_total_time={seconds}",
            f"-max_len={MAX_BYTES}",
            f"-timeout={TIMEOUT}",
            f"-rss_limit_mb={MEMORY_MB}",
        ]
        quiet = [f"-dict={FUZZ / 'words.dict'}", "-verbosity=0", "-print_final_stats=1"]
        inputs = [str(corpus), str(FUZZ / "seeds" / target)]
        if not run([cargo_fuzz, "run", *options, target, *inputs, "--", *limits, *quiet], environment):
            broken.append(target)
    if broken:
        raise StackError(f"failed: {', '.join(broken)}; an input that breaks a law is in {FUZZ / 'artifacts'}")
    return 0


def run(command: list[str], environment: dict[str, str]) -> bool:
    """Runs cargo-fuzz, which prints findings and how to reproduce them. Returns whether it found nothing."""
    return subprocess.run(command, cwd=FUZZ, env=environment, check=False).returncode == 0
