"""Tests of `make deploy`: what it asks, what it saves, and what it runs."""

from __future__ import annotations

import os
import shutil
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

import deploy
from account import RSA_KEY, TOPIC, Account, WithIssuer, executions, identity, no_stack, stack, topic
from common import ROOT, StackError
from preflight import Findings
from samcli.cli.types import CfnParameterOverridesType, CfnTags
from samcli.lib.config.samconfig import SamConfig


class Deployments(WithIssuer):
    """Questions, answers, and what is saved."""

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        shutil.copy(ROOT / "samconfig.toml", self.folder)
        self.issuer.publish([RSA_KEY])
        self.asked: list[str] = []

    def answers(self, *given: str) -> deploy.Ask:
        left = list(given)

        def ask(question: str) -> str:
            self.asked.append(question)
            return left.pop(0)

        return ask

    def prepare(self, settings: deploy.Settings, *answers: tuple[str, str, dict | str]) -> None:
        """Runs the checks in an account with these answers."""
        account = Account(identity(), executions(1000, 1000), topic(), *answers)
        with mock.patch("deploy.session_of", lambda _: account), mock.patch("preflight.check_toolchain"):
            deploy.prepare(settings)

    def saved(self, environment: str) -> dict[str, Any]:
        """Returns what `sam deploy` reads."""
        return SamConfig(str(self.folder), "samconfig.toml").get_all(["deploy"], "parameters", environment)

    def test_two_answers_and_the_topic_are_asked_once_and_saved(self) -> None:
        settings = deploy.read_settings(self.folder, "prod")
        deploy.answer(settings, self.answers(self.issuer.url, "", "dynahook", TOPIC))
        self.assertEqual([question.split()[0] for question in self.asked], ["Issuer", "Audience", "Audience", "ARN"])
        self.prepare(settings, *no_stack())
        saved = self.saved("prod")
        parameters = CfnParameterOverridesType().convert(saved["parameter_overrides"], None, None)
        self.assertEqual(
            parameters,
            {
                "Stage": "prod",
                "LogRetentionDays": "90",
                "JwtIssuer": self.issuer.url,
                "JwtAudience": "dynahook",
                "AlarmTopicArn": TOPIC,
                "JwksUrl": f"{self.issuer.url}/jwks",
            },
        )
        self.assertEqual(
            (saved["region"], saved["stack_name"], saved["confirm_changeset"]), ("eu-west-1", "dynahook-prod", True)
        )
        again = deploy.read_settings(self.folder, "prod")
        deploy.answer(again, self.answers())
        self.prepare(again, stack(Stage="prod"))

    def test_every_fault_is_named_at_once_and_nothing_is_saved(self) -> None:
        before = (self.folder / "samconfig.toml").read_text()
        self.issuer.publish([{"kty": "OKP"}])
        settings = deploy.read_settings(self.folder, "prod")
        reserved = "ApiReservedConcurrency=900 AuthorizerReservedConcurrency=50"
        deploy.change(settings, f"JwtIssuer={self.issuer.url} JwtAudience=dynahook {reserved}", "")
        with self.assertRaises(StackError) as refused:
            self.prepare(settings, stack("UPDATE_IN_PROGRESS", Stage="dev"))
        said = str(refused.exception)
        for part in ("no key for RS256 or ES256", "UPDATE_IN_PROGRESS", "Stage=dev, which cannot", "reserve 950"):
            self.assertIn(part, said)
        self.assertEqual(said.count("\n  - "), 4, said)
        self.assertEqual((self.folder / "samconfig.toml").read_text(), before)

    def test_a_region_that_is_ignored_is_a_warning(self) -> None:
        settings = deploy.read_settings(self.folder, "default")
        settings.region = "eu-west-1"
        deploy.change(settings, f"JwtIssuer={self.issuer.url} JwtAudience=a AlarmTopicArn={TOPIC}", "")
        for elsewhere, warnings in (("eu-west-1", 0), ("us-east-1", 1)):
            account = Account(identity(), executions(1000, 1000), topic(), *no_stack())
            with (
                mock.patch("deploy.session_of", lambda _, account=account: account),
                mock.patch("preflight.check_toolchain"),
                mock.patch.dict(os.environ, {"AWS_REGION": elsewhere}),
            ):
                self.assertEqual(len(deploy.check(settings).warnings), warnings)

    def test_the_key_and_the_topic_are_checked(self) -> None:
        settings = deploy.read_settings(self.folder, "default")
        key = "arn:aws:kms:eu-west-1:123456789012:key/0a1b"
        given = f"JwtIssuer={self.issuer.url} JwtAudience=a AlarmTopicArn={TOPIC} KmsKeyArn={key}"
        deploy.change(settings, given, "")
        no_key = ("kms", "describe_key", "NotFoundException: no")
        account = Account(identity(), executions(1000, 1000), topic(key="alias/aws/sns"), no_key, *no_stack())
        with (
            mock.patch("deploy.session_of", lambda _: account),
            mock.patch("preflight.check_toolchain"),
            self.assertRaisesRegex(StackError, "alias/aws/sns(.|\n)*There is no key"),
        ):
            deploy.prepare(settings)

    def run_deploy(self, interactive: bool, *answers: tuple[str, str, dict | str]) -> tuple[list[str], list[str]]:
        """Runs `make deploy`; returns the processors that it built for, and the command that deployed."""
        built: list[str] = []
        ran: list[list[str]] = []

        def run(command: list[str], **_: object) -> mock.Mock:
            ran.append(command)
            return mock.Mock(returncode=0)

        given = f"JwtIssuer={self.issuer.url} JwtAudience=dynahook AlarmTopicArn={TOPIC} Architecture=x86_64"
        outputs = [
            {"OutputKey": name, "OutputValue": "https://a.example"}
            for name in ("ApiUrl", "FanoutFunction", "StreamFailuresBucketArn")
        ]
        (_, _, deployed) = stack(Stage="prod")
        after = Account(
            ("cloudformation", "describe_stacks", {"Stacks": [{**deployed["Stacks"][0], "Outputs": outputs}]})
        )
        before = Account(identity(), executions(1000, 1000), topic(), *answers)
        sessions = iter([before, after])
        with (
            mock.patch.dict(os.environ, {"STAGE": "prod", "PARAMETERS": given, "TAGS": ""}),
            mock.patch("deploy.ROOT", self.folder),
            mock.patch("deploy.session_of", lambda _: next(sessions)),
            mock.patch("deploy.sam_build", built.append),
            mock.patch("preflight.check_toolchain"),
            mock.patch("sys.stdin.isatty", lambda: interactive),
            mock.patch("subprocess.run", run),
        ):
            deploy.deploy()
        (command,) = ran
        return built, command

    def test_it_builds_for_the_processor_and_deploys_the_environment(self) -> None:
        built, command = self.run_deploy(True, *no_stack())
        self.assertEqual(built, ["x86_64"])
        file = str(self.folder / "samconfig.toml")
        self.assertEqual(command, ["sam", "deploy", "--config-file", file, "--config-env", "prod"])

    def test_nothing_is_confirmed_where_there_is_no_terminal(self) -> None:
        _, command = self.run_deploy(False, *no_stack())
        self.assertEqual(command[-1], "--no-confirm-changeset")

    def test_without_a_terminal_the_answers_are_parameters(self) -> None:
        settings = deploy.read_settings(self.folder, "default")
        with self.assertRaisesRegex(StackError, 'add PARAMETERS="JwtIssuer=… JwtAudience=…"'):
            deploy.answer(settings, None)
        deploy.change(settings, f'JwtIssuer={self.issuer.url} JwtAudience="a b"', "team=billing cost-center=42")
        deploy.answer(settings, None)
        self.prepare(settings, *no_stack())
        saved = self.saved("default")
        self.assertEqual(CfnTags().convert(saved["tags"], None, None), {"team": "billing", "cost-center": "42"})
        parameters = CfnParameterOverridesType().convert(saved["parameter_overrides"], None, None)
        self.assertEqual(parameters["JwtAudience"], "a b")
        self.assertEqual(saved["stack_name"], "dynahook")

    def test_a_new_stage_is_a_deployment_of_its_own(self) -> None:
        default = deploy.read_settings(self.folder, "default")
        deploy.change(default, f"JwtIssuer={self.issuer.url} JwtAudience=first AlarmTopicArn={TOPIC}", "team=first")
        self.prepare(default, *no_stack())
        settings = deploy.read_settings(self.folder, "staging")
        self.assertEqual(
            (settings.stack, settings.parameters, settings.tags), ("dynahook-staging", {"Stage": "staging"}, {})
        )
        deploy.change(settings, f"JwtIssuer={self.issuer.url} JwtAudience=second AlarmTopicArn={TOPIC}", "")
        self.prepare(settings, *no_stack())
        saved = self.saved("staging")
        self.assertEqual((saved["resolve_s3"], saved["capabilities"]), (True, "CAPABILITY_IAM"))
        built = SamConfig(str(self.folder), "samconfig.toml").get_all(["build"], "parameters", "staging")
        self.assertEqual(built["template_file"], "infra/template.yaml")
        with self.assertRaisesRegex(StackError, "STAGE=Staging must match"):
            deploy.read_settings(self.folder, "Staging")

    def test_another_issuer_has_another_key_set(self) -> None:
        settings = deploy.read_settings(self.folder, "default")
        settings.parameters.update(JwtIssuer="https://old.example", JwksUrl="https://old.example/jwks", JwtAudience="a")
        deploy.change(settings, f"JwtIssuer={self.issuer.url} AlarmTopicArn={TOPIC}", "")
        self.prepare(settings, *no_stack())
        self.assertEqual(settings.parameters["JwksUrl"], f"{self.issuer.url}/jwks")

    def test_of_two_key_sets_the_other_is_emptied(self) -> None:
        # CloudFormation would keep one that is left out, and the authorizer prefers Jwks.
        settings = deploy.read_settings(self.folder, "default")
        settings.parameters.update(JwtIssuer="https://old.example", Jwks='{"keys": []}', JwtAudience="a")
        deploy.change(settings, f"JwtIssuer={self.issuer.url} AlarmTopicArn={TOPIC}", "")
        self.prepare(settings, *no_stack())
        self.assertEqual((settings.parameters["Jwks"], settings.parameters["JwksUrl"]), ("", f"{self.issuer.url}/jwks"))
        settings.parameters["Jwks"] = '{"keys": []}'
        deploy.change(settings, f"JwksUrl={self.issuer.url}/jwks", "")
        self.assertEqual(settings.parameters["Jwks"], "")
        deploy.change(settings, 'Jwks="{}"', "")
        self.assertEqual(settings.parameters["JwksUrl"], "")

    def test_a_key_set_that_only_the_vpc_may_reach_is_a_warning(self) -> None:
        settings = deploy.read_settings(self.folder, "default")
        settings.parameters.update(JwtIssuer=self.issuer.url, JwksUrl=f"{self.issuer.url}/nothing")
        deploy.check_tokens(settings, self.found)
        self.assertEqual(len(self.found.faults), 1)
        settings.parameters["VpcSubnetIds"] = "subnet-1"
        found = Findings()
        deploy.check_tokens(settings, found)
        self.assertEqual(found.faults, [])
        self.assertIn("from the VPC, which was not tried", "\n".join(found.warnings))

    def test_a_key_set_of_another_issuer_is_a_warning(self) -> None:
        self.issuer.documents["/old"] = self.issuer.documents["/jwks"]
        settings = deploy.read_settings(self.folder, "default")
        settings.parameters.update(JwtIssuer=self.issuer.url, JwksUrl=f"{self.issuer.url}/old")
        deploy.check_tokens(settings, self.found)
        self.assertEqual((self.found.faults, len(self.found.warnings)), ([], 1))

    def test_values_of_the_stack_are_kept_unless_they_are_set(self) -> None:
        settings = deploy.read_settings(self.folder, "default")
        deploy.change(settings, f"JwtIssuer={self.issuer.url} JwtAudience=a AlarmTopicArn={TOPIC}", "")
        self.prepare(settings, stack(Stage="prod", Architecture="x86_64"))
        self.assertEqual((settings.parameter("Stage"), settings.parameter("Architecture")), ("prod", "x86_64"))

    def test_the_next_steps_name_what_was_deployed(self) -> None:
        settings = deploy.read_settings(self.folder, "default")
        deploy.change(settings, "JwtIssuer=https://i.example JwtAudience=dynahook RolesClaim=cognito:groups", "")
        settings.region = "eu-west-1"
        output = {"ApiUrl": "https://a.example", "FanoutFunction": "fan", "StreamFailuresBucketArn": "arn:aws:s3:::b"}
        said = deploy.next_steps(settings, output)
        for part in (
            *("https://a.example/console", "https://a.example/api/v1/integration", "iss     https://i.example"),
            *('cognito:groups ["OPERATOR"]', "docs/use/api.md#jwts", "FanoutFunction=fan", "arn:aws:s3:::b"),
            *("docs/use/sources.md#on-aws", "claim tenant_id"),
        ):
            self.assertIn(part, said)
        self.assertNotIn("CNAME", said)
        domain = {**output, "ApiUrl": "https://hooks.example", "DomainTarget": "d-1.execute-api.example"}
        self.assertIn("hooks.example CNAME d-1.execute-api.example", deploy.next_steps(settings, domain))
        settings.parameters["HostedZoneId"] = "Z1"
        self.assertNotIn("CNAME", deploy.next_steps(settings, domain))
        settings.parameters["PublicUrl"] = "https://hooks.example"
        self.assertIn("https://hooks.example/console", deploy.next_steps(settings, output))


if __name__ == "__main__":
    unittest.main()
