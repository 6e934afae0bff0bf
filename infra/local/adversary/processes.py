"""The memory of the functions' processes, as the kernel counts it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sessions import session
from stack import Stack

# The functions that every delivery goes through, and that tenants share.
ON_THE_WAY = ("FanoutFunction", "DeliverFunction")

# How far the others stand back: as far as the kernel lets them.
NICE = 19


@dataclass
class Process:
    """A process of a function: the most memory that it ever had, and what the function may have, in MiB."""

    pid: int
    function: str
    peak: float
    limit: float


def processes(stack: Stack) -> list[Process]:
    """Returns the living processes of the functions."""
    found = []
    for pid in session(stack.pid):
        folder = Path(f"/proc/{pid}")
        try:
            environment = dict(
                pair.split("=", 1) for pair in (folder / "environ").read_text().split("\0") if "=" in pair
            )
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
            program = (folder / "exe").readlink().name
        except OSError:
            continue
        # The emulator's own processes have no such name, or another program.
        if program.startswith("bootstrap") and (name := environment.get("AWS_LAMBDA_FUNCTION_NAME")):
            peak = int(status["VmHWM"].split()[0]) / 1024
            found.append(Process(pid, short(name), peak, float(environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"])))
    return found


def give_way(stack: Stack) -> None:
    """Lets the processes that no delivery goes through stand back. Lambda gives each process a processor's share of its
    own; here all share those of this machine, and what an attack makes the API compute must not be taken for a wait in
    fan-out or deliver."""
    for process in processes(stack):
        if process.function not in ON_THE_WAY:
            os.setpriority(os.PRIO_PROCESS, process.pid, NICE)


def short(name: str) -> str:
    """Returns the logical name of a function: CloudFormation's is stack, name and something random."""
    return next((part for part in name.split("-") if part.endswith("Function")), name)
