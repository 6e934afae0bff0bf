"""Tests of what the parameters for traces change in infra/template.yaml."""

from __future__ import annotations

import re
import unittest

from resolved import TEMPLATE, Resolved
from test_roles import listed, statements

SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:collector-AbCdEf"
COLLECTOR = "https://otlp.example.com/v1/traces"
EXPORTERS = {"Api", "Fanout", "Deliver"}
WRITE = {"xray:PutTraceSegments", "xray:PutSpans"}


def grants(**parameters: str) -> dict[str, set[str]]:
    """Returns the actions for traces that each role allows: those of X-Ray, and reading the secret of the headers."""
    found: dict[str, set[str]] = {}
    for role in Resolved().resources("AWS::IAM::Role"):
        for statement in statements(role, **parameters):
            for action in listed(statement["Action"]):
                if action.startswith("xray:") or statement["Resource"] == SECRET:
                    found.setdefault(role, set()).add(action)
    return found


def variables(function: str, **parameters: str) -> dict[str, str]:
    """Returns the variables of a function that are for traces."""
    environment = Resolved(**parameters).resource(function)["Environment"]["Variables"]
    return {name: value for name, value in environment.items() if name.startswith("TRACES_")}


class Traces(unittest.TestCase):
    """Off, to X-Ray, and to another collector."""

    def test_are_off_by_default(self) -> None:
        self.assertEqual(grants(), {})
        for exporter in EXPORTERS:
            self.assertEqual(variables(f"{exporter}Function")["TRACES_ENDPOINT"], "")

    def test_go_to_x_ray_with_the_role(self) -> None:
        self.assertEqual(grants(TracesEndpoint="xray"), {f"{exporter}Role": WRITE for exporter in EXPORTERS})
        for exporter in EXPORTERS:
            found = variables(f"{exporter}Function", TracesEndpoint="xray", TracesSampling="0.5")
            self.assertEqual(found["TRACES_ENDPOINT"], "https://xray.us-east-1.<AWS::URLSuffix>/v1/traces")
            self.assertEqual((found["TRACES_SIGNED"], found["TRACES_SAMPLING"]), ("true", "0.5"))

    def test_go_to_a_collector_with_its_headers(self) -> None:
        given = {"TracesEndpoint": COLLECTOR, "TracesHeadersSecretArn": SECRET}
        self.assertEqual(grants(**given), {f"{each}Role": {"secretsmanager:GetSecretValue"} for each in EXPORTERS})
        for exporter in EXPORTERS:
            found = variables(f"{exporter}Function", **given)
            self.assertEqual((found["TRACES_ENDPOINT"], found["TRACES_SIGNED"]), (COLLECTOR, "false"))
            self.assertEqual(found["TRACES_HEADERS_SECRET_ARN"], SECRET)

    def test_headers_can_be_decrypted_with_the_key_of_the_stack(self) -> None:
        key = "arn:aws:kms:us-east-1:123456789012:key/0a1b2c3d-0000-4000-8000-000000000000"
        for exporter in EXPORTERS:
            given = {"TracesEndpoint": COLLECTOR, "TracesHeadersSecretArn": SECRET, "KmsKeyArn": key}
            through = [
                via
                for statement in statements(f"{exporter}Role", **given)
                if statement["Resource"] == key
                for via in statement["Condition"]["StringEquals"]["kms:ViaService"]
            ]
            self.assertIn("secretsmanager.us-east-1.<AWS::URLSuffix>", through)

    def test_headers_are_for_a_collector_alone(self) -> None:
        self.assertEqual(Resolved(TracesEndpoint=COLLECTOR, TracesHeadersSecretArn=SECRET).violated(), [])
        self.assertEqual(Resolved(TracesEndpoint="xray").violated(), [])
        for endpoint in ("", "xray"):
            self.assertEqual(len(Resolved(TracesEndpoint=endpoint, TracesHeadersSecretArn=SECRET).violated()), 1)

    def test_the_secret_of_the_headers_is_named_by_its_whole_arn(self) -> None:
        """IAM compares the whole ARN, so without the six characters at its end no role could read the secret."""
        pattern = re.compile(TEMPLATE["Parameters"]["TracesHeadersSecretArn"]["AllowedPattern"])
        for good in ("", SECRET, SECRET.replace("collector", "/traces/headers")):
            self.assertTrue(pattern.fullmatch(good), good)
        for bad in (SECRET.removesuffix("-AbCdEf"), SECRET[:-1], SECRET + "G", SECRET + ":key::", "collector-AbCdEf"):
            self.assertFalse(pattern.fullmatch(bad), bad)

    def test_the_part_is_a_number_from_0_to_1(self) -> None:
        pattern = re.compile(TEMPLATE["Parameters"]["TracesSampling"]["AllowedPattern"])
        for good in ("0", "0.05", "0.123456789", "1"):
            self.assertTrue(pattern.fullmatch(good), good)
        for bad in ("", "1.5", "-0.1", ".5", "0,5", "5%"):
            self.assertFalse(pattern.fullmatch(bad), bad)

    def test_endpoints_are_checked_before_anything_is_changed(self) -> None:
        pattern = re.compile(TEMPLATE["Parameters"]["TracesEndpoint"]["AllowedPattern"])
        for good in ("", "xray", COLLECTOR, "https://otlp.example.com:4318", "https://[2001:db8::1]/v1/traces"):
            self.assertTrue(pattern.fullmatch(good), good)
        for bad in (
            "http://otlp.example.com/v1/traces",
            "https://user:key@otlp.example.com/",
            COLLECTOR + "?key=a",
            "x-ray",
        ):
            self.assertFalse(pattern.fullmatch(bad), bad)


if __name__ == "__main__":
    unittest.main()
