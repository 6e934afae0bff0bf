"""Tests of what the optional parameters of infra/template.yaml change: encryption, roles, the domain, batches."""

from __future__ import annotations

import re
import unittest

from resolved import TEMPLATE, Resolved
from test_roles import listed, statements

KEY = "arn:aws:kms:us-east-1:123456789012:key/0a1b2c3d-0000-4000-8000-000000000000"
BOUNDARY = "arn:aws:iam::123456789012:policy/boundary"
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/0a1b2c3d"
DOMAIN = {"DomainName": "hooks.example.com", "CertificateArn": CERTIFICATE}

# Actions that touch what is encrypted, and what they need of the key.
USES = {
    "dynamodb": (re.compile(r"(Get|BatchGet|Put|Update|Delete|BatchWrite)Item|Query|Scan|GetRecords"), {"Decrypt"}),
    "secretsmanager": (re.compile(r"GetSecretValue"), {"Decrypt"}),
    "sqs": (re.compile(r"ReceiveMessage"), {"Decrypt"}),
}
WRITES = {
    "secretsmanager": re.compile(r"CreateSecret|PutSecretValue"),
    "sqs": re.compile(r"SendMessage"),
    "s3": re.compile(r"PutObject"),
    "sns": re.compile(r"Publish"),
}

# Topics for notices are part of what a role does only if there are some.
TOPICS = {"NoticeTopicArns": "arn:aws:sns:us-east-1:123456789012:notices"}


def key_needs(role: str, **parameters: str) -> set[tuple[str, str]]:
    """Returns what a role needs of the key, by its other statements: an action of KMS, and the service that asks."""
    needed = set()
    for statement in statements(role, **parameters):
        for service, _, action in (one.partition(":") for one in listed(statement["Action"])):
            if service in USES and USES[service][0].fullmatch(action):
                needed |= {(action_of_key, service) for action_of_key in USES[service][1]}
            if service in WRITES and WRITES[service].fullmatch(action):
                needed |= {("Decrypt", service), ("GenerateDataKey", service)}
    return needed


def key_grants(role: str, **parameters: str) -> set[tuple[str, str]]:
    """Returns what a role may do with the key, and through which service."""
    return {
        (action.removeprefix("kms:"), via.removesuffix(".us-east-1.<AWS::URLSuffix>"))
        for statement in statements(role, KmsKeyArn=KEY, **parameters)
        if statement["Resource"] == KEY
        for action in listed(statement["Action"])
        for via in statement["Condition"]["StringEquals"]["kms:ViaService"]
    }


class Parameters(unittest.TestCase):
    """All parameters."""

    def test_each_is_in_one_group(self) -> None:
        groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
        grouped = [name for group in groups for name in group["Parameters"]]
        self.assertEqual(sorted(grouped), sorted(TEMPLATE["Parameters"]))

    def test_only_issuer_and_audience_have_no_default(self) -> None:
        required = {name for name, parameter in TEMPLATE["Parameters"].items() if "Default" not in parameter}
        self.assertEqual(required, {"JwtIssuer", "JwtAudience"})

    def test_values_are_checked_before_anything_is_changed(self) -> None:
        for name, good, bad in (
            ("KmsKeyArn", ("", KEY), ("alias/dynahook", KEY.replace("key/", "alias/"))),
            ("PermissionsBoundaryArn", ("", BOUNDARY, "arn:aws:iam::aws:policy/PowerUserAccess"), ("boundary",)),
            ("RolePath", ("/", "/dynahook/", "/a/b/"), ("", "dynahook", "/dynahook", "/with space/")),
            ("DomainName", ("", "hooks.example.com"), ("https://hooks.example.com", "Hooks.example.com", "hooks")),
            ("CertificateArn", ("", CERTIFICATE), ("certificate",)),
            ("HostedZoneId", ("", "Z0123456789ABCDEF"), ("/hostedzone/Z0123456789ABCDEF", "example.com")),
        ):
            pattern = re.compile(TEMPLATE["Parameters"][name]["AllowedPattern"])
            for text in good:
                self.assertTrue(pattern.fullmatch(text), f"{name}={text}")
            for text in bad:
                self.assertFalse(pattern.fullmatch(text), f"{name}={text}")


class Key(unittest.TestCase):
    """`KmsKeyArn`."""

    def test_by_default_keys_of_aws_encrypt_everything(self) -> None:
        stack = Resolved()
        self.assertNotIn("kms", str([statements(role) for role in stack.resources("AWS::IAM::Role")]))
        for table in stack.resources("AWS::DynamoDB::Table").values():
            self.assertEqual(table["SSESpecification"], {"SSEEnabled": True})
        for queue in stack.resources("AWS::SQS::Queue").values():
            self.assertIs(queue["SqsManagedSseEnabled"], True)
            self.assertNotIn("KmsMasterKeyId", queue)
        self.assertEqual(stack.resource("ApiFunction")["Environment"]["Variables"]["SECRETS_KEY_ARN"], "")

    def test_it_encrypts_everything_that_is_stored(self) -> None:
        stack = Resolved(KmsKeyArn=KEY)
        for name, table in stack.resources("AWS::DynamoDB::Table").items():
            key = {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": KEY}
            self.assertEqual(table["SSESpecification"], key, name)
        for name, queue in stack.resources("AWS::SQS::Queue").items():
            # SQS refuses both.
            self.assertEqual((queue["KmsMasterKeyId"], queue["SqsManagedSseEnabled"]), (KEY, False), name)
        for kind in ("AWS::Logs::LogGroup", "AWS::SecretsManager::Secret"):
            for name, resource in stack.resources(kind).items():
                self.assertEqual(resource["KmsKeyId"], KEY, name)
        (rule,) = stack.resource("StreamFailuresBucket")["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        self.assertEqual(rule["ServerSideEncryptionByDefault"], {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY})
        self.assertEqual(stack.resource("ApiFunction")["Environment"]["Variables"]["SECRETS_KEY_ARN"], KEY)

    def test_each_role_may_use_it_through_the_services_that_it_calls_and_no_others(self) -> None:
        roles = Resolved().resources("AWS::IAM::Role")
        for role, given in ((role, given) for role in roles for given in ({}, TOPICS)):
            with self.subTest(role, given=given):
                needed, granted = key_needs(role, **given), key_grants(role, **given)
                self.assertLessEqual(needed, granted)
                services = {service for _, service in needed}
                self.assertLessEqual({service for _, service in granted}, services)
                # One statement has all services, so a role that generates data keys may do so through each of them.
                self.assertEqual({action for action, _ in granted}, {action for action, _ in needed})

    def test_the_rules_above_see_what_roles_do(self) -> None:
        self.assertEqual(key_needs("AuthorizerRole"), {("Decrypt", "dynamodb")})
        self.assertIn(("GenerateDataKey", "secretsmanager"), key_needs("ApiRole"))
        self.assertIn(("GenerateDataKey", "s3"), key_needs("FanoutRole"))
        self.assertIn(("Decrypt", "sqs"), key_needs("DeliverRole"))
        self.assertIn(("GenerateDataKey", "sns"), key_needs("DeliverRole", **TOPICS))
        self.assertEqual(key_needs("DeploymentRole"), set())


class Secrets(unittest.TestCase):
    """`SecretStorage`."""

    def test_by_default_there_is_neither_a_table_nor_a_key(self) -> None:
        stack = Resolved()
        for name in ("SecretsTable", "SecretsKey"):
            self.assertIsNone(stack.resource(name))
        for function in ("ApiFunction", "DeliverFunction", "InboundFunction"):
            variables = stack.resource(function)["Environment"]["Variables"]
            self.assertEqual((variables["SECRETS_TABLE"], variables["SECRETS_TABLE_KEY_ARN"]), ("", ""), function)
        for name in ("SecretsTable", "SecretsKeyArn"):
            self.assertEqual(TEMPLATE["Outputs"][name]["Condition"], "InSecretsTable")

    def test_the_table_has_a_key_of_its_own_and_backups(self) -> None:
        for given in ({}, {"KmsKeyArn": KEY}):
            stack = Resolved(SecretStorage="kms", **given)
            key, table = stack.resource("SecretsKey"), stack.resource("SecretsTable")
            self.assertIs(key["EnableKeyRotation"], True)
            (statement,) = key["KeyPolicy"]["Statement"]
            self.assertEqual((statement["Effect"], statement["Action"]), ("Allow", "kms:*"))
            self.assertTrue(statement["Principal"]["AWS"].endswith(":root"))
            self.assertIs(table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], True)
            self.assertEqual(table["TimeToLiveSpecification"], {"AttributeName": "expires_at", "Enabled": True})
            for function in ("ApiFunction", "DeliverFunction", "InboundFunction"):
                variables = stack.resource(function)["Environment"]["Variables"]
                found = variables["SECRETS_TABLE"], variables["SECRETS_TABLE_KEY_ARN"]
                self.assertEqual(found, ("<SecretsTable>", "<SecretsKey.Arn>"), function)


class Roles(unittest.TestCase):
    """`PermissionsBoundaryArn` and `RolePath`."""

    def test_every_role_has_them(self) -> None:
        for role in (
            Resolved(PermissionsBoundaryArn=BOUNDARY, RolePath="/dynahook/").resources("AWS::IAM::Role").values()
        ):
            self.assertEqual((role["PermissionsBoundary"], role["Path"]), (BOUNDARY, "/dynahook/"))
        # A path that was not there before replaces the role, even the default.
        for role in Resolved().resources("AWS::IAM::Role").values():
            self.assertFalse({"PermissionsBoundary", "Path"} & role.keys())

    def test_sam_creates_no_role_of_its_own(self) -> None:
        for name, function in Resolved().resources("AWS::Serverless::Function").items():
            self.assertIn("Role", function, name)


class Functions(unittest.TestCase):
    """Memory, concurrency and batches."""

    def test_concurrency_is_reserved_for_the_api_and_its_authorizer_or_for_neither(self) -> None:
        both = {"ApiReservedConcurrency": "50", "AuthorizerReservedConcurrency": "10"}
        self.assertEqual(Resolved(**both).violated(), [])
        for name in both:
            refused = ["Set both ApiReservedConcurrency and AuthorizerReservedConcurrency, or neither"]
            self.assertEqual(Resolved(**{**both, name: "0"}).violated(), refused)

    def test_memory_and_reserved_concurrency_of_deliver_and_fanout(self) -> None:
        stack = Resolved(DeliverMemorySize="512", FanoutMemorySize="1024", DeliverReservedConcurrency="90")
        deliver, fanout = stack.resource("DeliverFunction"), stack.resource("FanoutFunction")
        self.assertEqual((deliver["MemorySize"], deliver["ReservedConcurrentExecutions"]), ("512", "90"))
        self.assertEqual(fanout["MemorySize"], "1024")
        self.assertNotIn("ReservedConcurrentExecutions", Resolved().resource("DeliverFunction"))

    def test_retries_and_slow_receivers_are_collected_and_first_attempts_if_wanted(self) -> None:
        for given, window, first in (
            ({}, "1", "0"),
            ({"BatchingWindowSeconds": "0"}, "0", "0"),
            ({"FirstAttemptsWindowSeconds": "2"}, "1", "2"),
        ):
            mappings = Resolved(**given).resources("AWS::Lambda::EventSourceMapping")
            windows = {
                name: mapping["MaximumBatchingWindowInSeconds"]
                for name, mapping in mappings.items()
                if "MaximumBatchingWindowInSeconds" in mapping
            }
            # That of the statistics is no parameter: it decides how late they may be.
            expected = {
                "FirstAttempts": first,
                "LaterAttempts": window,
                "SlowAttempts": window,
                "ArrivedDeliveries": "30",
            }
            self.assertEqual(windows, expected)

    def test_a_collected_message_stays_invisible_for_longer_than_the_function_runs(self) -> None:
        stack = Resolved()
        timeout = int(stack.resource("DeliverFunction")["Timeout"])
        for queue, parameter in (
            ("RetriesQueue", "BatchingWindowSeconds"),
            ("SlowQueue", "BatchingWindowSeconds"),
            ("DeliveriesQueue", "FirstAttemptsWindowSeconds"),
        ):
            longest = TEMPLATE["Parameters"][parameter]["MaxValue"]
            self.assertGreater(int(stack.resource(queue)["VisibilityTimeout"]) - longest, 5 * timeout)


class Domain(unittest.TestCase):
    """`DomainName`, `CertificateArn` and `HostedZoneId`."""

    def test_there_is_none_by_default(self) -> None:
        stack = Resolved()
        self.assertEqual(stack.violated(), [])
        for name in ("CustomDomain", "CustomDomainMapping", "CustomDomainRecord"):
            self.assertIsNone(stack.resource(name))
        self.assertEqual(stack.resolve(TEMPLATE["Outputs"]["ApiUrl"]["Value"]), "<HttpApi.ApiEndpoint>")

    def test_the_api_answers_at_it_and_knows_it(self) -> None:
        stack = Resolved(**DOMAIN)
        self.assertEqual(stack.violated(), [])
        (configuration,) = stack.resource("CustomDomain")["DomainNameConfigurations"]
        self.assertEqual(configuration["CertificateArn"], CERTIFICATE)
        self.assertEqual(stack.resource("CustomDomainMapping")["Stage"], "<HttpStage>")
        self.assertIsNone(stack.resource("CustomDomainRecord"))
        for function in ("ApiFunction", "DeliverFunction"):
            variables = stack.resource(function)["Environment"]["Variables"]
            self.assertEqual(variables["PUBLIC_URL"], "https://hooks.example.com", function)
        self.assertEqual(stack.resolve(TEMPLATE["Outputs"]["ApiUrl"]["Value"]), "https://hooks.example.com")

    def test_route_53_gets_a_record_if_the_zone_is_named(self) -> None:
        record = Resolved(**DOMAIN, HostedZoneId="Z1").resource("CustomDomainRecord")
        self.assertEqual((record["Name"], record["Type"], record["HostedZoneId"]), ("hooks.example.com", "A", "Z1"))

    def test_half_of_a_domain_is_refused(self) -> None:
        self.assertEqual(Resolved(DomainName="a.example").violated(), ["DomainName needs CertificateArn"])
        needs = ["CertificateArn and HostedZoneId need DomainName"]
        self.assertEqual(Resolved(CertificateArn=CERTIFICATE).violated(), needs)
        self.assertEqual(Resolved(HostedZoneId="Z1").violated(), needs)
        both = Resolved(**DOMAIN, PublicUrl="https://cdn.example.com").violated()
        self.assertEqual(both, ["Set DomainName or PublicUrl, not both"])


if __name__ == "__main__":
    unittest.main()
