"""The watch of the deployed stack: it finds a source that is not attached, and nothing once it is."""

from __future__ import annotations

import json

from common import StackError
from stack import Stack

# A table that no other part of `make test` uses.
TABLE = "watched"


def check_watch(stack: Stack) -> None:
    """Registers a table before its stream is attached, as an operator may do."""
    operator = stack.issuer.token(None, ["OPERATOR"])
    if faults := run(stack):
        raise StackError(f"the watch finds faults in a sound stack: {faults}")
    mapping = {"entity": "item", "tenant": "{tenant_id}", "id": "{item_id}", "collection": "items"}
    stack.expect(201, "POST", "/sources", operator, {"table": TABLE, "entities": [mapping]})
    if set(faults := run(stack)) != {TABLE}:
        raise StackError(f"the watch does not find that {TABLE} does not exist: {faults}")
    dynamodb = stack.client("dynamodb")
    dynamodb.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "tenant_id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "tenant_id", "KeyType": "HASH"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    if "not attached" not in (faults := run(stack)).get(TABLE, ""):
        raise StackError(f"the watch does not find that {TABLE} is not attached: {faults}")
    stack.attach(TABLE)
    if faults := run(stack):
        raise StackError(f"the watch finds faults once all is attached: {faults}")
    stack.expect(204, "DELETE", f"/sources/{TABLE}", operator)


def run(stack: Stack) -> dict:
    """Runs the watch as its schedule does, and returns what it finds."""
    answer = stack.client("lambda").invoke(FunctionName=stack.outputs["WatchFunction"], Payload=b"{}")
    found = json.loads(answer["Payload"].read())
    if "FunctionError" in answer:
        raise StackError(f"the watch fails: {found}")
    return found
