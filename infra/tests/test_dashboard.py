"""The picture that is made of a dashboard and the lines of functions."""

from __future__ import annotations

import unittest
from xml.etree import ElementTree

from dashboard import NAMESPACE, PERIOD, Widget, drawing, failures, points, read, round_up, short, unbroken


def line(at: int, **metrics) -> dict:
    """A line with metrics."""
    return {"_aws": {"Timestamp": at}, **metrics}


class Dashboard(unittest.TestCase):
    """What the picture shows."""

    def test_values_are_joined_by_period_and_statistic(self) -> None:
        lines = [line(PERIOD + 1, Delivered=2), line(PERIOD + 9, Delivered=3), line(2 * PERIOD, Delivered=[1, 10])]
        self.assertEqual(points(lines, "Delivered", "Sum"), {PERIOD: 5, 2 * PERIOD: 11})
        self.assertEqual(points(lines, "Delivered", "Maximum"), {PERIOD: 3, 2 * PERIOD: 10})
        self.assertEqual(points(lines, "Delivered", "p50"), {PERIOD: 2, 2 * PERIOD: 1})
        self.assertEqual(points(lines, "Exhausted", "Sum"), {})

    def test_failures_are_those_of_each_tenant(self) -> None:
        lines: list[dict] = [
            {"tenant": "a", "failed_attempts": 1},
            {"tenant": "b", "failed_attempts": 3},
            {"tenant": "a"},
        ]
        self.assertEqual(failures([*lines, {"tenant": "a", "failed_attempts": 4}]), [("a", 5), ("b", 3)])

    def test_a_widget_of_other_metrics_is_left_out(self) -> None:
        def widget(*metrics: list) -> dict:
            return {"properties": {"title": "Is it late?", "stat": "Sum", "metrics": list(metrics)}}

        lines = [line(0, FanoutLag=7)]
        self.assertIsNone(read(widget(["AWS/SQS", "Age", "QueueName", "q"]), lines))
        self.assertIsNone(read(widget([NAMESPACE, "Delivered"]), lines))
        shown = read(widget([NAMESPACE, "FanoutLag", {"stat": "Maximum", "label": "fan-out"}]), lines)
        assert shown is not None
        self.assertEqual([(one.label, one.values) for one in shown.series], [("fan-out", {0: 7})])
        self.assertEqual(shown.title, "Is it late?")

    def test_the_picture_is_xml_with_every_title_and_row(self) -> None:
        table = Widget("Who & why?", [], [("<acme>", 3)])
        lines = [line(at * PERIOD, Delivered=at) for at in range(1, 4)]
        plot = read({"properties": {"title": "Flow", "stat": "Sum", "metrics": [[NAMESPACE, "Delivered"]]}}, lines)
        assert plot is not None
        root = ElementTree.fromstring(drawing([plot, table]))
        texts = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
        self.assertLessEqual({"Flow", "Delivered", "Who & why?", "<acme>", "3"}, texts)
        [drawn] = root.iter("{http://www.w3.org/2000/svg}polyline")
        self.assertEqual(len(drawn.get("points", "").split()), 3)

    def test_a_line_ends_where_a_period_has_no_value(self) -> None:
        values = {PERIOD: 1.0, 2 * PERIOD: 2.0, 5 * PERIOD: 3.0}
        expected = [[(PERIOD, 1.0), (2 * PERIOD, 2.0)], [(5 * PERIOD, 3.0), (6 * PERIOD, 3.0)]]
        self.assertEqual(unbroken(values), expected)

    def test_scales_are_round(self) -> None:
        self.assertEqual([short(value) for value in (0, 2.5, 5000, 100_000)], ["0", "2.5", "5000", "100k"])
        self.assertEqual(
            [round_up(value) for value in (0.2, 1, 1.5, 3, 7, 10, 11, 4999)], [1, 1, 2, 5, 10, 10, 20, 5000]
        )


if __name__ == "__main__":
    unittest.main()
