"""The alarms of the deployed stack."""

from __future__ import annotations

from stack import ALARM_TOPIC, Stack, StackError, step


def check_alarms(stack: Stack) -> None:
    """Every alarm watches something that is there, and tells the topic when it goes on and off."""
    step("the alarms watch what is there, and tell the topic")
    alarms = [
        alarm
        for page in stack.client("cloudwatch").get_paginator("describe_alarms").paginate()
        for alarm in page["MetricAlarms"]
    ]
    if not alarms:
        raise StackError("the stack has no alarms")
    watched = sources(stack)
    for alarm in alarms:
        dimensions = [dimension["Value"] for dimension in alarm["Dimensions"]] or [alarm["MetricName"]]
        if (alarm["Namespace"], *dimensions) not in watched:
            raise StackError(f"{alarm['AlarmName']} watches {alarm['Namespace']} {dimensions}, which there is not")
        if not alarm["AlarmActions"] == alarm["OKActions"] == [ALARM_TOPIC]:
            raise StackError(f"{alarm['AlarmName']} tells {alarm['AlarmActions']} and {alarm['OKActions']}, and not the topic")
    print(f"{len(alarms)} alarms")


def sources(stack: Stack) -> set[tuple[str, str]]:
    """Returns what can be watched, by namespace: queues, functions, and what is counted in logs."""
    queues = stack.client("sqs").list_queues()["QueueUrls"]
    functions = stack.client("lambda").list_functions()["Functions"]
    filters = stack.client("logs").describe_metric_filters()["metricFilters"]
    counted = [counted for one in filters for counted in one["metricTransformations"]]
    return {
        *(("AWS/SQS", url.rsplit("/", 1)[1]) for url in queues),
        *(("AWS/Lambda", function["FunctionName"]) for function in functions),
        *((metric["metricNamespace"], metric["metricName"]) for metric in counted),
    }
