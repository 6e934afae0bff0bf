"""Tests of the evaluation with AWS's documented rules and examples.

Rules: IAM user guide, "Policy evaluation logic", "Conditions with multiple context keys or values", "Multivalued
context keys" and "IAM JSON policy elements: Condition operators". Leading keys: DynamoDB developer guide, "Fine-grained
access control".
"""

import unittest

from ministack.core.iam_evaluator import parse_policy_document

from gate.callers import Caller
from gate.calls import Need
from gate.policy import denial

TABLE = "arn:aws:dynamodb:us-east-1:000000000000:table/Games"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:orders"
KEY = "arn:aws:kms:us-east-1:000000000000:key/0a1b"
KEYS = "dynamodb:LeadingKeys"
SOURCE = "lambda:SourceFunctionArn"


def statement(effect="Allow", action="dynamodb:*", resource="*", **condition):
    """Returns a statement of a policy."""
    conditions = {operator.replace("__", ":"): keys for operator, keys in condition.items()}
    return {
        "Effect": effect,
        "Action": action,
        "Resource": resource,
        **({"Condition": conditions} if conditions else {}),
    }


def keyed(*keys):
    """Returns a GetItem with these leading keys."""
    return Need("dynamodb:GetItem", TABLE, {"dynamodb:leadingkeys": list(keys)} if keys else {})


def caller(*statements, boundary=None):
    """Returns a caller whose role has these statements."""
    limits = [[parse_policy_document({"Statement": boundary})]] if boundary else []
    policy = parse_policy_document({"Statement": list(statements)})
    return Caller("deliver", "arn:aws:sts::000000000000:assumed-role/r/deliver", [policy], limits)


def bound(**more):
    """Returns a Decrypt with an encryption context."""
    context = {"tenant": "acme", "path": "/dev/webhooks/acme", **more}
    context = {name: text for name, text in context.items() if text}
    keys = {f"kms:encryptioncontext:{name}": text for name, text in context.items()}
    return Need("kms:Decrypt", KEY, {**keys, "kms:encryptioncontextkeys": sorted(context)})


def shown(*attributes):
    """Returns a GetItem of these attributes."""
    keys: dict[str, str | list[str]] = {"dynamodb:attributes": list(attributes)}
    keys["dynamodb:select"] = "SPECIFIC_ATTRIBUTES"
    return Need("dynamodb:GetItem", TABLE, keys)


# As in infra/template.yaml.
BOUND = {
    "StringLike": {"kms:EncryptionContext:path": "/dev/webhooks/*"},
    "ForAllValues__StringEquals": {"kms:EncryptionContextKeys": ["tenant", "path"]},
    "Null": {"kms:EncryptionContext:tenant": "false", "kms:EncryptionContextKeys": "false"},
}
SOME = {
    "ForAllValues__StringEquals": {"dynamodb:Attributes": ["pk", "a"]},
    "Null": {"dynamodb:Attributes": "false"},
    "StringEqualsIfExists": {"dynamodb:Select": "SPECIFIC_ATTRIBUTES"},
}

ALL = {"ForAllValues__StringLike": {KEYS: ["T#*", "W#*"]}}
PRESENT = {"Null": {KEYS: "false"}}

CASES = [
    ("without a matching statement, nothing is allowed", [], keyed("T#1"), False),
    (
        "an allow of the action and the resource",
        [statement(action="dynamodb:GetItem", resource=TABLE)],
        keyed("T#1"),
        True,
    ),
    ("actions do not depend on case", [statement(action="DynamoDB:getitem", resource=TABLE)], keyed("T#1"), True),
    ("an action's wildcard", [statement(action="dynamodb:Get*", resource=TABLE)], keyed("T#1"), True),
    ("a question mark is one character", [statement(action="dynamodb:?etItem")], keyed("T#1"), True),
    ("another action", [statement(action="dynamodb:Query", resource=TABLE)], keyed("T#1"), False),
    ("resources depend on case", [statement(resource=TABLE.lower())], keyed("T#1"), False),
    ("a table is not its index", [statement(resource=TABLE)], Need("dynamodb:Query", f"{TABLE}/index/by_score"), False),
    (
        "an index by wildcard",
        [statement(resource=f"{TABLE}/index/*")],
        Need("dynamodb:Query", f"{TABLE}/index/by_score"),
        True,
    ),
    ("an action without resources needs a star", [statement(resource=TABLE)], Need("dynamodb:ListStreams", "*"), False),
    ("an action without resources with a star", [statement()], Need("dynamodb:ListStreams", "*"), True),
    ("an explicit deny wins", [statement(), statement("Deny", "dynamodb:GetItem")], keyed("T#1"), False),
    ("a deny of something else", [statement(), statement("Deny", "dynamodb:PutItem")], keyed("T#1"), True),
    ("all values match one of the policy's", [statement(**ALL)], keyed("T#1", "W#2"), True),
    ("one value matches none", [statement(**ALL)], keyed("T#1", "K#2"), False),
    ("for all values of an absent key is true", [statement(**ALL)], Need("dynamodb:Scan", TABLE), True),
    ("unless a null check requires the key", [statement(**ALL, **PRESENT)], Need("dynamodb:Scan", TABLE), False),
    ("the null check with a present key", [statement(**ALL, **PRESENT)], keyed("W#2"), True),
    ("the null check does not replace the values", [statement(**ALL, **PRESENT)], keyed("K#2"), False),
    ("null true requires an absent key", [statement(Null={KEYS: "true"})], keyed("T#1"), False),
    (
        "for any value of an absent key is false",
        [statement(ForAnyValue__StringLike={KEYS: "T#*"})],
        Need("dynamodb:Scan", TABLE),
        False,
    ),
    ("for any value", [statement(ForAnyValue__StringLike={KEYS: "T#*"})], keyed("T#1", "K#2"), True),
    ("equals is no wildcard", [statement(ForAllValues__StringEquals={KEYS: "T#*"})], keyed("T#1"), False),
    (
        "an absent key fails a plain operator",
        [statement(StringLike={KEYS: "T#*"})],
        Need("dynamodb:Scan", TABLE),
        False,
    ),
    (
        "an absent key passes with if exists",
        [statement(StringLikeIfExists={KEYS: "T#*"})],
        Need("dynamodb:Scan", TABLE),
        True,
    ),
    (
        "an absent key passes a negated operator",
        [statement(StringNotEquals={KEYS: "K#1"})],
        Need("dynamodb:Scan", TABLE),
        True,
    ),
    (
        "operators of a statement must all hold",
        [statement(**ALL, Bool={"aws:SecureTransport": "false"})],
        keyed("T#1"),
        False,
    ),
    ("calls are encrypted on AWS", [statement(Bool={"aws:SecureTransport": "true"})], keyed("T#1"), True),
    (
        "condition keys do not depend on case",
        [statement(ForAllValues__StringLike={"DYNAMODB:leadingkeys": "T#*"})],
        keyed("T#1"),
        True,
    ),
    ("an unknown operator", [statement(NumericLessThan={KEYS: "3"})], keyed("T#1"), False),
    ("an unknown condition key", [statement(StringEquals={"aws:SourceVpc": "vpc-1"})], keyed("T#1"), False),
    (
        "an unknown condition of a deny",
        [statement(), statement("Deny", IpAddress={"aws:SourceIp": "10.0.0.0/8"})],
        keyed("T#1"),
        False,
    ),
    (
        "an unknown condition of another action",
        [statement(), statement(action="kms:*", StringEquals={"aws:SourceVpc": "v"})],
        keyed("T#1"),
        True,
    ),
    ("a deny whose key is absent", [statement(), statement("Deny", ArnLike={SOURCE: "arn:*"})], keyed("T#1"), True),
    (
        "a deny whose key is present",
        [statement(), statement("Deny", ArnLike={SOURCE: "arn:*"})],
        Need("dynamodb:Scan", TABLE, {SOURCE.lower(): "arn:a"}),
        False,
    ),
    (
        "a resource of this account",
        [statement(StringEquals={"aws:ResourceAccount": "000000000000"})],
        keyed("T#1"),
        True,
    ),
    (
        "a resource of another account",
        [statement(StringEquals={"s3:ResourceAccount": "111111111111"})],
        keyed("T#1"),
        False,
    ),
    ("a variable", [statement(ForAllValues__StringLike={KEYS: "${aws:userid}"})], keyed("${aws:userid}"), False),
    (
        "a queue of another name",
        [statement(action="sqs:SendMessage", resource=f"{QUEUE}s")],
        Need("sqs:SendMessage", QUEUE),
        False,
    ),
    ("an encryption context of a path", [statement(action="kms:Decrypt", **BOUND)], bound(), True),
    (
        "names of the context in another case",
        [statement(action="kms:Decrypt", StringLike={"KMS:EncryptionContext:Path": "/dev/*"})],
        bound(),
        True,
    ),
    ("another path", [statement(action="kms:Decrypt", **BOUND)], bound(path="/prod/webhooks/a"), False),
    ("a path in another case", [statement(action="kms:Decrypt", **BOUND)], bound(path="/DEV/webhooks/a"), False),
    ("more than the policy names", [statement(action="kms:Decrypt", **BOUND)], bound(purpose="x"), False),
    ("less than the policy names", [statement(action="kms:Decrypt", **BOUND)], bound(tenant=None), False),
    ("no context", [statement(action="kms:Decrypt", **BOUND)], Need("kms:Decrypt", KEY), False),
    ("attributes that are listed", [statement(**SOME)], shown("pk", "a"), True),
    ("another attribute", [statement(**SOME)], shown("pk", "b"), False),
    (
        "all attributes",
        [statement(**SOME)],
        Need("dynamodb:GetItem", TABLE, {"dynamodb:select": "ALL_ATTRIBUTES"}),
        False,
    ),
    ("not action", [{"Effect": "Allow", "NotAction": "sqs:*", "Resource": "*"}], keyed("T#1"), True),
]


class Policies(unittest.TestCase):
    def test_decisions(self):
        for title, statements, need, allowed in CASES:
            with self.subTest(title):
                self.assertEqual(denial(caller(*statements), need) is None, allowed)

    def test_a_boundary_limits_what_a_role_allows(self):
        boundary = [statement(action="sqs:*")]
        self.assertIsNotNone(denial(caller(statement(), boundary=boundary), keyed("T#1")))
        self.assertIsNone(denial(caller(statement(), boundary=[statement()]), keyed("T#1")))

    def test_what_is_unknown_is_named(self):
        why = denial(caller(statement(StringEquals={"aws:SourceVpc": "vpc-1"})), keyed("T#1"))
        self.assertIn("aws:SourceVpc", why or "")


if __name__ == "__main__":
    unittest.main()
