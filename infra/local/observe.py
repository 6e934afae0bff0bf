"""The dashboard and the saved queries of the template, against the deployed stack and the lines that it wrote."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

import requests
from alarms import sources
from common import ROOT, StackError
from metrics import logged
from samcli.yamlhelper import yaml_parse
from stack import STACK, Stack

# A field of a line, in a query. What is not in backquotes is of the language.
FIELD = re.compile(r"`([^`]+)`")
SOURCE = re.compile(r"SOURCE '([^']+)'")

# What deliver logs of a message that it hands back.
HANDED_BACK = "message is returned to the queue"

# The pattern of a metric filter: a field, and what it is compared with.
PATTERN = re.compile(r'\{ \$\.(\w+) (=|>|>=) "?(\w+)"? \}')

# The metrics of filters that a run of all tests makes the deployed functions count.
COUNTED = {"DeliverFaults", "TenantBudgetThresholds"}

# The words of the language of CloudWatch Logs Insights that the queries use.
LANGUAGE = {
    *("and", "by", "desc", "display", "fields", "filter", "into", "like", "limit", "or", "parse", "sort", "stats"),
    *("as", "unnest", "SOURCE"),
    *("count", "count_distinct", "ispresent", "jsonParse", "pct", "sum"),
}
# A name that a query gives, and a word that is not a member of what has such a name.
GIVEN = re.compile(r"\b(?:as|into) (\w+)|\?<(\w+)>")
WORD = re.compile(r"(?<![@\w.])[A-Za-z_]\w*")

# A member of an entry of the list of attempts.
MEMBER = re.compile(r"\bmade\.(\w+)")
TEXT = re.compile(r"/[^/\n]*/|\"[^\"]*\"|'[^']*'|`[^`]*`|@\w+|^#.*$", re.MULTILINE)


def check_observation(stack: Stack, table: str) -> list[str]:
    """Returns what the dashboard and the queries name that does not exist: metrics, alarms, groups and fields of
    lines. `table` is a source with the keys `tenant_id` and `item_id`."""
    cause_fault(stack, table)
    body = json.loads(stack.client("cloudwatch").get_dashboard(DashboardName=STACK)["DashboardBody"])
    groups = {group["logGroupName"] for group in stack.client("logs").describe_log_groups()["logGroups"]}
    known = sources(stack)
    faults = []
    for widget in body["widgets"]:
        title, properties = widget["properties"]["title"], widget["properties"]
        metrics = [tuple(part for part in metric if isinstance(part, str)) for metric in properties.get("metrics", [])]
        named = [(namespace, name, *pairs(dimensions)) for namespace, name, *dimensions in metrics]
        faults += [f"“{title}” shows {metric}, which does not exist" for metric in named if metric not in known]
        faults += [
            f"“{title}” reads the group {group}, which does not exist"
            for group in SOURCE.findall(properties.get("query", ""))
            if group not in groups
        ]
    written: dict[str, set[str]] = {}
    for group, query in queries(stack, body):
        if group not in written:
            written[group] = {field for line in logged(stack, group) for field in fields_of(line)}
        faults += [f"{word} is no word of the language and in no backquotes: {query}" for word in strangers(query)]
        if members := set(MEMBER.findall(query)):
            lists = [json.loads(line["attempts"]) for line in logged(stack, group) if "attempts" in line]
            entries = [entry for entries in lists for entry in entries]
            faults += [
                f"no attempt in a line has the member {member} of the query {query}"
                for member in sorted(members - {name for entry in entries for name in entry})
            ]
        wanted = set(FIELD.findall(query))
        # A query over several groups names fields that only some of them have.
        written.setdefault(query, set()).update(written[group] & wanted)
    faults += [
        f"no line has the field {field} of the query {query}"
        for query in written
        if query not in groups
        for field in sorted(set(FIELD.findall(query)) - written[query])
    ]
    print(f"{len(body['widgets'])} widgets, {len(written) - len(groups & set(written))} queries")
    return faults + uncounted(stack)


def uncounted(stack: Stack) -> list[str]:
    """Returns the metrics of which no filter matched a line that a function wrote."""
    filters = stack.client("logs").describe_metric_filters()["metricFilters"]
    matched = {
        transformation["metricName"]
        for one in filters
        for transformation in one["metricTransformations"]
        if any(matches(line, one["filterPattern"]) for line in logged(stack, one["logGroupName"]))
    }
    return [f"no line of the functions was counted as {name}" for name in sorted(COUNTED - matched)]


def matches(line: dict, pattern: str) -> bool:
    """Returns whether a metric filter counts a line."""
    found = PATTERN.fullmatch(pattern)
    if not found:
        raise StackError(f"the pattern {pattern} is not one of those that are known here")
    field, operator, wanted = found.groups()
    if operator == "=":
        return bool(line.get(field) == wanted)
    value = line.get(field)
    return isinstance(value, int) and (value >= int(wanted) if operator == ">=" else value > int(wanted))


def cause_fault(stack: Stack, table: str) -> None:
    """Makes deliver hand a message back, which no other test makes the deployed function do: its ledger is
    throttled."""
    tenant = f"observed-{uuid.uuid4().hex}"
    webhook = {"name": "observed", "url": "http://127.0.0.1:9/", "sources": [table]}
    stack.expect(201, "POST", "/webhooks", stack.issuer.token(tenant, ["ADMIN"]), webhook)
    # The SDK tries three times.
    fault: dict[str, Any] = {
        "kind": "throttle",
        "resource": stack.outputs["DeliveriesTable"],
        "action": "dynamodb:BatchGetItem",
        "calls": 3,
    }
    requests.post(f"{stack.endpoint}/_gate/faults", json=fault, timeout=5).raise_for_status()
    item = {"tenant_id": {"S": tenant}, "item_id": {"S": "1"}}
    stack.client("dynamodb").put_item(TableName=table, Item=item)
    until = time.monotonic() + 60
    while not any(line.get("message") == HANDED_BACK for line in logged(stack, stack.outputs["DeliverLogs"])):
        if time.monotonic() > until:
            raise StackError("deliver did not hand back a message whose row cannot be read")
        time.sleep(1)


def pairs(parts: list[str]) -> Iterator[tuple[str, str]]:
    """Returns the dimensions of a metric of a widget: names and values by turns."""
    return zip(parts[::2], parts[1::2], strict=True)


def queries(stack: Stack, dashboard: dict) -> Iterator[tuple[str, str]]:
    """Returns all queries, each with the groups that it reads."""
    for widget in dashboard["widgets"]:
        query = widget["properties"].get("query", "")
        yield from ((group, query) for group in SOURCE.findall(query))
    # The emulator has no saved queries, so these are those of the template.
    resources = yaml_parse((ROOT / "infra" / "template.yaml").read_text())["Resources"]
    for resource in resources.values():
        if resource["Type"] == "AWS::Logs::QueryDefinition":
            properties = resource["Properties"]
            for group in properties["LogGroupNames"]:
                yield stack.outputs[group["Ref"]], properties["QueryString"]


def strangers(query: str) -> set[str]:
    """Returns the words of a query that are neither of the language nor names that it gives itself."""
    text = TEXT.sub(" ", query)
    given = {name for names in GIVEN.findall(query) for name in names}
    return set(WORD.findall(text)) - LANGUAGE - given


def fields_of(line: dict, prefix: str = "") -> Iterator[str]:
    """Returns the fields of a line as Logs Insights names them: a dot leads into an object."""
    for name, value in line.items():
        if isinstance(value, dict):
            yield from fields_of(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}"
