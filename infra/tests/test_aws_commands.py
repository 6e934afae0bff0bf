"""Tests of the documented `aws` commands against the models of AWS's services: each operation and option must exist."""

from __future__ import annotations

import re
import unittest
from collections.abc import Iterator
from pathlib import Path

import botocore.session
from botocore import xform_name
from common import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# A command, to the end of its line, pipe or substitution; a backslash continues the line.
COMMAND = re.compile(r"\baws ([a-z][a-z0-9]+) ([a-z][a-z0-9-]+)((?:\\\n|\$\([^)]*\)|[^\n`|)])*)")
OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]+)")

# Options of the CLI itself.
GLOBAL = {"output", "query", "region", "profile", "no-cli-pager"}

# What the CLI makes of several calls, or of files, with the options that the documents use.
COMPOSED = {
    ("logs", "tail"): {"since", "filter-pattern", "follow"},
    ("cloudformation", "deploy"): {
        "template-file",
        "stack-name",
        "s3-bucket",
        "parameter-overrides",
        "capabilities",
    },
    ("s3", "cp"): {"recursive"},
    ("s3", "ls"): {"recursive"},
    ("s3", "rb"): {"force"},
}

SESSION = botocore.session.get_session()


def commands() -> Iterator[tuple[Path, str, str, str]]:
    """Yields each documented command: file, service, operation and the rest."""
    for file in DOCUMENTS:
        for service, operation, rest in COMMAND.findall(file.read_text()):
            yield file, service, operation, rest


def faults(service: str, operation: str, rest: str) -> list[str]:
    """Returns what the AWS CLI would refuse."""
    given = set(OPTION.findall(rest)) - GLOBAL
    if (service, operation) in COMPOSED:
        return [f"--{option} is unknown" for option in sorted(given - COMPOSED[service, operation])]
    if service not in SESSION.get_available_services():
        return [f"there is no service {service}"]
    client = SESSION.create_client(service, region_name="us-east-1")
    model = client.meta.service_model
    if operation == "wait":
        waiter, *_ = rest.split()
        if waiter not in {name.replace("_", "-") for name in client.waiter_names}:
            return [f"there is no waiter {waiter}"]
        name = client.get_waiter(waiter.replace("-", "_")).config.operation
    else:
        name = {xform_name(name, "-"): name for name in model.operation_names}.get(operation, "")
        if not name:
            return ["there is no such operation"]
    return wrong_options(model.operation_model(name).input_shape, given)


def wrong_options(shape, given: set[str]) -> list[str]:
    """Returns options that an operation does not have, and required ones that are missing."""
    members = {xform_name(name, "-"): member for name, member in shape.members.items()} if shape else {}
    required = {xform_name(name, "-") for name in (shape.required_members if shape else [])}
    known = {*members, *(f"no-{name}" for name, member in members.items() if member.type_name == "boolean")}
    return [f"--{option} is unknown" for option in sorted(given - known)] + [
        f"--{option} is missing" for option in sorted(required - given)
    ]


class Commands(unittest.TestCase):
    """Every documented command."""

    def test_each_has_the_options_of_its_operation(self) -> None:
        found = list(commands())
        self.assertGreater(len(found), 30)
        for file, service, operation, rest in found:
            with self.subTest(command=f"{file.relative_to(ROOT)}: aws {service} {operation}"):
                wrong = faults(service, operation, rest)
                # A command that a sentence names, such as `aws logs describe-log-streams`, has no options.
                named_only = not OPTION.search(rest)
                self.assertEqual([fault for fault in wrong if not (named_only and fault.endswith("is missing"))], [])

    def test_a_wrong_command_is_noticed(self) -> None:
        for command, fault in (
            (("logs", "tail", ' "$LOGS" --filter x'), "--filter is unknown"),
            (("sqs", "start-message-move-task", ' --source-arn "$A" --rate 20'), "--rate is unknown"),
            (("lambda", "invoke", " --payload x"), "--function-name is missing"),
            (("dynamodb", "wait", ' table-is-there --table-name "$T"'), "there is no waiter table-is-there"),
            (("sqs", "list-messages", " --queue-url x"), "there is no such operation"),
        ):
            with self.subTest(command=command):
                self.assertIn(fault, faults(*command))
