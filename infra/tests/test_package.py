"""Tests of what `make package` makes: archives, hashes, the template, the bill of materials, and the examples of
docs/use/deploy.md that deploy it. That two builds are equal is shown by `make package TWICE=1`."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import tempfile
import unittest
import zipfile
import zlib
from pathlib import Path
from unittest import mock

import hcl2
import node
import package
import reproducible
import resolved
from common import LOCAL, ROOT, StackError
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from expand import PARAMETERS, expanded, packaged, write_template
from resolved import TEMPLATE, Resolved
from samcli.yamlhelper import yaml_parse
from sbom import Crate, Graph, checksums, write_licenses, write_sbom

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


class Folder(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)


class Archives(Folder):
    """The zips and SHA256SUMS."""

    def test_an_archive_depends_on_the_content_alone(self) -> None:
        archives = []
        for number, (mode, at) in enumerate(((0o700, 1_000_000_000), (0o644, 1_700_000_000))):
            binary, archive = self.folder / f"{number}" / "built", self.folder / f"{number}" / "a" / "function.zip"
            binary.parent.mkdir()
            binary.write_bytes(b"\x7fELF" * 10_000)
            binary.chmod(mode)
            os.utime(binary, (at, at))
            reproducible.write_zip(binary, archive)
            archives.append(archive)
        self.assertEqual(archives[0].read_bytes(), archives[1].read_bytes())
        with zipfile.ZipFile(archives[0]) as file:
            (entry,) = file.infolist()
            self.assertEqual((entry.filename, file.read(entry)), ("bootstrap", b"\x7fELF" * 10_000))
        # Lambda starts the file, so it must be executable.
        self.assertEqual(entry.external_attr >> 16, stat.S_IFREG | 0o755)
        self.assertEqual(entry.compress_type, zipfile.ZIP_DEFLATED)

    def test_sha256sum_verifies_every_file(self) -> None:
        (self.folder / "arm64").mkdir()
        for name in ("arm64/api.zip", "template.yaml", "arm64/sweep.zip"):
            (self.folder / name).write_text(name)
        reproducible.write_sums(self.folder)
        command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
        said = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True).stdout
        self.assertEqual(said, "arm64/api.zip: OK\narm64/sweep.zip: OK\ntemplate.yaml: OK\n")
        (self.folder / "template.yaml").write_text("changed")
        self.assertNotEqual(subprocess.run(command, cwd=self.folder, capture_output=True, check=False).returncode, 0)

    def test_a_path_of_the_machine_in_a_binary_is_an_error(self) -> None:
        binary = self.folder / "bootstrap"
        binary.write_bytes(b"\0/cargo/registry/tokio-1.0.0/src/lib.rs\0")
        reproducible.check_paths(binary, ["/home/me/.cargo"])
        binary.write_bytes(b"\0/home/me/.cargo/registry/tokio-1.0.0/src/lib.rs\0")
        with self.assertRaisesRegex(StackError, "contains /home/me/.cargo"):
            reproducible.check_paths(binary, ["/home/me/.cargo", "/elsewhere"])

    def test_a_binary_of_another_commit_or_of_changes_is_an_error(self) -> None:
        binary = self.folder / "bootstrap"
        for version, accepted in (("0123456789ab", True), ("0123456789ab-modified", False), ("ba9876543210", False)):
            with self.subTest(version=version):
                binary.write_bytes(f"\0version{version}tokio\0".encode())
                if accepted:
                    reproducible.check_commit(binary, "0123456789ab")
                else:
                    with self.assertRaisesRegex(StackError, "touch functions"):
                        reproducible.check_commit(binary, "0123456789ab")

    def test_rustc_and_cargo_get_a_name_for_each_path_of_the_machine(self) -> None:
        names = dict(reproducible.path_names(ROOT, ROOT / "target"))
        self.assertEqual(names[str(ROOT)], "/dynahook")
        self.assertIn("/cargo/registry", names.values())
        paths = list(names)
        for outer in paths:
            for inner in paths[: paths.index(outer)]:
                self.assertFalse(Path(outer) in Path(inner).parents, f"{outer} hides {inner}")

    def test_a_folder_is_named_before_what_is_in_it(self) -> None:
        checkout, home, registry = Path("/a/b"), Path("/a/b/.local/cargo"), Path("/a/b/.local/cargo/registry")
        for paths in ([checkout, home, registry], [registry, checkout, home], [home, registry, checkout]):
            names = reproducible.outer_first([(path, path.name) for path in paths])
            self.assertEqual([path for path, _ in names], [checkout, home, registry])

    def test_a_difference_of_two_packages_is_found(self) -> None:
        for name in ("first", "second"):
            (self.folder / name / "arm64").mkdir(parents=True)
            (self.folder / name / "arm64" / "api.zip").write_bytes(b"same")
            (self.folder / name / "template.yaml").write_text(name)
        (self.folder / "second" / "new").write_text("")
        different = package.differences(self.folder / "first", self.folder / "second")
        self.assertEqual(different, ["new", "template.yaml"])

    def test_another_zlib_is_refused(self) -> None:
        with mock.patch.object(zlib, "ZLIB_RUNTIME_VERSION", "1.3.1.zlib-ng"), self.assertRaises(StackError):
            package.check_compression()


class Command(Folder):
    """`make package` without compilers: instead of them, a test says what is in the binaries."""

    def setUp(self) -> None:
        super().setUp()
        for name, value in (("LOCAL", self.folder / "local"), ("TARGET", self.folder / "target")):
            self.replace(name, value)

    def replace(self, name: str, value: object) -> None:
        """Replaces a name of the module until the test ends."""
        patch = mock.patch.object(package, name, value)
        patch.start()
        self.addCleanup(patch.stop)

    def compile(self, checkout: Path, target: Path, processor: str, log: Path) -> Path:
        """Makes two binaries that differ between processors."""
        for name in ("api", "sweep"):
            binary = target / "lambda" / processor / name / "bootstrap"
            binary.parent.mkdir(parents=True, exist_ok=True)
            binary.write_text(f"{name} {processor}")
        return target / "lambda" / processor

    def test_a_package_has_all_files_and_their_hashes(self) -> None:
        self.replace("compile_functions", self.compile)
        folder = package.make(ROOT, self.folder / "target", self.folder / "made")
        name, version, commit = package.name_of(ROOT)
        self.assertEqual((folder.name, name), (name, f"dynahook-{version}-{commit}"))
        zips = {f"{processor}/{function}.zip" for processor in ("arm64", "x86_64") for function in ("api", "sweep")}
        texts = {"LICENSES.txt", "README.md", "SHA256SUMS", "sbom.cdx.json", "source.yaml", "template.yaml"}
        self.assertEqual(package.files(folder).keys(), zips | texts)
        with zipfile.ZipFile(folder / "x86_64" / "sweep.zip") as file:
            self.assertEqual(file.read("bootstrap"), b"sweep x86_64")
        self.assertIn(f"{name}/${{Architecture}}/", (folder / "template.yaml").read_text())
        self.assertIn(f"s3://BUCKET/{name}", (folder / "README.md").read_text())
        command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
        self.assertEqual(subprocess.run(command, cwd=folder, check=False).returncode, 0)

    def test_two_equal_builds_are_one_package(self) -> None:
        self.replace("compile_functions", self.compile)
        self.without_bill()
        folder = package.make_twice()
        self.assertEqual(folder, self.folder / "target" / "package" / package.name_of(ROOT)[0])
        self.assertIn("arm64/api.zip", package.files(folder))
        self.assertFalse((self.folder / "local" / "package").exists())

    def test_a_build_that_contains_its_folder_is_noticed(self) -> None:
        def compile_with_path(checkout: Path, target: Path, processor: str, log: Path) -> Path:
            built = self.compile(checkout, target, processor, log)
            if processor == "x86_64":
                (built / "api" / "bootstrap").write_text(f"{checkout}")
            return built

        self.replace("compile_functions", compile_with_path)
        self.without_bill()
        with self.assertRaisesRegex(StackError, r"differ in SHA256SUMS, x86_64/api\.zip;"):
            package.make_twice()

    def without_bill(self) -> None:
        """Leaves out what takes seconds and has a test of its own."""
        self.replace("write_sbom", lambda *_: None)
        self.replace("write_licenses", lambda *_: None)


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


class Bill(Folder):
    """The bill of materials and the licences."""

    def test_a_tree_of_cargo_is_read(self) -> None:
        graph = Graph()
        graph.add("0api v0.1.0 (/functions/api)\n1aws v0.1.0 (/shared/aws)\n2tokio v1.54.1\n1tokio v1.54.1\n")
        graph.add("\n0sweep v0.1.0 (/functions/sweep)\n1aws v0.1.0 (/shared/aws) (*)\n")
        api, aws, sweep, tokio = (
            Crate(*one.split()) for one in ("api 0.1.0", "aws 0.1.0", "sweep 0.1.0", "tokio 1.54.1")
        )
        self.assertEqual(graph.crates, {api: {aws, tokio}, aws: {tokio}, sweep: {aws}, tokio: set()})
        self.assertEqual(graph.functions, {api, sweep})

    def test_hashes_are_those_of_the_lock_file(self) -> None:
        lock = (
            '[[package]]\nname = "a"\nversion = "1.0.0"\nchecksum = "12"\n[[package]]\nname = "b"\nversion = "0.1.0"\n'
        )
        self.assertEqual(checksums(lock), {Crate("a", "1.0.0"): "12"})

    def test_the_bill_of_this_commit_is_valid_complete_and_always_the_same(self) -> None:
        bills = [self.folder / name for name in ("first", "second")]
        for file in bills:
            write_sbom(ROOT, "0.1.0", "0123456789ab", file)
        text = bills[0].read_text()
        self.assertEqual(text, bills[1].read_text())
        self.assertNotIn(str(ROOT), text)
        self.assertIsNone(JsonStrictValidator(SchemaVersion.V1_6).validate_str(text))
        bill = json.loads(text)
        names = {one["name"] for one in bill["components"]}
        expected = {"api", "sweep", "aws", "domain", "tokio", "rustls", "aws-lc-sys", "libmimalloc-sys", "zstd-sys"}
        self.assertEqual((expected | {"rust-std", "preact", "uplot"}) - names, set())
        # Procedural macros, build scripts, tests, and what only other systems need.
        self.assertEqual(
            names & {"serde_derive", "git-version-macro", "cc", "proptest", "insta", "tests", "windows-sys"}, set()
        )
        self.assertEqual([one["name"] for one in bill["components"] if not one.get("licenses")], [])
        references = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
        self.assertIn("cargo:sweep@0.1.0", references["dynahook"])
        self.assertIn("cargo:aws@0.1.0", references["cargo:sweep@0.1.0"])
        self.assertIn("npm:preact@", " ".join(references["cargo:api@0.1.0"]))

    def test_the_licences_name_every_crate(self) -> None:
        file = self.folder / "LICENSES.txt"
        write_licenses(ROOT, file)
        text = file.read_text()
        for name in ("tokio 1.", "aws-lc-sys 0.", "domain 0.1.0", "The console's libraries"):
            self.assertIn(f"\n{name}", f"\n{text}")
        self.assertNotIn(str(ROOT), text)


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
