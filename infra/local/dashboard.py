"""Draws the dashboard of the template from the lines that the functions of a local stack wrote.

The emulator has no metrics of SQS, Lambda and API Gateway, so widgets that show nothing else are left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from math import ceil
from time import gmtime, strftime

from stack import STACK, Stack

NAMESPACE = f"Dynahook/{STACK}"

# The times that one point of a line stands for, in milliseconds. CloudWatch shows minutes; a local run has few.
PERIOD = 10_000

# The size of a widget in pixels, and of the plot within it.
WIDTH, HEIGHT, GAP = 560, 250, 16
LEFT, TOP, RIGHT, BOTTOM = 52, 62, 16, 28

COLOURS = ("#2563eb", "#0f9d6c", "#dc2626", "#d97706", "#7c3aed", "#0891b2")
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #4b5563; } .title { font-size: 15px; font-weight: 600; fill: #111827; }
.widget { fill: #fff; stroke: #e5e7eb; } .grid { stroke: #e5e7eb; } .end { text-anchor: end; }
.middle { text-anchor: middle; } polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
"""


@dataclass
class Series:
    """A line of a widget: a value for each period, or none."""

    label: str
    values: dict[int, float]


@dataclass
class Widget:
    """A widget: lines, or rows of a table."""

    title: str
    series: list[Series]
    rows: list[tuple[str, int]]


def dashboard(stack: Stack, lines: list[dict]) -> str:
    """Returns the dashboard as an SVG."""
    body = json.loads(stack.client("cloudwatch").get_dashboard(DashboardName=STACK)["DashboardBody"])
    return drawing([widget for one in body["widgets"] if (widget := read(one, lines))])


def read(widget: dict, lines: list[dict]) -> Widget | None:
    """Returns what a widget shows of these lines, or nothing if it shows no metric of Dynahook."""
    properties = widget["properties"]
    if "stats sum(`failed_attempts`) as failed by `tenant`" in properties.get("query", ""):
        return Widget(properties["title"], [], failures(lines))
    series = []
    for namespace, name, *more in properties.get("metrics", []):
        options = more[-1] if more and isinstance(more[-1], dict) else {}
        if namespace == NAMESPACE:
            statistic = options.get("stat", properties["stat"])
            series.append(Series(options.get("label", name), points(lines, name, statistic)))
    shown = [one for one in series if one.values]
    return Widget(properties["title"], shown, []) if shown else None


def failures(lines: list[dict]) -> list[tuple[str, int]]:
    """Returns the failed attempts of each tenant, most first."""
    found: dict[str, int] = {}
    for line in lines:
        if line.get("failed_attempts"):
            found[line["tenant"]] = found.get(line["tenant"], 0) + line["failed_attempts"]
    return sorted(found.items(), key=lambda entry: -entry[1])[:10]


def points(lines: list[dict], name: str, statistic: str) -> dict[int, float]:
    """Returns the values of a metric by the starts of their periods."""
    found: dict[int, list[float]] = {}
    for line in lines:
        if name in line and "_aws" in line:
            values = line[name] if isinstance(line[name], list) else [line[name]]
            found.setdefault(line["_aws"]["Timestamp"] // PERIOD * PERIOD, []).extend(values)
    return {at: of(values, statistic) for at, values in sorted(found.items())}


def of(values: list[float], statistic: str) -> float:
    """Returns a statistic by CloudWatch's name."""
    if statistic.startswith("p"):
        share = float(statistic[1:]) / 100
        return sorted(values)[max(0, ceil(len(values) * share) - 1)]
    return max(values) if statistic == "Maximum" else sum(values)


def drawing(widgets: list[Widget]) -> str:
    """Returns the widgets as an SVG, two in a row."""
    times = [at for widget in widgets for series in widget.series for at in series.values]
    start, end = min(times), max(times)
    rows = ceil(len(widgets) / 2)
    width, height = 2 * WIDTH + 3 * GAP, rows * (HEIGHT + GAP) + GAP
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">']
    parts += ["<title>The dashboard, drawn from a local run</title>", f"<style>{STYLE}</style>"]
    parts.append(f'<rect width="{width}" height="{height}" rx="8" fill="#f3f4f6"/>')
    for number, widget in enumerate(widgets):
        x, y = GAP + number % 2 * (WIDTH + GAP), GAP + number // 2 * (HEIGHT + GAP)
        parts.append(f'<g transform="translate({x} {y})">')
        parts.append(f'<rect class="widget" width="{WIDTH}" height="{HEIGHT}" rx="6"/>')
        parts.append(f'<text class="title" x="16" y="26">{escape(widget.title, False)}</text>')
        parts += plot(widget.series, start, end) if widget.series else table(widget.rows)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def table(rows: list[tuple[str, int]]) -> Iterator[str]:
    """Draws the rows of a table."""
    yield f'<text x="16" y="56">tenant</text><text class="end" x="{WIDTH - 16}" y="56">failed</text>'
    for number, (name, count) in enumerate(rows):
        y = 80 + 20 * number
        yield f'<text x="16" y="{y}">{escape(name, False)}</text>'
        yield f'<text class="end" x="{WIDTH - 16}" y="{y}">{count:,}</text>'


def plot(series: list[Series], start: int, end: int) -> Iterator[str]:
    """Draws lines with their names, and a scale from 0 to a round number."""
    most = round_up(max(value for one in series for value in one.values.values()))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def place(at: int, value: float) -> str:
        x = LEFT + (right - LEFT) * (at - start) / max(1, end - start)
        return f"{x:.1f},{bottom - (bottom - TOP) * value / most:.1f}"

    for step in range(3):
        y = bottom - (bottom - TOP) * step / 2
        yield f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:g}" y2="{y:g}"/>'
        yield f'<text class="end" x="{LEFT - 8}" y="{y + 4:g}">{short(most * step / 2)}</text>'
    yield f'<text x="{LEFT}" y="{HEIGHT - 8}">{clock(start)}</text>'
    yield f'<text class="end" x="{right}" y="{HEIGHT - 8}">{clock(end)} UTC</text>'
    x = 16.0
    for one, colour in zip(series, COLOURS, strict=False):
        yield f'<circle cx="{x + 5:g}" cy="43" r="5" fill="{colour}"/>'
        yield f'<text x="{x + 15:g}" y="47">{escape(one.label)}</text>'
        x += 32 + 6.6 * len(one.label)
        for line in unbroken(one.values):
            yield f'<polyline stroke="{colour}" points="{" ".join(place(at, value) for at, value in line)}"/>'


def unbroken(values: dict[int, float]) -> list[list[tuple[int, float]]]:
    """Returns the lines of a series, which end where a period has no value, as CloudWatch draws them. A line of one
    value is a period long."""
    lines: list[list[tuple[int, float]]] = []
    for at, value in values.items():
        if lines and lines[-1][-1][0] == at - PERIOD:
            lines[-1].append((at, value))
        else:
            lines.append([(at, value)])
    return [line if len(line) > 1 else [*line, (line[0][0] + PERIOD, line[0][1])] for line in lines]


def clock(at: int) -> str:
    """Returns the time of day of a time in milliseconds."""
    return strftime("%H:%M:%S", gmtime(at / 1000))


def short(value: float) -> str:
    """Returns a number of the scale as CloudWatch writes it."""
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:g}"


def round_up(value: float) -> float:
    """Returns the next number of the kind 1, 2 or 5 times a power of ten."""
    power = 1.0
    while power * 10 < value:
        power *= 10
    return next((step * power for step in (1, 2, 5) if step * power >= value), power * 10)
