"""Tests of the functions' roles and network in infra/template.yaml."""

from __future__ import annotations

import re
import unittest
from fnmatch import fnmatchcase

from common import ROOT
from resolved import TEMPLATE, Resolved

VPC = {"VpcSubnetIds": "subnet-0a1b2c3d,subnet-0a1b2c3e", "VpcSecurityGroupIds": "sg-0a1b2c3d"}
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:/dev/"
READ = "secretsmanager:GetSecretValue"


def listed(value) -> list:
    return value if isinstance(value, list) else [value]


def statements(role: str, **parameters: str) -> list[dict]:
    """Returns the statements of a role's policies."""
    policies = Resolved(Stage="dev", **parameters).resource(role)["Policies"]
    return [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]


def allows(role: str, action: str, resource: str) -> bool:
    """Returns whether a role allows an action on a resource, ignoring conditions."""
    return any(
        statement["Effect"] == "Allow"
        and any(fnmatchcase(action, pattern) for pattern in listed(statement["Action"]))
        and any(fnmatchcase(resource, pattern) for pattern in listed(statement["Resource"]))
        for statement in statements(role)
    )


def of_the_network(statement: dict) -> bool:
    """Returns whether a statement is about network interfaces."""
    return any(action.startswith("ec2:") for action in listed(statement["Action"]))


class Conditions(unittest.TestCase):
    """Conditions on the keys of items."""

    def test_do_not_hold_for_a_request_without_keys(self) -> None:
        """`ForAllValues` also holds for a request without values, so each condition also requires one."""
        found = 0
        for role in Resolved().resources("AWS::IAM::Role"):
            for statement in statements(role):
                for operator, keys in statement.get("Condition", {}).items():
                    if operator.startswith("ForAllValues:"):
                        found += 1
                        for key in keys:
                            self.assertEqual(
                                statement["Condition"].get("Null", {}).get(key), "false", f"{role}: {statement}"
                            )
        self.assertGreater(found, 5)


class Secrets(unittest.TestCase):
    """Which role reads which secrets."""

    def test_of_inbound_webhooks_are_read_by_inbound_alone(self) -> None:
        readers = {
            role
            for role in Resolved().resources("AWS::IAM::Role")
            if allows(role, READ, SECRET + "inbound/acme/whk_1-AbCdEf")
        }
        self.assertEqual(readers, {"InboundRole"})

    def test_of_other_webhooks_are_read_by_deliver_alone(self) -> None:
        for path in (
            "webhooks/acme/whk_1-AbCdEf",
            "webhooks/acme/whk_1/authorization-AbCdEf",
            "webhooks/acme/signing-key-AbCdEf",
            "webhooks/acme/whk_1/signing-key-AbCdEf",
        ):
            readers = {role for role in Resolved().resources("AWS::IAM::Role") if allows(role, READ, SECRET + path)}
            self.assertEqual(readers, {"DeliverRole"})

    def test_are_written_by_the_api_and_not_read(self) -> None:
        for path in ("webhooks/acme/whk_1-AbCdEf", "inbound/acme/whk_1-AbCdEf"):
            self.assertTrue(allows("ApiRole", "secretsmanager:CreateSecret", SECRET + path))
            self.assertFalse(allows("ApiRole", READ, SECRET + path))
            self.assertFalse(allows("InboundRole", "secretsmanager:PutSecretValue", SECRET + path))

    def test_the_api_puts_them_where_they_are_read(self) -> None:
        variables = Resolved(Stage="dev").resource("ApiFunction")["Environment"]["Variables"]
        self.assertEqual(
            (variables["SECRETS_PREFIX"], variables["INBOUND_SECRETS_PREFIX"]), ("/dev/webhooks", "/dev/inbound")
        )


class SecretsInATable(unittest.TestCase):
    """Who may do what with the table of secrets and its key."""

    def of(self, resource: str) -> dict[tuple[str, str], dict]:
        """Returns the conditions of each role and action on a resource."""
        return {
            (role, action): statement["Condition"]
            for role in Resolved().resources("AWS::IAM::Role")
            for statement in statements(role, SecretStorage="kms")
            if statement["Resource"] == resource
            for action in listed(statement["Action"])
        }

    def test_the_api_encrypts_and_others_decrypt_each_for_its_paths(self) -> None:
        found = self.of("<SecretsKey.Arn>")
        paths = {use: conditions["StringLike"]["kms:EncryptionContext:path"] for use, conditions in found.items()}
        expected = {
            ("ApiRole", "kms:Encrypt"): ["/dev/webhooks/*", "/dev/inbound/*"],
            ("DeliverRole", "kms:Decrypt"): "/dev/webhooks/*",
            ("InboundRole", "kms:Decrypt"): "/dev/inbound/*",
        }
        self.assertEqual(paths, expected)
        for conditions in found.values():
            # Both names, and no others.
            self.assertEqual(conditions["ForAllValues:StringEquals"], {"kms:EncryptionContextKeys": ["tenant", "path"]})
            self.assertEqual(conditions["Null"]["kms:EncryptionContext:tenant"], "false")

    def test_rows_are_written_by_the_api_and_read_where_they_are_decrypted(self) -> None:
        found = self.of("<SecretsTable.Arn>")
        paths = {
            use: conditions["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
            for use, conditions in found.items()
            if use[0] != "DeploymentRole"
        }
        both = ["/dev/webhooks/*", "/dev/inbound/*"]
        expected = {
            ("ApiRole", "dynamodb:PutItem"): both,
            ("ApiRole", "dynamodb:UpdateItem"): both,
            ("ApiRole", "dynamodb:GetItem"): both,
            ("DeliverRole", "dynamodb:GetItem"): ["/dev/webhooks/*"],
            ("InboundRole", "dynamodb:GetItem"): ["/dev/inbound/*"],
        }
        self.assertEqual(paths, expected)
        shown = found["ApiRole", "dynamodb:GetItem"]["ForAllValues:StringEquals"]["dynamodb:Attributes"]
        self.assertNotIn("texts", shown)
        # What the code asks for: LABELS in shared/aws/src/secrets/table.rs.
        source = (ROOT / "shared" / "aws" / "src" / "secrets" / "table.rs").read_text()
        self.assertIn(f'const LABELS: &str = "{", ".join(shown)}";', source)

    def test_nothing_new_is_written_to_secrets_manager(self) -> None:
        actions = {
            action
            for statement in statements("ApiRole", SecretStorage="kms")
            if "secret:/dev/" in str(statement["Resource"])
            for action in listed(statement["Action"])
        }
        names = {action.removeprefix("secretsmanager:") for action in actions}
        self.assertEqual(names, {"DescribeSecret", "DeleteSecret", "RestoreSecret"})


class Events(unittest.TestCase):
    """What inbound does with the Events table. It is called without a token."""

    def test_inbound_reads_only_which_calls_came_before(self) -> None:
        table = Resolved().resolve({"Fn::GetAtt": ["EventsTable", "Arn"]})
        keys = {
            action: statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
            for statement in statements("InboundRole")
            if statement["Resource"] == table
            for action in listed(statement["Action"])
        }
        written = ["T#*", "ONCE#inbound/*", "CALLS#*"]
        self.assertEqual(keys, {"dynamodb:PutItem": written, "dynamodb:BatchGetItem": ["ONCE#inbound/*"]})


class Alarms(unittest.TestCase):
    """Alarms that count lines of logs."""

    def test_of_budgets_count_both_thresholds(self) -> None:
        alarm = Resolved(AlarmTopicArn="arn:aws:sns:us-east-1:123456789012:alarms").resource("TenantBudgetAlarm")
        found = {
            filtered["FilterPattern"]
            for filtered in Resolved().resources("AWS::Logs::MetricFilter").values()
            if filtered["MetricTransformations"][0]["MetricName"] == alarm["MetricName"]
        }
        # The lines have 80 or 100: see THRESHOLDS in shared/domain/src/budget/meter.rs.
        self.assertEqual(found, {"{ $.budget_percent >= 80 }"})


class Network(unittest.TestCase):
    """Functions in a VPC, and the addresses that deliveries come from."""

    def in_vpc(self, **parameters: str) -> set[str]:
        functions = Resolved(**parameters).resources("AWS::Serverless::Function")
        return {name for name, function in functions.items() if "VpcConfig" in function}

    def test_no_function_is_in_a_vpc_by_default(self) -> None:
        self.assertEqual(self.in_vpc(), set())
        for role in Resolved().resources("AWS::IAM::Role"):
            self.assertFalse([one for one in statements(role) if of_the_network(one)])

    def test_the_functions_that_call_out_are(self) -> None:
        self.assertEqual(self.in_vpc(**VPC), {"DeliverFunction", "AuthorizerFunction"})
        self.assertEqual(self.in_vpc(**VPC, JwksUrl="", Jwks='{"keys":[]}'), {"DeliverFunction"})
        config = Resolved(**VPC).resource("DeliverFunction")["VpcConfig"]
        self.assertEqual(
            config, {"SubnetIds": ["subnet-0a1b2c3d", "subnet-0a1b2c3e"], "SecurityGroupIds": ["sg-0a1b2c3d"]}
        )

    def test_their_roles_let_lambda_connect_them_and_their_code_not(self) -> None:
        for role in ("DeliverRole", "AuthorizerRole"):
            found = {one["Effect"]: one for one in statements(role, **VPC) if of_the_network(one)}
            self.assertIn("ec2:CreateNetworkInterface", found["Allow"]["Action"])
            self.assertIn("lambda:SourceFunctionArn", found["Deny"]["Condition"]["ArnLike"])

    def test_half_of_a_vpc_is_refused(self) -> None:
        whole = "Set both VpcSubnetIds and VpcSecurityGroupIds, or neither"
        self.assertEqual(Resolved(VpcSubnetIds=VPC["VpcSubnetIds"]).violated(), [whole])
        self.assertEqual(Resolved(VpcSecurityGroupIds=VPC["VpcSecurityGroupIds"]).violated(), [whole])
        self.assertEqual(Resolved(**VPC).violated(), [])
        self.assertEqual(Resolved().violated(), [])

    def test_fixed_addresses_need_a_vpc(self) -> None:
        refused = Resolved(EgressAddresses="203.0.113.7").violated()
        self.assertEqual(
            refused, ["EgressAddresses needs VpcSubnetIds, because functions outside a VPC have no fixed addresses"]
        )
        known = Resolved(EgressAddresses="203.0.113.7", **VPC)
        self.assertEqual(known.violated(), [])
        self.assertEqual(known.resource("ApiFunction")["Environment"]["Variables"]["EGRESS_ADDRESSES"], "203.0.113.7")
        self.assertEqual(TEMPLATE["Outputs"]["EgressAddresses"]["Condition"], "HasEgressAddresses")

    def test_lists_are_checked_before_anything_is_changed(self) -> None:
        for name, good, bad in (
            (
                "VpcSubnetIds",
                ("", VPC["VpcSubnetIds"]),
                ("subnet-0a1b2c3d, subnet-0a1b2c3e", "vpc-0a1b2c3d", "subnet-"),
            ),
            ("VpcSecurityGroupIds", ("", "sg-0a1b2c3d"), ("default", "sg-0a1b2c3d,")),
            ("EgressAddresses", ("", "203.0.113.7,2001:db8::/56"), ("nat.example.com", "203.0.113.7 203.0.113.8")),
        ):
            pattern = re.compile(TEMPLATE["Parameters"][name]["AllowedPattern"])
            for text in good:
                self.assertTrue(pattern.fullmatch(text), text)
            for text in bad:
                self.assertFalse(pattern.fullmatch(text), text)


if __name__ == "__main__":
    unittest.main()
