"""What every command needs: where things are, one clear line of an error, steps with their times, long commands with a
log."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local"
REGION = "us-east-1"
STARTED = time.monotonic()


class StackError(Exception):
    """An error that the caller can fix; its text is the whole message."""


def step(text: str) -> None:
    """Prints the step that begins, and when."""
    minutes, seconds = divmod(int(time.monotonic() - STARTED), 60)
    print(f"· {minutes}:{seconds:02} {text}", flush=True)


def free_port() -> int:
    """Returns a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def check_port(port: int, what: str, variable: str) -> None:
    """Raises an error if a port is in use."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise StackError(f"port {port} for {what} is taken: stop what uses it, or set {variable} to another port")


def run(
    command: list[str],
    what: str,
    log: Path,
    environment: dict[str, str],
    progress: Callable[[], str] | None = None,
    *,
    folder: Path = ROOT,
    without: Iterable[str] = (),
) -> None:
    """Runs a long step in a folder with its output in a log; says every 15 seconds how far it is. The step's
    environment is this one without some variables and with others."""
    inherited = {name: value for name, value in os.environ.items() if name not in set(without)}
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=folder, env={**inherited, **environment}, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while True:
                try:
                    process.wait(timeout=15)
                    break
                except subprocess.TimeoutExpired:
                    state = progress() if progress else last_line(log)
                    print(f"  … {time.monotonic() - started:.0f} s: {state}", flush=True)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode != 0:
        tail = "\n".join(log.read_text().splitlines()[-20:])
        raise StackError(f"{what} failed; the end of {log}:\n{tail}")


def last_line(log: Path) -> str:
    """Returns the last line of a log that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:100] if lines else "no output yet"
