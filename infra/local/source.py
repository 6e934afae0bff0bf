"""`make source TABLE=… MAPPING=…`: makes a table of the running stack a source of events."""

from __future__ import annotations

import json
import os
from pathlib import Path

import requests
from botocore.exceptions import ClientError

from stack import STACK, Stack, StackError, step

VIEW = "NEW_AND_OLD_IMAGES"
USAGE = "make source TABLE=orders MAPPING=orders.json"


def source() -> int:
    """Registers a table's mapping, then attaches its stream: in this order no change meets a table that is not registered."""
    table, file = os.environ.get("TABLE", ""), os.environ.get("MAPPING", "")
    if not table:
        raise StackError(f"which table? {USAGE}")
    mapping = read(Path(file), table) if file else None
    stack = Stack("run", int(os.environ.get("DYNAHOOK_PORT", "4566")))
    stack.join()
    spec = stream(stack, table)
    registered = register(stack, mapping, file) if mapping else known(stack, table)
    if not spec.get("StreamEnabled"):
        switch_on(stack, table)
    attach(stack, table)
    types = [entity["entity"] for entity in registered["entities"]]
    print(f"{table} is a source of " + ", ".join(f"{name}.created, .updated, .deleted" for name in types))
    return 0


def read(file: Path, table: str) -> dict:
    """Reads a mapping; what stands in it the API checks."""
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


def stream(stack: Stack, table: str) -> dict:
    """Returns what the table says of its stream: off, or on with both images."""
    dynamodb = stack.client("dynamodb")
    try:
        spec = dynamodb.describe_table(TableName=table)["Table"].get("StreamSpecification", {})
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        # Dynahook's own tables are no application's.
        others = [name for name in dynamodb.list_tables()["TableNames"] if not name.startswith(f"{STACK}-")]
        there = f"there are {', '.join(others)}" if others else "create it first"
        raise StackError(f"there is no table {table} on {stack.endpoint}; {there}") from None
    # What a stream holds cannot be changed while it is on, and others may be reading it.
    if spec.get("StreamEnabled") and spec["StreamViewType"] != VIEW:
        held = spec["StreamViewType"]
        raise StackError(f"the stream of {table} holds {held}, not {VIEW}: switch it off and run this again")
    return spec


def switch_on(stack: Stack, table: str) -> None:
    """Switches the table's stream on."""
    step(f"switching the stream of {table} on, with {VIEW}")
    dynamodb = stack.client("dynamodb")
    dynamodb.update_table(TableName=table, StreamSpecification={"StreamEnabled": True, "StreamViewType": VIEW})
    dynamodb.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1})


def register(stack: Stack, mapping: dict, file: str) -> dict:
    """Registers the mapping, or puts it in the place of that which is registered."""
    table, operator = mapping["table"], stack.issuer.token(None, ["OPERATOR"])
    step(f"registering {table} as {file} says")
    answer = stack.call("POST", "/sources", operator, mapping)
    if answer.status_code == 409:
        answer = stack.call("PUT", f"/sources/{table}", operator, mapping)
    if answer.status_code not in (200, 201):
        raise StackError(f"the mapping {file} is refused:{reason(answer)}")
    return answer.json()


def known(stack: Stack, table: str) -> dict:
    """Returns the mapping that is registered."""
    answer = stack.call("GET", f"/sources/{table}", stack.issuer.token(None, ["OPERATOR"]))
    if answer.status_code == 404:
        raise StackError(f"{table} is not registered, so its mapping is needed: {USAGE} (see docs/SOURCES.md)")
    if answer.status_code != 200:
        raise StackError(f"cannot read the source {table}:{reason(answer)}")
    return answer.json()


def reason(answer: requests.Response) -> str:
    """Returns what a problem document says: in one line, or each field on a line of its own."""
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
    # Two mappings of one stream to one function cannot be, and a table may have been attached under another stack's name.
    attached = stack.client("lambda").list_event_source_mappings(
        EventSourceArn=arn, FunctionName=stack.outputs["FanoutFunction"]
    )
    if attached["EventSourceMappings"]:
        step(f"the stream of {table} is attached already")
        return
    step(f"attaching the stream of {table} with infra/source.yaml")
    stack.attach(table)
