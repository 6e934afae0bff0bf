"""`make source TABLE=… MAPPING=…`: makes a table of the running stack a source of events."""

from __future__ import annotations

import base64
import json
import os
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import requests
from botocore.exceptions import ClientError
from common import StackError, step
from stack import STACK, Stack

VIEW = "NEW_AND_OLD_IMAGES"

# How many processes may read a shard at a time before DynamoDB throttles them. Replication of a global table is a
# reader too.
READERS = 2
READERS_OF_GLOBAL = 1

# How many items of the table the mapping is tried on.
SAMPLES = 5

USAGE = "make source TABLE=orders MAPPING=orders.json"


def source() -> int:
    """Tries a table's mapping on some of its items and registers it, then attaches the stream, so that no change
    arrives from an unregistered table."""
    table, file = os.environ.get("TABLE", ""), os.environ.get("MAPPING", "")
    if not table:
        raise StackError(f"which table? {USAGE}")
    mapping = read(Path(file), table) if file else None
    stack = Stack("run", int(os.environ.get("DYNAHOOK_PORT", "4566")))
    stack.join()
    described = describe(stack, table)
    spec = stream(described)
    arn = described.get("LatestStreamArn") if spec.get("StreamEnabled") else None
    if arn and (fault := crowded(table, others(stack, arn), bool(described.get("Replicas")))):
        raise StackError(fault)
    if hint := key_hint(stack, described):
        print(hint)
    tried = mapping or known(stack, table)
    found = preview(stack, tried)
    show(found)
    show_related(stack, table, found)
    registered = register(stack, mapping, file) if mapping else tried
    if not spec.get("StreamEnabled"):
        switch_on(stack, table)
    attach(stack, table)
    types = [entity["entity"] for entity in registered["entities"]]
    print(f"{table} is a source of " + ", ".join(f"{name}.created, .updated, .deleted" for name in types))
    return 0


def read(file: Path, table: str) -> dict:
    """Reads a mapping; the API checks its content."""
    try:
        mapping = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"cannot read the mapping {file}: {error}") from None
    except json.JSONDecodeError as error:
        raise StackError(f"the mapping {file} is not JSON: {error}") from None
    named = mapping.get("table") if isinstance(mapping, dict) else None
    if named != table:
        raise StackError(f'the mapping {file} must be an object with "table": "{table}"; it has {json.dumps(named)}')
    return mapping


def describe(stack: Stack, table: str) -> dict:
    """Returns DynamoDB's description of the table."""
    dynamodb = stack.client("dynamodb")
    try:
        return dynamodb.describe_table(TableName=table)["Table"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        # Without Dynahook's own tables.
        found = [name for name in dynamodb.list_tables()["TableNames"] if not name.startswith(f"{STACK}-")]
        there = f"there are {', '.join(found)}" if found else "create it first"
        raise StackError(f"there is no table {table} on {stack.endpoint}; {there}") from None


def stream(described: dict) -> dict:
    """Returns the specification of the stream, which must be off, or on with both images."""
    spec = described.get("StreamSpecification", {})
    # The images of a stream cannot be changed while it is on, and others may be reading it.
    if spec.get("StreamEnabled") and spec["StreamViewType"] != VIEW:
        held = spec["StreamViewType"]
        raise StackError(
            f"the stream of {described['TableName']} holds {held}, not {VIEW}: switch it off and run this again"
        )
    return spec


def others(stack: Stack, arn: str) -> list[str]:
    """Returns the functions that already read the stream, without Dynahook's own."""
    pages = stack.client("lambda").get_paginator("list_event_source_mappings").paginate(EventSourceArn=arn)
    mappings = [mapping for page in pages for mapping in page["EventSourceMappings"]]
    readers = {
        mapping["FunctionArn"].split(":function:")[-1] for mapping in mappings if mapping.get("State") != "Disabled"
    }
    return sorted(readers - {stack.outputs["FanoutFunction"]})


def crowded(table: str, readers: list[str], is_global: bool) -> str | None:
    """Returns why the stream cannot have another reader, or nothing if it can."""
    most = READERS_OF_GLOBAL if is_global else READERS
    if len(readers) < most:
        return None
    kind = "a global table lets one process" if is_global else "DynamoDB lets two processes"
    return (
        f"the stream of {table} already has the readers {', '.join(readers)}, and {kind} read a shard at a time: with "
        "one more all of them are throttled. Detach one, or combine two of them (see docs/use/sources.md)"
    )


def key_hint(stack: Stack, described: dict) -> str | None:
    """Says which permissions a customer-managed key of the table needs; AWS-managed keys need none."""
    sse = described.get("SSEDescription", {})
    arn = sse.get("KMSMasterKeyArn") if sse.get("SSEType") == "KMS" else None
    if not arn:
        return None
    try:
        if stack.client("kms").describe_key(KeyId=arn)["KeyMetadata"]["KeyManager"] == "AWS":
            return None
    except ClientError:
        # A key that cannot be inspected counts as customer-managed.
        pass
    return (
        f"{described['TableName']} is encrypted with the customer-managed key {arn}. On AWS fan-out cannot read its "
        "stream until the main stack's parameter SourceKeyArns names the key and the key's policy "
        "allows this account's roles to use it (see docs/use/sources.md)"
    )


def switch_on(stack: Stack, table: str) -> None:
    """Switches on the table's stream."""
    step(f"switching on the stream of {table} with {VIEW}")
    dynamodb = stack.client("dynamodb")
    dynamodb.update_table(TableName=table, StreamSpecification={"StreamEnabled": True, "StreamViewType": VIEW})
    dynamodb.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1})


def preview(stack: Stack, mapping: dict) -> list[tuple[str, dict]]:
    """Tries the mapping on the first items of the table; returns the key of each, and what would become of it if it
    were new."""
    table, dynamodb = mapping["table"], stack.client("dynamodb")
    names = [key["AttributeName"] for key in dynamodb.describe_table(TableName=table)["Table"]["KeySchema"]]
    items = [
        {name: plain(value) for name, value in item.items()}
        for item in dynamodb.scan(TableName=table, Limit=SAMPLES)["Items"]
    ]
    if not items:
        return []
    body = {"source": mapping, "items": [{"item": item} for item in items]}
    answer = stack.call("POST", f"/sources/{table}/preview", stack.issuer.token(None, ["OPERATOR"]), body)
    if answer.status_code != 200:
        raise StackError(f"the mapping is refused:{reason(answer)}")
    keys = [", ".join(f"{name}={next(iter(item[name].values()))}" for name in names) for item in items]
    return list(zip(keys, [entry["created"] for entry in answer.json()["data"]], strict=True))


def plain(value: dict) -> dict:
    """Returns a value of boto3 as DynamoDB's JSON, which has binary values in base64."""
    kind, content = next(iter(value.items()))
    if kind == "B":
        return {kind: base64.b64encode(content).decode()}
    if kind == "BS":
        return {kind: [base64.b64encode(one).decode() for one in content]}
    if kind == "L":
        return {kind: [plain(one) for one in content]}
    if kind == "M":
        return {kind: {name: plain(one) for name, one in content.items()}}
    return value


def show(tried: list[tuple[str, dict]]) -> None:
    """Prints what the mapping makes of each item, and stops if it can map none of them."""
    if not tried:
        print("the table has no items to try the mapping on")
        return
    print("the mapping makes of the first items, if they were new:")
    for key, outcome in tried:
        print(f"  {key}")
        for event in outcome["events"]:
            print(f"    {event['event_type']} of tenant {event['tenant']}: {event['entity_path']}")
        if outcome["reason"]:
            print(f"    {'cannot be mapped' if outcome['fails'] else 'no event'}: {outcome['reason']}")
    if all(outcome["fails"] for _, outcome in tried):
        raise StackError(
            "the mapping can map none of these items; change it and run this again (see docs/use/sources.md)"
        )


def show_related(stack: Stack, table: str, tried: list[tuple[str, dict]]) -> None:
    """Makes the queries that fan-out would make for the items, and prints what they find."""
    events = [(key, event) for key, outcome in tried for event in outcome["events"] if event["related_queries"]]
    for key, event in events:
        for query in event["related_queries"]:
            try:
                answer = stack.client("dynamodb").query(TableName=table, **related_query(query))
            except ClientError as error:
                why = error.response["Error"]["Message"]
                raise StackError(f"DynamoDB refuses the query for {query['name']}: {why}") from None
            print(f"  {key}\n    {query['name']}: {min(len(answer['Items']), query['limit'])} items are related")
    if events:
        print("on AWS fan-out may make these queries only if the parameter RelatedTables names the table")


def related_query(query: dict) -> dict:
    """Returns the arguments of a query as fan-out makes it."""
    parts = [query["partition"], *([query["sort"]] if query["sort"] else [])]
    conditions = ("#k0 = :k0", "begins_with(#k1, :k1)")
    request = {
        "KeyConditionExpression": " AND ".join(conditions[: len(parts)]),
        "ExpressionAttributeNames": {f"#k{number}": part["attribute"] for number, part in enumerate(parts)},
        "ExpressionAttributeValues": {f":k{number}": {"S": part["value"]} for number, part in enumerate(parts)},
        "Limit": query["limit"] + 1,
    }
    return request | ({"IndexName": query["index"]} if query["index"] else {"ConsistentRead": True})


def register(stack: Stack, mapping: dict, file: str) -> dict:
    """Registers the mapping, or replaces the registered one."""
    table, operator = mapping["table"], stack.issuer.token(None, ["OPERATOR"])
    step(f"registering {table} with the mapping {file}")
    answer = stack.call("POST", "/sources", operator, mapping)
    if answer.status_code == 409:
        answer = stack.call("PUT", f"/sources/{table}", operator, mapping)
    if answer.status_code not in (200, 201):
        raise StackError(f"the mapping {file} is refused:{reason(answer)}")
    return answer.json()


def known(stack: Stack, table: str) -> dict:
    """Returns the registered mapping."""
    answer = stack.call("GET", f"/sources/{table}", stack.issuer.token(None, ["OPERATOR"]))
    if answer.status_code == 404:
        raise StackError(f"{table} is not registered, so its mapping is needed: {USAGE} (see docs/use/sources.md)")
    if answer.status_code != 200:
        raise StackError(f"cannot read the source {table}:{reason(answer)}")
    return answer.json()


def reason(answer: requests.Response) -> str:
    """Returns the text of a problem document: on one line, or with one line for each field."""
    try:
        problem = answer.json()
    except requests.JSONDecodeError:
        return f" {answer.status_code} {answer.text}"
    errors = problem.get("errors")
    if not errors:
        return f" {answer.status_code} {problem.get('detail', problem.get('title'))}"
    return "".join(f"\n  {error['pointer']} {error['detail']}" for error in errors)


def attach(stack: Stack, table: str) -> None:
    """Attaches the table's stream, unless it is attached."""
    arn = stack.client("dynamodb").describe_table(TableName=table)["Table"]["LatestStreamArn"]
    # One stream can have only one mapping to a function, and another stack may have attached the table already.
    attached = stack.client("lambda").list_event_source_mappings(
        EventSourceArn=arn, FunctionName=stack.outputs["FanoutFunction"]
    )
    if attached["EventSourceMappings"]:
        step(f"the stream of {table} is already attached")
        return
    step(f"attaching the stream of {table} with infra/source.yaml")
    stack.attach(table)


def check_source(stack: Stack) -> None:
    """Checks that a stream with too many readers is refused, that an unusable key is named, and that a source adds no
    policy to fan-out's role. Needs the table of the end-to-end tests."""
    role = stack.outputs["FanoutRole"]
    policies = stack.client("iam").list_role_policies(RoleName=role)["PolicyNames"]
    if len(policies) != 1:
        raise StackError(
            f"the policies of a role share 10,240 characters, but sources added some to fan-out's: {policies}"
        )
    dynamodb, functions = stack.client("dynamodb"), stack.client("lambda")
    key = stack.client("kms").create_key()["KeyMetadata"]["Arn"]
    described = dynamodb.create_table(
        TableName="crowded",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": VIEW},
        SSESpecification={"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key},
    )["TableDescription"]
    arn, mappings = described["LatestStreamArn"], []
    try:
        if crowded("crowded", others(stack, arn), is_global=False) or key_hint(stack, {"TableName": "crowded"}):
            raise StackError("an ordinary table is refused as a source")
        for function in ("FanoutFunction", "DeliverFunction", "SweepFunction"):
            mapping = functions.create_event_source_mapping(
                EventSourceArn=arn, FunctionName=stack.outputs[function], StartingPosition="LATEST"
            )
            mappings.append(mapping["UUID"])
        readers = others(stack, arn)
        if len(readers) != 2 or "throttled" not in (crowded("crowded", readers, is_global=False) or ""):
            raise StackError(f"a stream with two readers, {readers}, is accepted as a source")
        if crowded("crowded", readers[:1], is_global=False) or not crowded("crowded", readers[:1], is_global=True):
            raise StackError("the limits of readers are not those of DynamoDB: two, and one for a global table")
        check_preview(dynamodb, stack)
        if key not in (key_hint(stack, dynamodb.describe_table(TableName="crowded")["Table"]) or ""):
            raise StackError("a customer-managed key is not named")
    finally:
        for mapping in mappings:
            functions.delete_event_source_mapping(UUID=mapping)
        dynamodb.delete_table(TableName="crowded")


def check_preview(dynamodb, stack: Stack) -> None:
    """Checks that a mapping is tried on items of every type, and that one that can map none of them is refused."""
    item = {
        "id": {"S": "o1"},
        "bytes": {"B": b"\x00"},
        "all": {"L": [{"M": {"set": {"BS": [b"\x01"]}}}, {"N": "1.50"}]},
    }
    dynamodb.put_item(TableName="crowded", Item=item)
    entity = {"entity": "order", "tenant": "acme", "id": "{id}", "collection": "orders"}
    tried = preview(stack, {"table": "crowded", "entities": [entity]})
    (event,) = tried[0][1]["events"]
    if (tried[0][0], event["entity_path"]) != ("id=o1", "orders/o1"):
        raise StackError(f"a mapping was tried with another result: {tried}")
    if event["properties"] != {"id": "o1", "bytes": "AA==", "all": [{"set": ["AQ=="]}, 1.5]}:
        raise StackError(f"an item has other properties in a preview: {event['properties']}")
    related = {**entity, "related": {"others": {"query": {"id": "{id}"}}}}
    printed = StringIO()
    with redirect_stdout(printed):
        show_related(stack, "crowded", preview(stack, {"table": "crowded", "entities": [related]}))
    if "others: 1 items are related" not in printed.getvalue():
        raise StackError(f"a query of a mapping was tried with another result: {printed.getvalue()}")
    unmapped = preview(stack, {"table": "crowded", "entities": [{**entity, "id": "{number}"}]})
    try:
        with redirect_stdout(StringIO()):
            show(unmapped)
    except StackError:
        return
    raise StackError(f"a mapping that can map no item is accepted: {unmapped}")
