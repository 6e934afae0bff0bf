"""The memory of the functions' processes, according to the kernel."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sessions import session
from stack import Stack

# The functions on the path of every delivery, which tenants share.
ON_THE_WAY = ("FanoutFunction", "DeliverFunction")

# The niceness of the others: the maximum.
NICE = 19


@dataclass
class Process:
    """A process of a function: its peak memory, and the limit of the function, in MiB."""

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
        # The emulator's own processes have no such name, or run another program.
        if program.startswith("bootstrap") and (name := environment.get("AWS_LAMBDA_FUNCTION_NAME")):
            peak = int(status["VmHWM"].split()[0]) / 1024
            found.append(Process(pid, short(name), peak, float(environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"])))
    return found


def give_way(stack: Stack) -> None:
    """Lowers the priority of processes that are not on the path of deliveries. Lambda gives each process its own share
    of a processor. Here all share this machine, and work of the API must not count as a wait in fan-out or deliver."""
    for process in processes(stack):
        if process.function not in ON_THE_WAY:
            os.setpriority(os.PRIO_PROCESS, process.pid, NICE)


def short(name: str) -> str:
    """Returns the logical name of a function; CloudFormation's name is stack, logical name and a random suffix."""
    return next((part for part in name.split("-") if part.endswith("Function")), name)
