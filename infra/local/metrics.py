"""The metrics in the log of the deployed stack, against the specification of CloudWatch's embedded metric format and
docs/use/metrics.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema
from common import ROOT
from stack import STACK, Stack

SCHEMA = json.loads(Path(__file__).with_name("emf.schema.json").read_text())

# The rows of the page: name, unit and functions.
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([\w, ]+) \|", re.MULTILINE)

# What a run of all tests need not cause.
RARE = {"DetachedSources", "LostRecords", "OldestOverdue", "ParkedRows", "RecordsReturned", "ThrottledRequests"}

# The most values of a metric in a line, and the most bytes of a line.
MOST_VALUES, MOST_BYTES = 100, 256 * 1024


def documented() -> dict[str, str]:
    """Returns the metrics of the page, with their units."""
    rows = ROW.findall((ROOT / "docs" / "use" / "metrics.md").read_text())
    return {name: unit for name, unit, _ in rows}


def logged(stack: Stack, group: str | None = None) -> Iterator[dict]:
    """Returns the lines of a log group, or of all, that are JSON objects."""
    client = stack.client("logs")
    all_groups = (found["logGroupName"] for found in client.describe_log_groups()["logGroups"])
    for name in [group] if group else all_groups:
        for page in client.get_paginator("filter_log_events").paginate(logGroupName=name):
            for event in page["events"]:
                try:
                    line = json.loads(event["message"])
                except ValueError:
                    continue
                if isinstance(line, dict):
                    yield line


def check_metrics(stack: Stack) -> list[str]:
    """Checks every line with metrics that the functions wrote; returns what is wrong with them."""
    known, lines = documented(), [line for line in logged(stack) if "_aws" in line]
    faults = sorted({fault for line in lines for fault in faults_of(line, known, f"Dynahook/{STACK}")})
    seen = {name for line in lines for name in line}
    faults += [f"no function wrote {name}" for name in sorted(set(known) - RARE - seen)]
    print(f"{len(lines)} lines with metrics, {len(seen & set(known))} of {len(known)} metrics")
    return faults


def faults_of(line: dict, known: dict[str, str], namespace: str) -> Iterator[str]:
    """Returns what is wrong with a line."""
    try:
        jsonschema.validate(line, SCHEMA)
    except jsonschema.ValidationError as error:
        yield f"{error.json_path}: {error.message}"
        return
    if len(json.dumps(line)) > MOST_BYTES:
        yield "a line is larger than an event of the log"
    for directive in line["_aws"]["CloudWatchMetrics"]:
        if directive["Namespace"] != namespace:
            yield f"the namespace is {directive['Namespace']} instead of {namespace}"
        if directive["Dimensions"] != [[]]:
            yield f"there are dimensions: {directive['Dimensions']}"
        for metric in directive["Metrics"]:
            name, values = metric["Name"], line.get(metric["Name"])
            values = values if isinstance(values, list) else [values]
            if known.get(name) != metric.get("Unit"):
                yield f"{name} has the unit {metric.get('Unit')}; docs/use/metrics.md says {known.get(name)}"
            if not 0 < len(values) <= MOST_VALUES:
                yield f"{name} has {len(values)} values"
            # A boolean is an int in Python, and no number for CloudWatch.
            if not all(type(value) in (int, float) and value >= 0 for value in values):
                yield f"{name} has the values {values}"
    # Anything else in the line could be a tenant, a webhook or a URL.
    names = {metric["Name"] for directive in line["_aws"]["CloudWatchMetrics"] for metric in directive["Metrics"]}
    if more := set(line) - names - {"_aws", "version"}:
        yield f"the line also has {', '.join(sorted(more))}"
