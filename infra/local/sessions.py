"""The processes of a stack: the emulator leads a session, and the functions that it runs belong to it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from common import LOCAL


def stop_session(leader: int) -> None:
    """Ends every process of the session that `leader` leads: the emulator, and the functions that it runs."""
    for end in (signal.SIGTERM, signal.SIGKILL):
        for process in session(leader):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, end)
        for _ in range(50):
            if not session(leader):
                return
            time.sleep(0.1)


def session(leader: int) -> list[int]:
    """Returns the living processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # After the name in brackets: state, parent, group, session.
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def stop_lost() -> int:
    """Stops what a command that was killed left running, by the pid files that it wrote."""
    for pid_file in LOCAL.glob("*/emulator.pid"):
        pid = int(pid_file.read_text())
        processes = session(pid)
        stop_session(pid)
        pid_file.unlink()
        print(f"{pid_file.parent.name}: {len(processes)} processes stopped")
    return 0
