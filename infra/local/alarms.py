"""The alarms of the deployed stack."""

from __future__ import annotations

import re

from stack import ALARM_TOPIC, ROOT, Stack, StackError

# The metrics that AWS has of a queue and of a function, as far as an alarm watches them.
OF_A_QUEUE = ("ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage")
OF_A_FUNCTION = ("DestinationDeliveryFailures", "Errors", "Invocations", "IteratorAge", "RecursiveInvocationsDropped", "Throttles")


# The logical id and the type of a resource of a template.
RESOURCE = re.compile(r"^  (\w+):\n    Type: (AWS::\S+)$", re.MULTILINE)

# What the operator's page must say of each resource of a type, and under which heading.
DOCUMENTED = {
    "AWS::CloudWatch::Alarm": "What pages you",
    "AWS::Lambda::EventSourceMapping": "What stays silent",
}


def check_runbook() -> None:
    """The runbook names every alarm, and every mapping that can stop without one."""
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
    """Every alarm watches something that is there, and tells the topic when it goes on and off."""
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
            raise StackError(f"{alarm['AlarmName']} watches {source}, which there is not")
        if not alarm["AlarmActions"] == alarm["OKActions"] == [ALARM_TOPIC]:
            raise StackError(f"{alarm['AlarmName']} tells {alarm['AlarmActions']} and {alarm['OKActions']}, and not the topic")
    print(f"{len(alarms)} alarms")


def sources(stack: Stack) -> set[tuple]:
    """Returns what can be watched: namespace, metric, and the dimension of what there is; queues, functions, and counts of logs."""
    queues = stack.client("sqs").list_queues()["QueueUrls"]
    functions = stack.client("lambda").list_functions()["Functions"]
    filters = stack.client("logs").describe_metric_filters()["metricFilters"]
    counted = [metric for one in filters for metric in one["metricTransformations"]]
    return {
        *(("AWS/SQS", metric, ("QueueName", url.rsplit("/", 1)[1])) for url in queues for metric in OF_A_QUEUE),
        *(("AWS/Lambda", metric, ("FunctionName", one["FunctionName"])) for one in functions for metric in OF_A_FUNCTION),
        *((metric["metricNamespace"], metric["metricName"]) for metric in counted),
    }
