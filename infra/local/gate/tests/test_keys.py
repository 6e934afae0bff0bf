"""Tests of the permissions on customer-managed keys."""

import unittest
from unittest import mock

from gate.calls import Call, Need
from gate.keys import key_needs

KEY = "arn:aws:kms:us-east-1:000000000000:key/k"
TABLE = "arn:aws:dynamodb:us-east-1:000000000000:table/Games"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:orders"
SECRET = "arn:aws:secretsmanager:us-east-1:000000000000:secret:/new-AAAAAA"

CASES = [
    ("dynamodb:PutItem", TABLE, "dynamodb", ["kms:Decrypt"]),
    ("dynamodb:Query", f"{TABLE}/index/lanes", "dynamodb", ["kms:Decrypt"]),
    ("dynamodb:UpdateTable", TABLE, "dynamodb", []),
    ("sqs:SendMessage", QUEUE, "sqs", ["kms:GenerateDataKey", "kms:Decrypt"]),
    ("sqs:ReceiveMessage", QUEUE, "sqs", ["kms:Decrypt"]),
    ("sqs:DeleteMessage", QUEUE, "sqs", []),
    ("secretsmanager:GetSecretValue", SECRET, "secretsmanager", ["kms:Decrypt"]),
    ("secretsmanager:PutSecretValue", SECRET, "secretsmanager", ["kms:GenerateDataKey", "kms:Decrypt"]),
    ("secretsmanager:DescribeSecret", SECRET, "secretsmanager", []),
    ("sns:Publish", "arn:aws:sns:us-east-1:000000000000:notices", "sns", []),
]


class Keys(unittest.TestCase):
    def test_an_action_needs_the_key_through_its_service(self):
        for action, resource, service, expected in CASES:
            via: dict[str, str | list[str]] = {"kms:viaservice": f"{service}.us-east-1.amazonaws.com"}
            with self.subTest(action), mock.patch("gate.cloud.key", lambda resource: KEY):
                self.assertEqual(key_needs(Need(action, resource)), [Need(one, KEY, via) for one in expected])

    def test_keys_of_aws_need_nothing(self):
        with mock.patch("gate.cloud.key", lambda resource: None):
            for action, resource, _, _ in CASES:
                self.assertEqual(key_needs(Need(action, resource)), [])

    def test_a_new_secret_has_the_key_of_the_request(self):
        with mock.patch("gate.cloud.key", lambda resource: None):
            create = Need("secretsmanager:CreateSecret", SECRET)
            found = key_needs(create, Call("secretsmanager", "CreateSecret", {"Name": "/new", "KmsKeyId": KEY}))
            self.assertEqual([need.action for need in found], ["kms:GenerateDataKey", "kms:Decrypt"])
            self.assertEqual(key_needs(create, Call("secretsmanager", "CreateSecret", {"Name": "/new"})), [])


if __name__ == "__main__":
    unittest.main()
