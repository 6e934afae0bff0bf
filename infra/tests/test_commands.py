"""Tests of the documented `sam` commands, read by SAM itself with samconfig.toml: each must deploy as documented.

SAM runs up to its first call to AWS. Commands of one document run one after another, so that a command finds the
answers that `sam deploy --guided` saved."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
import unittest
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import tomlkit
from click.testing import CliRunner
from common import ROOT
from samcli.cli.main import cli
from samcli.yamlhelper import yaml_parse

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

BLOCK = re.compile(r"^```sh[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)

# Answers to SAM's questions; for all others, SAM's proposal.
ANSWERS = {
    "JwtIssuer": "https://issuer.example",
    "JwtAudience": "dynahook",
    "JwksUrl": "https://issuer.example/jwks.json",
}

# Its parameters depend on the machine: infra/local/stack.py sets them.
OF_THIS_MACHINE = "local"


@dataclass
class Deployment:
    """A deployment that SAM would make."""

    command: str
    stack: str
    template: Path
    parameters: dict[str, str]
    capabilities: tuple[str, ...]
    bucket: str | None


def commands(document: Path) -> list[list[str]]:
    """Returns the `sam` commands of a document's blocks, without the shell's operators."""
    found = []
    for block in BLOCK.findall(document.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"\s*sam\s|.*&&\s*sam\s", line):
                parts = [shlex.split(part, comments=True) for part in re.split(r"\s&&\s", line)]
                found += [words[1:] for words in parts if words[:1] == ["sam"]]
    return found


class Person:
    """Answers SAM's questions."""

    def prompt(self, text: str, default: object = None, **_: object) -> object:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", text).strip()
        return ANSWERS.get(plain.removeprefix("Parameter "), default)

    def confirm(self, text: str, default: bool = False, **_: object) -> bool:
        return default


class Commands(unittest.TestCase):
    """Every documented command."""

    def deployments(self, document: Path) -> list[Deployment]:
        """Runs a document's commands in a copy of the project, and returns the deployments that they would make."""
        made: list[Deployment] = []
        with tempfile.TemporaryDirectory() as folder:
            project = Path(folder)
            shutil.copytree(ROOT / "infra", project / "infra", ignore=shutil.ignore_patterns("__pycache__"))
            shutil.copy(ROOT / "samconfig.toml", project)
            for words in commands(document):
                made += self.run_sam(project, words)
        return made

    def run_sam(self, project: Path, words: list[str]) -> list[Deployment]:
        """Runs a command; returns the deployment that it would make."""
        built: list[Path] = []
        packaged: list[Path] = []
        made: list[Deployment] = []
        command = f"sam {' '.join(words)}"

        def package(*_: object, template_file: str, **__: object) -> mock.MagicMock:
            packaged.append(Path(template_file))
            return mock.MagicMock()

        def deploy(*_: object, **options: Any) -> mock.MagicMock:
            # SAM returns a list for values of the command line, and a dictionary for answers to its questions.
            bucket, capabilities = options["s3_bucket"], tuple(options["capabilities"] or ())
            made.append(
                Deployment(
                    command,
                    options["stack_name"],
                    packaged[-1],
                    dict(options["parameter_overrides"]),
                    capabilities,
                    bucket,
                )
            )
            return mock.MagicMock()

        person = Person()
        with ExitStack() as stack:
            for name, instead in {
                "samcli.commands.build.command.do_cli": lambda *arguments, **_: built.append(Path(arguments[2])),
                "samcli.commands.deploy.command.manage_stack": lambda **_: "bucket",
                "samcli.commands.deploy.guided_context.manage_stack": lambda **_: "bucket",
                # There are no images, but SAM would still ask AWS for their repositories.
                "samcli.commands.deploy.guided_context.GuidedContext.prompt_image_repository": lambda *_: {},
                "samcli.commands.deploy.guided_context.prompt": person.prompt,
                "samcli.commands.deploy.guided_context.confirm": person.confirm,
                "samcli.commands.package.package_context.PackageContext": package,
                "samcli.commands.deploy.deploy_context.DeployContext": deploy,
                "samcli.lib.utils.version_checker._inform_newer_version": lambda *_, **__: None,
            }.items():
                stack.enter_context(mock.patch(name, instead))
            environment = {"AWS_DEFAULT_REGION": "eu-west-1", "SAM_CLI_TELEMETRY": "0"}
            stack.enter_context(mock.patch.dict(os.environ, environment))
            back = Path.cwd()
            stack.callback(os.chdir, back)
            os.chdir(project)
            result = CliRunner().invoke(cli, words)
        self.assertEqual(result.exit_code, 0, f"{command}: {result.output} {result.exception!r}")
        for template in built:
            # The defaults of `sam deploy`.
            target = project / ".aws-sam" / "build" / "template.yaml"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(project / template, target)
        self.assertTrue(built or made, f"{command} builds and deploys nothing")
        for deployment in made:
            deployment.template = project / deployment.template
            self.check(deployment)
        return made

    def check(self, deployment: Deployment) -> None:
        """Checks that CloudFormation would accept it."""
        template = yaml_parse(deployment.template.read_text())
        where = f"{deployment.command} (stack {deployment.stack})"
        parameters = template["Parameters"]
        required = {name for name, parameter in parameters.items() if "Default" not in parameter}
        given = {name for name, value in deployment.parameters.items() if value != ""}
        self.assertFalse(required - given, f"{where} gives no value for {sorted(required - given)}")
        self.assertFalse(
            given - parameters.keys(), f"{where}: there are no parameters {sorted(given - parameters.keys())}"
        )
        if "JwksUrl" in parameters:
            self.assertTrue({"JwksUrl", "Jwks"} & given, f"{where} gives no keys")
        if any(resource["Type"].startswith("AWS::IAM::") for resource in template["Resources"].values()):
            self.assertIn("CAPABILITY_IAM", deployment.capabilities, where)
        if any(resource["Type"] == "AWS::Serverless::Function" for resource in template["Resources"].values()):
            self.assertTrue(deployment.bucket, f"{where} has no bucket for the functions' code")

    def stage(self, deployment: Deployment) -> str | None:
        """Returns the stage of a deployment of infra/template.yaml."""
        parameters = yaml_parse((ROOT / "infra" / "template.yaml").read_text())["Parameters"]
        return (
            deployment.parameters.get("Stage", parameters["Stage"]["Default"])
            if "JwtIssuer" in deployment.parameters
            else None
        )

    def test_each_documented_command_deploys_as_it_stands(self) -> None:
        stages: dict[str, set[str]] = {}
        for document in DOCUMENTS:
            with self.subTest(document=str(document.relative_to(ROOT))):
                for deployment in self.deployments(document):
                    if stage := self.stage(deployment):
                        stages.setdefault(deployment.stack, set()).add(stage)
        environments = set(tomlkit.parse((ROOT / "samconfig.toml").read_text())) - {"version", OF_THIS_MACHINE}
        self.assertEqual(len(stages), len(environments), f"every environment of samconfig.toml is documented: {stages}")
        self.assertTrue(
            all(len(of_one) == 1 for of_one in stages.values()), f"the stage of a stack never changes: {stages}"
        )
        self.assertEqual(len(set.union(*stages.values())), len(stages), f"no two stacks may share a stage: {stages}")

    def test_a_command_that_lacks_parameters_is_noticed(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            project = Path(folder)
            shutil.copytree(ROOT / "infra", project / "infra", ignore=shutil.ignore_patterns("__pycache__"))
            shutil.copy(ROOT / "samconfig.toml", project)
            self.run_sam(project, ["build"])
            for words in (
                ["deploy"],
                ["deploy", "--config-env", "prod", "--parameter-overrides", "JwtIssuer=https://issuer.example"],
            ):
                with self.assertRaisesRegex(AssertionError, "JwtAudience"):
                    self.run_sam(project, words)
