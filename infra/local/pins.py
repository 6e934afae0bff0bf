"""`make requirements`: pins the Python packages of requirements/*.in, with the hashes of their files."""

from __future__ import annotations

import subprocess

from common import LOCAL, ROOT

FOLDER = ROOT / "infra" / "local" / "requirements"

OPTIONS = (
    "--universal",
    "--python-version",
    "3.11",
    "--generate-hashes",
    "--no-annotate",
    "--custom-compile-command",
    "make requirements",
)


def pin() -> int:
    """Writes a .txt for each .in. A version that is pinned stays unless its .in says otherwise."""
    for file in sorted(FOLDER.glob("*.in")):
        command = [
            str(LOCAL / "venv" / "uv" / "bin" / "uv"),
            "pip",
            "compile",
            "--quiet",
            *OPTIONS,
            file.name,
            "--output-file",
            f"{file.stem}.txt",
        ]
        subprocess.run(command, cwd=FOLDER, check=True)
        print(f"{file.stem}.txt", flush=True)
    return 0
