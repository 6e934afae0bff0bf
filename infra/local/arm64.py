"""`make arm64`: the functions for the default processor on AWS, built and started under an emulator of it."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

from build import ARCHITECTURES, UNOPTIMIZED, sam_build
from common import LOCAL, ROOT, StackError, step
from parts import Parts
from starts import check_glibc, check_starts

# Where Debian keeps the C library for arm64, and the packages that are needed.
SYSROOT = Path("/usr/aarch64-linux-gnu")
LOADER = SYSROOT / "lib" / "ld-linux-aarch64.so.1"
PACKAGES = "qemu-user libc6-arm64-cross libgcc-s1-arm64-cross"

# Rust's name for the platform.
TARGET = "aarch64-unknown-linux-gnu"


def arm64() -> int:
    """Builds each function with `sam build`, as a deployment to AWS does but unoptimized, and lets it answer one
    event."""
    runner = emulator()
    add_target()
    folder = LOCAL / "arm64" / "build"
    sam_build("arm64", folder, UNOPTIMIZED)
    parts = Parts()
    parts.run("no function needs a newer C library than its runtime has", check_glibc, folder)
    parts.run("each function, built for arm64, starts and answers an event", check_starts, folder, runner)
    return parts.report()


def emulator() -> tuple[str, ...]:
    """Returns the command that runs an arm64 binary here; empty on arm64 itself."""
    if ARCHITECTURES.get(platform.machine()) == "arm64":
        return ()
    qemu = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if qemu is None or not LOADER.exists():
        what = "qemu-aarch64 is not on the PATH" if qemu is None else f"{LOADER} is missing"
        raise StackError(
            f"{what}: install an emulator for arm64 binaries, on Debian with\n  apt-get install {PACKAGES}"
        )
    return (qemu, "-L", str(SYSROOT))


def add_target() -> None:
    """Adds the standard library for arm64 to the project's toolchain, if rustup manages it."""
    if shutil.which("rustup") is None:
        return
    listed = subprocess.run(
        ["rustup", "target", "list", "--installed"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if TARGET not in listed.stdout.split():
        step(f"rustup target add {TARGET}")
        if subprocess.run(["rustup", "target", "add", TARGET], cwd=ROOT, check=False).returncode != 0:
            raise StackError(f"rustup cannot add {TARGET}; see its last lines")
