"""`make recording`: makes docs/images/run.svg, which README.md shows, from the output of `make run`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from html import escape
from pathlib import Path

from common import ROOT, StackError, free_port
from demo import PORT

PICTURE = ROOT / "docs" / "images" / "run.svg"

# The size of the terminal in characters, and of a character in pixels.
COLUMNS, ROWS = 104, 30
WIDTH, HEIGHT = 8.4, 18.0

# A pause of the recording is at most so long, in seconds: a build takes minutes.
PAUSE = 0.7

# How a line begins that says how far a long step is.
PROGRESS = "  … "

# How often the record is changed after the first delivery.
CHANGES = 2

STYLE = """
text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
text { fill: #d1d5db; white-space: pre; }
.command { fill: #f9fafb; font-weight: 600; } .step { fill: #93c5fd; }
.header { fill: #fcd34d; } .good { fill: #86efac; }
.line { opacity: 0; animation: appear 1ms linear forwards; }
@keyframes appear { to { opacity: 1; } }
@media (prefers-reduced-motion: reduce) {
  .line, .screen { animation-duration: 1ms !important; animation-delay: 0s !important; }
}
"""


def recording() -> int:
    """Runs the stack, changes a record twice, stops the stack and writes the picture."""
    port = str(free_port())
    environment = {**os.environ, "DYNAHOOK_PORT": port, "DYNAHOOK_RECEIVER_PORT": str(free_port())}
    command = [sys.executable, str(Path(__file__).with_name("commands.py"))]
    lines: list[tuple[float, str]] = [(0.0, "$ make run")]
    started = time.monotonic()
    with subprocess.Popen(
        [*command, "run"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        changes = 0
        try:
            for line in run.stdout or ():
                print(line, end="", flush=True)
                lines.append((time.monotonic() - started, line.rstrip("\n")))
                if "Deliveries:" in line or (changes and "verified" in line):
                    if changes == CHANGES:
                        break
                    changes += 1
                    subprocess.run(
                        [*command, "change"], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL
                    )
        finally:
            run.send_signal(signal.SIGINT)
            run.communicate()
    if changes < CHANGES:
        raise StackError("make run ended before its deliveries could be recorded")
    # With the port that a newcomer has, and without the progress of a build.
    shown = [
        (at, re.sub("#token=.*", "#token=…", line.replace(f"DYNAHOOK_PORT={port} ", "").replace(port, str(PORT))))
        for at, line in lines
        if not line.startswith(PROGRESS)
    ]
    PICTURE.write_text(picture(shown), encoding="utf-8")
    print(f"\n{PICTURE.relative_to(ROOT)} is written")
    return 0


def picture(lines: list[tuple[float, str]]) -> str:
    """Returns an SVG in which the lines appear one after the other; the screen scrolls when it is full."""
    folded = [(at, part) for at, line in lines for part in fold(line)]
    clock, before, shown = 0.5, 0.0, []
    for at, line in folded:
        clock += min(at - before, PAUSE)
        before = at
        shown.append((clock, line))
    width, height = COLUMNS * WIDTH + 32, ROWS * HEIGHT + 56
    texts = [
        f'<text class="line {kind(line)}" x="16" y="{52 + number * HEIGHT:g}" style="animation-delay:{at:.2f}s">'
        f"{escape(line, False)}</text>"
        for number, (at, line) in enumerate(shown)
        if line
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img"',
            'xml:space="preserve">',
            "<title>make run: a change of a record becomes a signed delivery</title>",
            f"<style>{STYLE}{scroll([at for at, _ in shown])}</style>",
            f'<rect width="{width:g}" height="{height:g}" rx="8" fill="#111827"/>',
            *(
                f'<circle cx="{20 + 20 * number}" cy="18" r="6" fill="{colour}"/>'
                for number, colour in enumerate(("#f87171", "#fbbf24", "#34d399"))
            ),
            f'<clipPath id="screen"><rect x="0" y="36" width="{width:g}" height="{height - 44:g}"/></clipPath>',
            '<g clip-path="url(#screen)"><g class="screen">',
            *texts,
            "</g></g>",
            "</svg>",
            "",
        ]
    )


def fold(line: str) -> list[str]:
    """Returns a line as the rows that it takes."""
    return [line[start : start + COLUMNS] for start in range(0, len(line), COLUMNS)] or [""]


def kind(line: str) -> str:
    """Returns the colour class of a line."""
    if line.startswith("$ "):
        return "command"
    if line.startswith("· "):
        return "step"
    if "verified" in line:
        return "good"
    name, colon, _ = line.partition(": ")
    return (
        "header" if line.startswith("POST ") or (colon and name.replace("-", "").isalpha() and name.islower()) else ""
    )


def scroll(times: list[float]) -> str:
    """Returns the animation that moves the screen up by one row for each line that does not fit."""
    moves = [(at, number - ROWS + 1) for number, at in enumerate(times) if number >= ROWS]
    if not moves:
        return ""
    end = times[-1] + 0.1
    steps = ["0% { transform: none; }"]
    steps += [f"{100 * at / end:.3f}% {{ transform: translateY(-{rows * HEIGHT:g}px); }}" for at, rows in moves]
    steps.append(f"100% {{ transform: translateY(-{moves[-1][1] * HEIGHT:g}px); }}")
    return f".screen {{ animation: scroll {end:.2f}s step-end forwards; }}\n@keyframes scroll {{ {' '.join(steps)} }}\n"
