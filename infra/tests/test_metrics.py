"""Tests of the check of the metrics, and of what the template makes of lines that name tenants."""

from __future__ import annotations

import copy
import json
import unittest
from typing import Any

from metrics import documented, faults_of
from resolved import Resolved

NAMESPACE = "Dynahook/dynahook"
LINE: dict[str, Any] = {
    "_aws": {
        "Timestamp": 1790000000000,
        "CloudWatchMetrics": [
            {
                "Namespace": NAMESPACE,
                "Dimensions": [[]],
                "Metrics": [{"Name": "ArrivalTime", "Unit": "Milliseconds"}, {"Name": "Delivered", "Unit": "Count"}],
            }
        ],
    },
    "version": "0.1.0+0123456789ab",
    "ArrivalTime": [12.0, 13.0],
    "Delivered": 2,
}


class Lines(unittest.TestCase):
    """Lines with metrics."""

    def found(self, change) -> list[str]:
        line = copy.deepcopy(LINE)
        change(line, line["_aws"]["CloudWatchMetrics"][0])
        return list(faults_of(line, documented(), NAMESPACE))

    def test_a_valid_line_has_no_fault(self) -> None:
        self.assertEqual(self.found(lambda line, directive: None), [])

    def test_each_fault_is_found(self) -> None:
        for change in (
            lambda line, directive: line.pop("Delivered"),
            lambda line, directive: line.update(Delivered="2"),
            lambda line, directive: line.update(Delivered=True),
            lambda line, directive: line.update(ArrivalTime=[1.0] * 101),
            lambda line, directive: line.update(ArrivalTime=[]),
            lambda line, directive: line.update(tenant="acme"),
            lambda line, directive: line["_aws"].pop("Timestamp"),
            lambda line, directive: line["_aws"].update(CloudWatchMetrics=[]),
            lambda line, directive: directive.update(Namespace="Other"),
            lambda line, directive: directive.update(Dimensions=[["tenant"]]),
            lambda line, directive: directive.update(Metrics=[]),
            lambda line, directive: directive["Metrics"][0].update(Unit="Seconds"),
            lambda line, directive: directive["Metrics"][0].update(Unit="Parsecs"),
            lambda line, directive: directive["Metrics"][0].update(Name="Unknown"),
        ):
            self.assertEqual(len(self.found(change)) >= 1, True, change)


class Tenants(unittest.TestCase):
    """The rules of Contributor Insights."""

    def test_are_off_unless_they_are_asked_for(self) -> None:
        self.assertEqual(Resolved().resources("AWS::CloudWatch::InsightRule"), {})

    def test_count_the_lines_of_the_functions(self) -> None:
        rules = Resolved(ContributorInsights="true").resources("AWS::CloudWatch::InsightRule")
        fields = set()
        for rule in rules.values():
            body = json.loads(rule["RuleBody"])
            self.assertEqual(body["Contribution"]["Keys"], ["$.tenant"])
            value = body["Contribution"]["ValueOf"]
            self.assertEqual(body["Contribution"]["Filters"], [{"Match": value, "GreaterThan": 0}])
            fields.add((body["LogGroupNames"][0], value))
        self.assertEqual(fields, {("<DeliverLogs>", "$.failed_attempts"), ("<ApiLogs>", "$.throttled_requests")})


if __name__ == "__main__":
    unittest.main()
