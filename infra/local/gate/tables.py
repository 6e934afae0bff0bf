"""Permissions that calls to DynamoDB need, and their leading keys.

`dynamodb:LeadingKeys` contains the partition keys of a request: those of all items of a batch or a transaction, and
that of a query's key condition. A scan has no partition keys, so the condition key is absent.
"""

from __future__ import annotations

import re

from gate import cloud
from gate.calls import Call, Need, UnknownCall

# Operations on a table itself.
TABLE_ACTIONS = {"DescribeTable", "UpdateTable"}

ITEM_ACTIONS = {"GetItem", "PutItem", "UpdateItem", "DeleteItem"}

# Each part of a transaction needs the permission of its single operation; transactions have no action of their own.
TRANSACTION_ACTIONS = {
    "Get": "GetItem",
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}

EQUALS = re.compile(r"([#\w.-]+)\s*=\s*(:\w+)")


def table_needs(call: Call) -> list[Need]:
    """Returns the permissions that a call to DynamoDB needs."""
    data = call.data
    if call.operation in TABLE_ACTIONS:
        return [Need(f"dynamodb:{call.operation}", table_arn(data["TableName"]))]
    if call.operation in ITEM_ACTIONS:
        return [item_need(call.operation, data)]
    if call.operation in ("Query", "Scan"):
        index = data.get("IndexName")
        resource = table_arn(data["TableName"]) + (f"/index/{index}" if index else "")
        keys: dict[str, str | list[str]] = (
            {"dynamodb:leadingkeys": [queried(data)]} if call.operation == "Query" else {}
        )
        return [Need(f"dynamodb:{call.operation}", resource, keys)]
    if call.operation == "BatchGetItem":
        asked = {table: request["Keys"] for table, request in data["RequestItems"].items()}
        return [batch_need(call.operation, table, keys) for table, keys in asked.items()]
    if call.operation == "BatchWriteItem":
        return [batch_need(call.operation, table, written(items)) for table, items in data["RequestItems"].items()]
    if call.operation in ("TransactWriteItems", "TransactGetItems"):
        enclosed = {"dynamodb:enclosingoperation": call.operation}
        entries = [(kind, entry) for item in data["TransactItems"] for kind, entry in item.items()]
        return [item_need(TRANSACTION_ACTIONS[kind], entry, enclosed) for kind, entry in entries]
    raise UnknownCall(call.title)


def item_need(action: str, request: dict, keys: dict | None = None) -> Need:
    """Returns the permission for an operation on one item."""
    item = request.get("Key") or request["Item"]
    leading = leading_key(request["TableName"], item)
    found = {**(keys or {}), "dynamodb:leadingkeys": [leading], **shown(action, request)}
    return Need(f"dynamodb:{action}", table_arn(request["TableName"]), found)


def shown(action: str, request: dict) -> dict[str, str | list[str]]:
    """Returns the condition keys about the attributes that the answer contains."""
    if action != "GetItem":
        return {"dynamodb:returnvalues": request["ReturnValues"]} if "ReturnValues" in request else {}
    if not (projection := request.get("ProjectionExpression")):
        return {"dynamodb:select": "ALL_ATTRIBUTES"}
    names = request.get("ExpressionAttributeNames", {})
    # Only the names of whole attributes count: `a` for `a.b[0]`.
    asked = {re.split(r"[.\[]", part.strip())[0] for part in projection.split(",")}
    attributes = {names.get(name, name) for name in asked} | set(request["Key"])
    return {"dynamodb:select": "SPECIFIC_ATTRIBUTES", "dynamodb:attributes": sorted(attributes)}


def batch_need(action: str, table: str, items: list[dict]) -> Need:
    """Returns the permission for an operation on several items of a table."""
    leading = sorted({leading_key(table, item) for item in items})
    return Need(f"dynamodb:{action}", table_arn(table), {"dynamodb:leadingkeys": leading})


def written(requests: list[dict]) -> list[dict]:
    """Returns the items, or the keys, of the requests of a BatchWriteItem."""
    return [
        request["PutRequest"]["Item"] if "PutRequest" in request else request["DeleteRequest"]["Key"]
        for request in requests
    ]


def leading_key(table: str, item: dict) -> str:
    """Returns the partition key of an item."""
    name = cloud.partition_key(table_name(table))
    if name is None or name not in item:
        raise UnknownCall(f"an item of {table} without its partition key")
    return plain(item[name])


def queried(data: dict) -> str:
    """Returns the partition key that a query asks for."""
    key = cloud.partition_key(table_name(data["TableName"]), data.get("IndexName"))
    names = data.get("ExpressionAttributeNames", {})
    for name, value in EQUALS.findall(data.get("KeyConditionExpression", "")):
        if names.get(name, name) == key:
            return plain(data["ExpressionAttributeValues"][value])
    raise UnknownCall(f"a query of {data['TableName']} by {data.get('KeyConditionExpression')!r}")


def plain(value: dict) -> str:
    """Returns a value of DynamoDB without its type."""
    return str(next(iter(value.values())))


def table_name(table: str) -> str:
    """Returns the name of a table from its name or ARN."""
    return table.rpartition("table/")[2]


def table_arn(table: str) -> str:
    """Returns the ARN of a table."""
    return f"arn:aws:dynamodb:{cloud.REGION}:{cloud.ACCOUNT}:table/{table_name(table)}"
