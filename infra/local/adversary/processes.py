"""The memory of the functions' processes, as the kernel counts it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stack import Stack, session

MEBIBYTE = 1024 * 1024


@dataclass
class Process:
    """A process of a function: the most memory that it ever had, and what the function may have, in MiB."""

    function: str
    peak: float
    limit: float


def processes(stack: Stack) -> list[Process]:
    """Returns the living processes of the functions."""
    found = []
    for pid in session(stack.pid):
        folder = Path(f"/proc/{pid}")
        try:
            environment = dict(pair.split("=", 1) for pair in (folder / "environ").read_text().split("\0") if "=" in pair)
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
            program = (folder / "exe").readlink().name
        except OSError:
            continue
        # The emulator's own processes have no such name, or another program.
        if program.startswith("bootstrap") and (name := environment.get("AWS_LAMBDA_FUNCTION_NAME")):
            peak = int(status["VmHWM"].split()[0]) / 1024
            found.append(Process(short(name), peak, float(environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"])))
    return found


def short(name: str) -> str:
    """Returns the logical name of a function: CloudFormation's is stack, name and something random."""
    return next((part for part in name.split("-") if part.endswith("Function")), name)
