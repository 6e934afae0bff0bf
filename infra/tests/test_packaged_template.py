"""Tests of the template of a package, and of the examples of docs/use/deploy.md that deploy it."""

from __future__ import annotations

import json
import re
import subprocess
import unittest
from unittest import mock

import hcl2
import node
import resolved
from common import LOCAL, ROOT
from expand import PARAMETERS, expanded, packaged, write_template
from folder import Folder
from resolved import TEMPLATE, Resolved
from samcli.yamlhelper import yaml_parse

# The package of the examples.
NAME = "dynahook-0.1.0-0123456789ab"
PAGE = (ROOT / "docs" / "use" / "deploy.md").read_text()

# Parameters that turn conditions of the template on.
VARIANTS: tuple[dict[str, str], ...] = (
    {},
    {"Architecture": "x86_64", "KmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/1", "RolePath": "/webhooks/"},
    {
        "DomainName": "hooks.example.com",
        "CertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/1",
        "VpcSubnetIds": "subnet-1,subnet-2",
        "VpcSecurityGroupIds": "sg-1",
        "DeliverMemorySize": "512",
        "CorsAllowedOrigins": "https://app.example.com",
    },
)

# The arguments of Terraform's resource aws_cloudformation_stack, by the provider's documentation.
OF_A_STACK = {
    *("region", "name", "template_body", "template_url", "capabilities", "disable_rollback", "notification_arns"),
    *("on_failure", "parameters", "policy_body", "policy_url", "tags", "iam_role_arn", "timeout_in_minutes"),
    *("depends_on", "lifecycle", "timeouts"),
}


class Template(Folder):
    """The template against infra/template.yaml, as CloudFormation would expand it for a stack of `make deploy`."""

    def setUp(self) -> None:
        super().setUp()
        self.packaged = packaged(TEMPLATE, NAME)

    def test_the_resources_are_those_of_make_deploy(self) -> None:
        for variant in VARIANTS:
            with self.subTest(variant=variant):
                given = {"CodeBucket": "artifacts", **resolved.GIVEN, **variant}
                pure = {name: value for name, value in given.items() if isinstance(value, str)}
                deployed = self.resources(expanded(as_uploaded(), pure), given)
                ours = self.resources(self.packaged, given)
                self.assertEqual(ours.keys(), deployed.keys())
                for name, resource in deployed.items():
                    self.assertEqual(without_code(ours[name]), without_code(resource), name)
                code = ours["FanoutFunction"]["Properties"]["Code"]
                key = f"{NAME}/{variant.get('Architecture', 'arm64')}/fanout.zip"
                self.assertEqual(code, {"S3Bucket": "artifacts", "S3Key": key})

    def resources(self, template: dict, given: dict) -> dict[str, dict]:
        """Returns the resources that a stack with these parameters has, without functions of CloudFormation."""
        with mock.patch.object(resolved, "TEMPLATE", template):
            stack = Resolved(**given)
            listed = template["Resources"].items()
            return {
                name: {key: stack.resolve(value) for key, value in resource.items() if key != "Metadata"}
                for name, resource in listed
                if stack.resource(name) is not None or "Properties" not in resource
            }

    def test_it_is_plain_cloudformation_with_two_parameters_more(self) -> None:
        self.assertNotIn("Transform", self.packaged)
        types = {resource["Type"] for resource in self.packaged["Resources"].values()}
        self.assertEqual([kind for kind in types if kind.startswith("AWS::Serverless")], [])
        self.assertEqual(self.packaged["Parameters"], {**PARAMETERS, **TEMPLATE["Parameters"]})
        for section in ("Outputs", "Conditions", "Rules"):
            self.assertEqual(self.packaged[section], TEMPLATE[section])

    def test_each_code_is_an_archive_of_the_package(self) -> None:
        manifests = (ROOT / "functions").glob("*/Cargo.toml")
        archives = {f"${{CodePrefix}}{NAME}/${{Architecture}}/{path.parent.name}.zip" for path in manifests}
        functions = [one for one in self.packaged["Resources"].values() if one["Type"] == "AWS::Lambda::Function"]
        codes = [one["Properties"]["Code"] for one in functions]
        self.assertEqual({code["S3Key"]["Fn::Sub"] for code in codes if "S3Key" in code}, archives)

    def test_cfn_lint_and_the_limits_accept_it(self) -> None:
        file = self.folder / "template.yaml"
        write_template(ROOT / "infra" / "template.yaml", NAME, file)
        self.assertEqual(yaml_parse(file.read_text()), json.loads(json.dumps(self.packaged)))
        # What Terraform takes from a URL; CloudFormation takes 1 MB.
        self.assertLess(file.stat().st_size, 460_800)
        lint = LOCAL / "venv" / "tools" / "bin" / "cfn-lint"
        found = subprocess.run(
            [lint, "--regions", "us-east-1", "--", file], capture_output=True, text=True, check=False
        )
        self.assertEqual((found.returncode, found.stdout), (0, ""))

    def test_a_prefix_ends_with_a_slash(self) -> None:
        pattern = re.compile(PARAMETERS["CodePrefix"]["AllowedPattern"])
        self.assertTrue(all(pattern.fullmatch(one) for one in ("", "releases/", "a/b/")))
        self.assertFalse(pattern.fullmatch("releases"))


def as_uploaded() -> dict:
    """Returns infra/template.yaml as `sam deploy` sends it: the code is somewhere in S3."""
    template = json.loads(json.dumps(TEMPLATE))
    template["Globals"]["Function"]["CodeUri"] = "s3://somewhere/code"
    return template


def without_code(resource: dict) -> dict:
    """Returns a resource without the place of a function's code."""
    properties = resource.get("Properties", {})
    if resource["Type"] == "AWS::Lambda::Function" and "S3Key" in properties["Code"]:
        properties = {name: value for name, value in properties.items() if name != "Code"}
    return {**resource, "Properties": properties}


class Examples(Folder):
    """The code of docs/use/deploy.md that deploys a package."""

    def test_terraform_sets_what_the_stack_has(self) -> None:
        parsed = hcl2.loads(example("hcl"))
        blocks = {kind.strip('"'): body for resource in parsed["resource"] for kind, body in resource.items()}
        (stack,) = blocks["aws_cloudformation_stack"].values()
        arguments = {name for name in stack if not name.startswith("__")}
        self.assertEqual(arguments - OF_A_STACK, set())
        template = packaged(TEMPLATE, NAME)
        self.check_parameters(
            template, {name.strip('"'): value.strip('"') for name, value in stack["parameters"].items()}
        )
        self.assertTrue(stack["template_url"].strip('"').endswith("/${local.package}/template.yaml"))
        self.assertIn("aws_s3_object.package", stack["depends_on"][0])

    def check_parameters(self, template: dict, given: dict[str, str]) -> None:
        """Checks that parameters exist and that all without a default are given."""
        required = {name for name, one in template["Parameters"].items() if "Default" not in one}
        self.assertEqual(given.keys() - template["Parameters"].keys(), set())
        self.assertEqual(required - given.keys(), set())
        with mock.patch.object(resolved, "TEMPLATE", template):
            self.assertEqual(Resolved(**given).violated(), [])

    def test_the_aws_cli_sets_what_the_stack_has(self) -> None:
        blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
        (block,) = [one for one in blocks if "--s3-bucket" in one]
        given = dict(re.findall(r"\b([A-Z]\w+[a-z])=(\S+)", block))
        self.check_parameters(packaged(TEMPLATE, NAME), given)
        command = ["bash", "-n", "-c", block]
        self.assertEqual(subprocess.run(command, capture_output=True, text=True, check=False).stderr, "")

    @unittest.skipUnless((node.BINARIES / "npm").exists(), "Node.js is not installed: make test installs it")
    def test_cdk_synthesises_the_same_resources(self) -> None:
        project = node.installed(ROOT / "tests" / "cdk", "cdk")
        (project / NAME).mkdir(exist_ok=True)
        write_template(ROOT / "infra" / "template.yaml", NAME, project / NAME / "template.yaml")
        (project / "app.mjs").write_text(example("ts"))
        environment = {**node.environment(), "CDK_OUTDIR": str(self.folder)}
        command = [str(node.BINARIES / "node"), "app.mjs"]
        said = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
        self.assertEqual(said.returncode, 0, said.stderr[-2000:])
        made = json.loads((self.folder / "dynahook.template.json").read_text())
        template = packaged(TEMPLATE, NAME)
        given = {name for name in template["Parameters"] if name not in made["Parameters"]}
        self.assertEqual(given, {"CodeBucket", "JwtIssuer", "JwtAudience", "JwksUrl"})
        source = example("ts")
        values = {name: re.findall(rf'{name}: "(.+)"', source)[0] for name in given}
        self.check_parameters(template, values)
        self.assertEqual(normal(made["Resources"]), normal(replaced(template["Resources"], values)))
        self.assertEqual(made["Outputs"], template["Outputs"])


def example(language: str) -> str:
    """Returns the block of the page in a language."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return block


def replaced(value, values: dict[str, str]):
    """Returns a part of a template with values for references to parameters."""
    if isinstance(value, list):
        return [replaced(one, values) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"Ref"} and value["Ref"] in values:
        return values[value["Ref"]]
    return {name: replaced(one, values) for name, one in value.items()}


def normal(resources: dict) -> dict:
    """Returns resources with the order of DependsOn that CDK gives it; it has no meaning."""
    copied = json.loads(json.dumps(resources))
    for resource in copied.values():
        if depends := resource.get("DependsOn"):
            resource["DependsOn"] = sorted([depends] if isinstance(depends, str) else depends)
    return copied


if __name__ == "__main__":
    unittest.main()
