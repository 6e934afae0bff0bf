"""Provokes each alarm of the template with values that its metrics have when something is wrong, and leaves it quiet
with the largest ones that are normal. The rules are those of CloudWatch."""

from __future__ import annotations

import json
import unittest
from collections.abc import Mapping, Sequence

from resolved import TEMPLATE, Resolved

TOPIC = "arn:aws:sns:us-east-1:123456789012:alarms"

# The concurrent executions of an account, for SERVICE_QUOTA.
QUOTA = 1000

LESS, MORE = "LessThanThreshold", "GreaterThanThreshold"
COMPARISONS = {
    LESS: lambda value, threshold: value < threshold,
    MORE: lambda value, threshold: value > threshold,
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
}

# For each alarm, the values of its metrics, period after period, that provoke it, and those that do not. `None` is a
# period without data. Alarms that compute have values for each of their metrics.
Series = Sequence[float | None]
Values = Series | Mapping[str, Series]
PROVOKED: dict[str, tuple[Values, Values]] = {
    "DeadLettersAlarm": ([0, 1], [0, 0]),
    "OrderedDeadLettersAlarm": ([1], [0]),
    "RenderingsDeadLettersAlarm": ([1], [0]),
    "StreamFailuresAlarm": ([3], [0]),
    "OldestDeliveryAlarm": ([301, 360, 420, 480, 540], [299, 360, 420, 480, 540]),
    "OldestRetryAlarm": ([1201, 1260, 1320, 1380, 1440], [900, 900, 900, 1201, 1260]),
    "OldestSlowAlarm": ([1801, 1860, 1920, 1980, 2040], [None, 1860, 1920, 1980, 2040]),
    "OldestOrderedAlarm": ([601, 660, 720, 780, 840], [360, 360, 360, 360, 360]),
    "OldestRenderingAlarm": ([901, 960, 1020, 1080, 1140], [360, 360, 360, 360, 360]),
    # A slice that kills its process does so every six minutes.
    "RenderErrorsAlarm": ([1, 0, 0, 0, 0, 0] * 5, [1] + [0] * 29),
    "RenderFaultLastsAlarm": ([1, None, 1, None, 1, None, None, None], [2, 1, None, None, None, None, None, None]),
    "DeliverErrorsAlarm": ([1, 0, 0, 0, 0, 0] * 5, [1, 1] + [0] * 28),
    "DeliverFaultsAlarm": ([5], [4]),
    "DeliverFaultLastsAlarm": ([1, None, 1, None, 1, None, None, None], [9, 9, None, None, None, None, None, None]),
    "DeliverLoopsAlarm": ([1], [None]),
    "StreamLagAlarm": ([300_001] * 5, [300_001, 300_001, 300_001, 300_001, 1_000]),
    "TallyLagAlarm": ([3_600_001] * 3, [3_600_001, 3_600_001, 1_000]),
    "LostRecordsAlarm": (
        {"given_up": [None] * 10, "gone": [None] * 6 + [1] + [None] * 3},
        {"given_up": [0] * 10, "gone": [None] * 10},
    ),
    "UnmappedRecordsAlarm": ([1], [None]),
    "GivenUpBatchesAlarm": ([1], [None]),
    "NotArchivedAlarm": ([1, 4, 1, 9, 2], [7, None, 7, 7, 7]),
    "TenantBudgetAlarm": ([1], [None]),
    "SweepErrorsAlarm": ([1, 1, 1], [1, 0, 1]),
    "SweepSilentAlarm": ([None] * 5, [None, None, None, None, 1]),
    "WatchSilentAlarm": ([None] * 3, [None, None, 1]),
    # A check every five minutes, or a little more.
    "DetachedSourcesAlarm": ([None, 1, 2], [None, None, 1]),
    "ApiErrorsAlarm": ([5], [4]),
    "ApiErrorsLastAlarm": ([1, None, 1, None, None, 1, None, None], [4, 4, None, None, None, None, None, None]),
    # Fan-out crashes on a record and is invoked again with the halves of its batch.
    "FunctionErrorsAlarm": (
        {"fanout": [1, 1, 1] + [None] * 27, "watch": [None] * 30},
        {"fanout": [1] + [0] * 29, "watch": [1] + [None] * 29},
    ),
    "ThrottlesAlarm": (
        {"deliver": [9, 0] * 9, "fanout": [0, 1] * 9, "render": [None] * 18, "sweep": [0] * 18},
        {"deliver": [9] * 14 + [0] * 4, "fanout": [None] * 18, "render": [None] * 18, "sweep": [0] * 18},
    ),
    # Some functions reserve what they do not use.
    "ConcurrencyAlarm": (
        {"claimed": [800, 850, 900, 990, 1000], "used": [1, 1, 1, 1, 1]},
        {"claimed": [799, 1000, 1000, 1000, 1000], "used": [799, 1000, 1000, 1000, 1000]},
    ),
    "TableThrottlesAlarm": (
        {"deliveries_writes": [11] * 13, "lanes_writes": [None] * 13},
        {"deliveries_writes": [300] * 9 + [None] * 4, "registry_reads": [5] * 13, "events_writes": [5] * 13},
    ),
}


def is_provoked(alarm: dict, values: Values) -> bool:
    """Returns whether the alarm is on after these values, as CloudWatch decides: of the last `EvaluationPeriods`
    values, `DatapointsToAlarm` must reach the threshold."""
    periods = int(alarm["EvaluationPeriods"])
    found = computed(alarm, values) if isinstance(values, Mapping) else values
    assert len(found) >= periods, "the values must fill the alarm's periods"
    missing = {"breaching": True, "notBreaching": False}[alarm["TreatMissingData"]]
    compare, threshold = COMPARISONS[alarm["ComparisonOperator"]], float(alarm["Threshold"])
    reached = [missing if value is None else compare(value, threshold) for value in found[-periods:]]
    return sum(reached) >= int(alarm.get("DatapointsToAlarm", periods))


def computed(alarm: dict, values: Mapping[str, Series]) -> Series:
    """Returns the values of the alarm's expression."""
    (expression,) = (metric["Expression"] for metric in alarm["Metrics"] if "Expression" in metric)
    names = {metric["Id"] for metric in alarm["Metrics"] if "MetricStat" in metric}
    assert set(values) <= names, set(values) - names
    length = max(len(series) for series in values.values())
    functions = {"FILL": lambda value, other: other if value is None else value, "SERVICE_QUOTA": lambda _: QUOTA}
    found: list[float | None] = []
    for index in range(length):
        at = {name: values[name][index] if name in values else None for name in names}
        try:
            found.append(eval(expression, {"__builtins__": {}}, {**functions, **at}))
        except TypeError:
            found.append(None)
    return found


class Alarms(unittest.TestCase):
    """All alarms of the template."""

    def setUp(self) -> None:
        self.alarms = Resolved(AlarmTopicArn=TOPIC).resources("AWS::CloudWatch::Alarm")

    def test_there_are_none_without_a_topic(self) -> None:
        stack = Resolved()
        self.assertEqual(stack.resources("AWS::CloudWatch::Alarm"), {})
        for found in (stack, Resolved(AlarmTopicArn=TOPIC)):
            widgets = json.loads(found.resource("Dashboard")["DashboardBody"])["widgets"]
            shown = [arn for widget in widgets for arn in widget["properties"].get("alarms", [])]
            self.assertEqual(
                {arn.strip("<>").removesuffix(".Arn") for arn in shown}, set(found.resources("AWS::CloudWatch::Alarm"))
            )
        self.assertEqual(len(shown), len(set(shown)))

    def test_each_alarm_is_provoked_and_left_quiet(self) -> None:
        self.assertEqual(set(PROVOKED), set(self.alarms), "each alarm needs values")
        for name, (bad, normal) in PROVOKED.items():
            self.assertTrue(is_provoked(self.alarms[name], bad), f"{name} stays off")
            self.assertFalse(is_provoked(self.alarms[name], normal), f"{name} goes off")

    def test_metrics_that_arrive_late_stop_no_alarm(self) -> None:
        """`FILL` turns the last minutes, whose values have not arrived yet, into zeros."""
        computing = {name for name, alarm in self.alarms.items() if "FILL" in str(alarm.get("Metrics"))}
        self.assertEqual(
            computing, {"FunctionErrorsAlarm", "LostRecordsAlarm", "ThrottlesAlarm", "TableThrottlesAlarm"}
        )
        for name in computing:
            alarm = self.alarms[name]
            first = next(one["Id"] for one in alarm["Metrics"] if "MetricStat" in one)
            lasting = {first: [99] * (int(alarm["EvaluationPeriods"]) - 3) + [None] * 3}
            self.assertTrue(is_provoked(alarm, lasting), f"{name} stays off while the last values are late")

    def test_a_lasting_fault_does_not_end_and_begin_again(self) -> None:
        """Alarms on values that come less often than every period."""
        # The watch runs every five minutes: once a period, and now and then twice and then not at all.
        checks: list[float | None] = [1, 1, None, 1, 1, 1, None, 1]
        alarm = self.alarms["DetachedSourcesAlarm"]
        for end in range(int(alarm["EvaluationPeriods"]), len(checks) + 1):
            self.assertTrue(is_provoked(alarm, checks[:end]), f"it ends after {checks[:end]}")

    def test_each_function_with_budgets_has_a_filter_for_its_lines(self) -> None:
        stack = Resolved(AlarmTopicArn=TOPIC)
        logs = {
            function["LoggingConfig"]["LogGroup"]
            for function in stack.resources("AWS::Serverless::Function").values()
            if "BUDGETS" in function["Environment"]["Variables"]
        }
        filters = stack.resources("AWS::Logs::MetricFilter").values()
        counted = {one["LogGroupName"] for one in filters if "budget_percent" in one["FilterPattern"]}
        self.assertEqual(counted, logs)

    def test_each_alarm_that_computes_has_one_result_and_few_metrics(self) -> None:
        """CloudWatch bills each metric of an alarm, allows ten, and wants one result."""
        for name, alarm in self.alarms.items():
            metrics = alarm.get("Metrics", [])
            if metrics:
                results = [one for one in metrics if one.get("ReturnData", True)]
                self.assertEqual(["Expression" in one for one in results], [True], name)
                self.assertLessEqual(len(metrics), 10, name)
                periods = {one["MetricStat"]["Period"] for one in metrics if "MetricStat" in one}
                self.assertEqual(len(periods), 1, f"{name} mixes periods")

    def test_alarms_that_compute_watch_resources_of_the_template(self) -> None:
        """Others are checked on the deployed stack, which lacks these: see infra/local/alarms.py."""
        kinds = {
            "FunctionName": ("AWS::Serverless::Function", "AWS::Lambda::Function"),
            "TableName": ("AWS::DynamoDB::Table",),
        }
        for name, alarm in self.alarms.items():
            for metric in (one["MetricStat"]["Metric"] for one in alarm.get("Metrics", []) if "MetricStat" in one):
                for dimension in metric.get("Dimensions", []):
                    if dimension["Name"] in kinds:
                        resource = TEMPLATE["Resources"][dimension["Value"].strip("<>")]
                        self.assertIn(resource["Type"], kinds[dimension["Name"]], name)


if __name__ == "__main__":
    unittest.main()
