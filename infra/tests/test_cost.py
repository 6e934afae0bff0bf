"""The formula of docs/use/cost.md: it prints what the page shows, and counts what the template has."""

from __future__ import annotations

import contextlib
import io
import re
import unittest

from common import ROOT
from resolved import Resolved

PAGE = (ROOT / "docs" / "use" / "cost.md").read_text()
TEMPLATE = (ROOT / "infra" / "template.yaml").read_text()
ALARMS = Resolved().resources("AWS::CloudWatch::Alarm")


class Cost(unittest.TestCase):
    """What the page computes."""

    def test_the_formula_prints_what_the_page_shows(self) -> None:
        code, shown = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL).groups()  # type: ignore[union-attr]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "docs/use/cost.md", "exec"), {})
        self.assertEqual(printed.getvalue(), shown)

    def test_the_counts_are_those_of_the_template(self) -> None:
        alarms, queues = re.search(r"def idle\(alarms=(\d+), queues=(\d+)\)", PAGE).groups()  # type: ignore[union-attr]
        # CloudWatch bills each metric that an alarm watches.
        watched = [alarm.get("Metrics", [{"MetricStat": {}}]) for alarm in ALARMS.values()]
        self.assertEqual(int(alarms), sum("MetricStat" in metric for metrics in watched for metric in metrics))
        polled = re.findall(r"EventSourceArn: !GetAtt (\w+Queue)\.Arn", TEMPLATE)
        self.assertEqual(int(queues), len(set(polled)))
