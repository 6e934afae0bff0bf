"""The alarms of the deployed stack."""

from __future__ import annotations

import re

from common import ROOT, StackError
from metrics import documented
from stack import ALARM_TOPIC, STACK, Stack

# The metrics of queues, functions, the API and rules on AWS that alarms watch.
OF_A_QUEUE = ("ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage")
OF_A_FUNCTION = (
    "DestinationDeliveryFailures",
    "Errors",
    "Invocations",
    "IteratorAge",
    "RecursiveInvocationsDropped",
    "Throttles",
)
OF_THE_API = ("4xx", "5xx", "Count")
OF_A_RULE = ("FailedInvocations", "TriggeredRules")


# The logical id and the type of a resource of a template.
RESOURCE = re.compile(r"^  (\w+):\n    Type: (AWS::\S+)$", re.MULTILINE)

# The heading of the runbook under which each resource of a type must be mentioned.
DOCUMENTED = {
    "AWS::CloudWatch::Alarm": "What pages you",
    "AWS::Lambda::EventSourceMapping": "What stays silent",
}


def check_runbook() -> None:
    """Checks that the runbook names every alarm, and every event source mapping that can stop without one."""
    runbook = (ROOT / "docs" / "use" / "runbook.md").read_text()
    sections = {part.partition("\n")[0]: part for part in runbook.split("\n## ")}
    missing = [
        f"{name} under “{DOCUMENTED[kind]}”"
        for template in ("template.yaml", "source.yaml")
        for name, kind in RESOURCE.findall((ROOT / "infra" / template).read_text())
        if kind in DOCUMENTED and f"`{name}`" not in sections[DOCUMENTED[kind]]
    ]
    if missing:
        raise StackError(f"docs/use/runbook.md does not mention {', '.join(missing)}")


def check_alarms(stack: Stack) -> None:
    """Checks that every alarm watches an existing metric and notifies the topic when it starts and ends. The emulator
    lacks alarms that compute; infra/tests/test_alarms.py checks those."""
    alarms = [
        alarm
        for page in stack.client("cloudwatch").get_paginator("describe_alarms").paginate()
        for alarm in page["MetricAlarms"]
    ]
    if not alarms:
        raise StackError("the stack has no alarms")
    watched = sources(stack)
    for alarm in alarms:
        dimensions = [(dimension["Name"], dimension["Value"]) for dimension in alarm["Dimensions"]]
        source = (alarm["Namespace"], alarm["MetricName"], *dimensions)
        if source not in watched:
            raise StackError(f"{alarm['AlarmName']} watches {source}, which does not exist")
        if not alarm["AlarmActions"] == alarm["OKActions"] == [ALARM_TOPIC]:
            raise StackError(
                f"{alarm['AlarmName']} notifies {alarm['AlarmActions']} and {alarm['OKActions']} instead of the topic"
            )
    print(f"{len(alarms)} alarms")


def sources(stack: Stack) -> set[tuple]:
    """Returns what alarms can watch (namespace, metric and dimension): queues, functions, rules and metric filters of
    logs."""
    queues = stack.client("sqs").list_queues()["QueueUrls"]
    functions = stack.client("lambda").list_functions()["Functions"]
    rules = stack.client("events").list_rules()["Rules"]
    filters = stack.client("logs").describe_metric_filters()["metricFilters"]
    counted = [metric for one in filters for metric in one["metricTransformations"]]
    return {
        *(("AWS/SQS", metric, ("QueueName", url.rsplit("/", 1)[1])) for url in queues for metric in OF_A_QUEUE),
        *(
            ("AWS/Lambda", metric, ("FunctionName", one["FunctionName"]))
            for one in functions
            for metric in OF_A_FUNCTION
        ),
        *(("AWS/Events", metric, ("RuleName", rule["Name"])) for rule in rules for metric in OF_A_RULE),
        *((metric["metricNamespace"], metric["metricName"]) for metric in counted),
        *(("AWS/ApiGateway", metric, ("ApiId", stack.outputs["ApiId"])) for metric in OF_THE_API),
        # What the functions write into their logs.
        *((f"Dynahook/{STACK}", metric) for metric in documented()),
    }
