"""How long the emulator waits for what a function logs.

After each invocation it reads the function's lines, and gives one that logs nothing 50 ms to do so: for the authorizer,
that is most of the time that a call of the API takes. Functions write their lines before they answer, so a few
milliseconds are enough. A line that comes later is not lost: the next invocation reads it."""

from __future__ import annotations

from ministack.core.lambda_runtime import ProvidedWorker

# In seconds: until the first line, and after each.
FIRST_LINE = 0.003
NEXT_LINE = 0.002


def install() -> None:
    """Shortens the waits of the emulator's workers."""
    read = ProvidedWorker._drain_stderr_bounded

    def read_soon(
        worker: ProvidedWorker, first_line_wait: float = FIRST_LINE, idle_confirm: float = NEXT_LINE, **rest: float
    ) -> str:
        return read(worker, first_line_wait=first_line_wait, idle_confirm=idle_confirm, **rest)

    ProvidedWorker._drain_stderr_bounded = read_soon
