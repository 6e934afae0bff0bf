"""Node.js, and packages from npm at the versions of a lock file."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from common import LOCAL

# Node.js comes from PyPI, with the tools of the contract's tests.
BINARIES = LOCAL / "venv" / "contract" / "bin"


def environment() -> dict[str, str]:
    """Returns an environment in which programs find Node.js."""
    return {**os.environ, "PATH": f"{BINARIES}{os.pathsep}{os.environ['PATH']}"}


def installed(source: Path, name: str) -> Path:
    """Copies the files of a folder, so that nothing is installed among the sources, and installs the packages of its
    lock file. Returns the copy, which is in `.local`."""
    folder = LOCAL / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    command = [str(BINARIES / "npm"), "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
    subprocess.run(command, cwd=folder, env=environment(), check=True)
    return folder
