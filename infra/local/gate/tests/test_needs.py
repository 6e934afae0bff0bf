"""Tests of the permissions that calls need: actions, resources and leading keys."""

import unittest
from unittest import mock

from gate.calls import Call, UnknownCall
from gate.needs import needs
from gate.record import entries

ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/Games"
OTHER = "arn:aws:dynamodb:us-east-1:000000000000:table/Scores"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:orders.fifo"
SECRET = "arn:aws:secretsmanager:us-east-1:000000000000:secret:"

KEY = "arn:aws:kms:us-east-1:000000000000:key/0a1b"
CONTEXT = {"tenant": "acme", "Path": "/local/webhooks/acme/1"}
TOPIC = "arn:aws:sns:us-east-1:000000000000:notices"
STACK = "arn:aws:cloudformation:us-east-1:000000000000:stack/local/1"

PARTITION_KEYS = {("Games", None): "pk", ("Scores", None): "pk", ("Games", "lanes"): "lane"}
SECRETS = {"/local/webhooks/a/b": f"{SECRET}/local/webhooks/a/b-x1y2z3"}


def key(value):
    """Returns a key, or an item."""
    return {"pk": {"S": value}, "sk": {"S": "META"}}


def query(condition, names=None, index=None):
    """Returns a Query."""
    data = {"TableName": "Games", "KeyConditionExpression": condition, "ExpressionAttributeNames": names or {}}
    data["ExpressionAttributeValues"] = {":a": {"S": "T#1"}, ":b": {"S": "x"}}
    return Call("dynamodb", "Query", {**data, **({"IndexName": index} if index else {})})


def dynamodb(operation, **data):
    """Returns a call of DynamoDB."""
    return Call("dynamodb", operation, data)


TRANSACTION = [
    {"Put": {"TableName": "Games", "Item": key("T#1")}},
    {"Update": {"TableName": "Scores", "Key": key("T#2")}},
    {"Delete": {"TableName": "Games", "Key": key("T#3")}},
    {"ConditionCheck": {"TableName": "Games", "Key": key("T#4")}},
]

CASES = [
    (dynamodb("GetItem", TableName="Games", Key=key("T#1")), [("dynamodb:GetItem", ARN, ["T#1"])]),
    (
        Call("kms", "Encrypt", {"KeyId": KEY, "Plaintext": "eA==", "EncryptionContext": CONTEXT}),
        [("kms:Encrypt", KEY, None)],
    ),
    (Call("kms", "Decrypt", {"KeyId": KEY, "CiphertextBlob": "eA=="}), [("kms:Decrypt", KEY, None)]),
    (dynamodb("GetItem", TableName=ARN, Key=key("T#1")), [("dynamodb:GetItem", ARN, ["T#1"])]),
    (dynamodb("PutItem", TableName="Games", Item=key("T#1")), [("dynamodb:PutItem", ARN, ["T#1"])]),
    (dynamodb("UpdateItem", TableName="Games", Key=key("T#1")), [("dynamodb:UpdateItem", ARN, ["T#1"])]),
    (dynamodb("DeleteItem", TableName="Games", Key=key("T#1")), [("dynamodb:DeleteItem", ARN, ["T#1"])]),
    (query("pk = :a"), [("dynamodb:Query", ARN, ["T#1"])]),
    (query("#k=:a AND begins_with(sk, :b)", {"#k": "pk"}), [("dynamodb:Query", ARN, ["T#1"])]),
    (query("sk = :b AND pk = :a"), [("dynamodb:Query", ARN, ["T#1"])]),
    (query("(pk = :a) AND (sk BETWEEN :a AND :b)"), [("dynamodb:Query", ARN, ["T#1"])]),
    (query("lane = :b", index="lanes"), [("dynamodb:Query", f"{ARN}/index/lanes", ["x"])]),
    (dynamodb("Scan", TableName="Games"), [("dynamodb:Scan", ARN, None)]),
    (
        dynamodb(
            "BatchGetItem", RequestItems={"Games": {"Keys": [key("T#2"), key("T#1")]}, "Scores": {"Keys": [key("S#1")]}}
        ),
        [("dynamodb:BatchGetItem", ARN, ["T#1", "T#2"]), ("dynamodb:BatchGetItem", OTHER, ["S#1"])],
    ),
    (
        dynamodb(
            "BatchWriteItem",
            RequestItems={"Games": [{"PutRequest": {"Item": key("T#1")}}, {"DeleteRequest": {"Key": key("T#2")}}]},
        ),
        [("dynamodb:BatchWriteItem", ARN, ["T#1", "T#2"])],
    ),
    (
        dynamodb("TransactWriteItems", TransactItems=TRANSACTION),
        [
            ("dynamodb:PutItem", ARN, ["T#1"]),
            ("dynamodb:UpdateItem", OTHER, ["T#2"]),
            ("dynamodb:DeleteItem", ARN, ["T#3"]),
            ("dynamodb:ConditionCheckItem", ARN, ["T#4"]),
        ],
    ),
    (
        dynamodb("TransactGetItems", TransactItems=[{"Get": {"TableName": "Games", "Key": key("T#1")}}]),
        [("dynamodb:GetItem", ARN, ["T#1"])],
    ),
    (
        Call("sqs", "SendMessage", {"QueueUrl": "http://localhost:4566/000000000000/orders.fifo"}),
        [("sqs:SendMessage", QUEUE, None)],
    ),
    (
        Call(
            "sqs",
            "SendMessageBatch",
            {"QueueUrl": "http://localhost:4566/000000000000/orders.fifo", "Entries": [{}, {}]},
        ),
        [("sqs:SendMessage", QUEUE, None)],
    ),
    (
        Call("secretsmanager", "GetSecretValue", {"SecretId": "/local/webhooks/a/b"}),
        [("secretsmanager:GetSecretValue", f"{SECRET}/local/webhooks/a/b-x1y2z3", None)],
    ),
    (
        Call("secretsmanager", "GetSecretValue", {"SecretId": "/not/there"}),
        [("secretsmanager:GetSecretValue", f"{SECRET}/not/there-AAAAAA", None)],
    ),
    (
        Call("secretsmanager", "CreateSecret", {"Name": "/new"}),
        [("secretsmanager:CreateSecret", f"{SECRET}/new-AAAAAA", None)],
    ),
    (
        Call("secretsmanager", "CreateSecret", {"Name": "/new", "Tags": [{"Key": "tenant", "Value": "a"}]}),
        [
            ("secretsmanager:CreateSecret", f"{SECRET}/new-AAAAAA", None),
            ("secretsmanager:TagResource", f"{SECRET}/new-AAAAAA", None),
        ],
    ),
    (
        Call("secretsmanager", "BatchGetSecretValue", {"SecretIdList": ["/local/webhooks/a/b"]}),
        [
            ("secretsmanager:BatchGetSecretValue", "*", None),
            ("secretsmanager:GetSecretValue", f"{SECRET}/local/webhooks/a/b-x1y2z3", None),
        ],
    ),
    (dynamodb("UpdateTable", TableName="Games", DeletionProtectionEnabled=True), [("dynamodb:UpdateTable", ARN, None)]),
    (Call("cloudformation", "DescribeStacks", {"StackName": STACK}), [("cloudformation:DescribeStacks", STACK, None)]),
    (Call("s3", "PUT", bucket="kept", key="a/b.json"), [("s3:PutObject", "arn:aws:s3:::kept/a/b.json", None)]),
    (Call("s3", "GET", bucket="kept", prefix="a/"), [("s3:ListBucket", "arn:aws:s3:::kept", None)]),
    (Call("sns", "Publish", {"TopicArn": TOPIC}), [("sns:Publish", TOPIC, None)]),
    (
        Call("lambda", "GET", bucket="2015-03-31", key="event-source-mappings/"),
        [("lambda:ListEventSourceMappings", "*", None)],
    ),
    (
        Call("ses", "POST", {"FromEmailAddress": "a@b.no"}, bucket="v2", key="email/outbound-emails"),
        [("ses:SendEmail", "arn:aws:ses:us-east-1:000000000000:identity/a@b.no", None)],
    ),
    (
        Call("xray", "POST", bucket="v1", key="traces"),
        [("xray:PutTraceSegments", "*", None), ("xray:PutSpans", "*", None)],
    ),
]

UNKNOWN = [
    dynamodb("DeleteTable", TableName="Games"),
    dynamodb("GetItem", TableName="Nowhere", Key=key("T#1")),
    query("sk = :b"),
    Call("sqs", "PurgeQueue", {"QueueUrl": "orders"}),
    Call("secretsmanager", "ListSecrets"),
    Call("s3", "DELETE", bucket="kept"),
    Call("sns", "CreateTopic", {"Name": "a"}),
    Call("kms", "Encrypt", {"KeyId": "alias/a"}),
    Call("kms", "Decrypt", {"CiphertextBlob": "eA=="}),
    Call("kms", "ReEncrypt", {"KeyId": KEY}),
    Call("xray", "POST", bucket="TraceSegments"),
    Call("cloudformation", "DescribeStacks", {"StackName": "by-name"}),
    Call("cloudformation", "DeleteStack", {"StackName": STACK}),
]


@mock.patch("gate.cloud.partition_key", lambda table, index=None: PARTITION_KEYS.get((table, index)))
@mock.patch("gate.cloud.secret_arn", SECRETS.get)
class Needs(unittest.TestCase):
    def test_each_call(self):
        for call, expected in CASES:
            with self.subTest(call.title):
                found = [(need.action, need.resource, need.keys.get("dynamodb:leadingkeys")) for need in needs(call)]
                self.assertEqual(found, expected)

    def test_what_is_not_known_is_said(self):
        for call in UNKNOWN:
            with self.subTest(call.title), self.assertRaises(UnknownCall):
                needs(call)

    def test_a_key_is_used_with_an_encryption_context(self):
        (found,) = needs(Call("kms", "Decrypt", {"KeyId": KEY, "EncryptionContext": CONTEXT}))
        expected = {
            "kms:encryptioncontextkeys": ["Path", "tenant"],
            "kms:encryptioncontext:path": "/local/webhooks/acme/1",
            "kms:encryptioncontext:tenant": "acme",
        }
        self.assertEqual(found.keys, expected)
        (without,) = needs(Call("kms", "Decrypt", {"KeyId": KEY}))
        self.assertEqual(without.keys, {})

    def test_the_attributes_of_an_answer_are_known(self):
        def shown(operation, **more):
            data = {"TableName": "Games", "Key": key("T#1"), **more}
            keys = needs(dynamodb(operation, **data))[0].keys
            return {name: value for name, value in keys.items() if name != "dynamodb:leadingkeys"}

        some = shown("GetItem", ProjectionExpression="#a.b[0], c", ExpressionAttributeNames={"#a": "a"})
        specific = {"dynamodb:select": "SPECIFIC_ATTRIBUTES", "dynamodb:attributes": ["a", "c", "pk", "sk"]}
        self.assertEqual(some, specific)
        self.assertEqual(shown("GetItem"), {"dynamodb:select": "ALL_ATTRIBUTES"})
        self.assertEqual(shown("UpdateItem", ReturnValues="ALL_OLD"), {"dynamodb:returnvalues": "ALL_OLD"})
        self.assertEqual(shown("UpdateItem"), {})

    def test_a_transaction_says_that_it_encloses(self):
        found = needs(dynamodb("TransactWriteItems", TransactItems=TRANSACTION))
        self.assertEqual({need.keys["dynamodb:enclosingoperation"] for need in found}, {"TransactWriteItems"})

    def test_entries_are_counted(self):
        self.assertEqual(entries(dynamodb("TransactWriteItems", TransactItems=TRANSACTION)), 4)
        self.assertEqual(entries(dynamodb("BatchWriteItem", RequestItems={"a": [{}, {}], "b": [{}]})), 3)
        self.assertEqual(entries(Call("sqs", "SendMessageBatch", {"Entries": [{}, {}]})), 2)
        self.assertEqual(entries(dynamodb("BatchGetItem", RequestItems={"Games": {"Keys": [key("a"), key("b")]}})), 2)
        self.assertEqual(entries(dynamodb("GetItem", TableName="Games", Key=key("a"))), 1)


if __name__ == "__main__":
    unittest.main()
