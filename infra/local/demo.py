"""`make run` and `make demo`: from nothing to a verified POST."""

from __future__ import annotations

import json
import os
import signal
import textwrap
import time

from receiver import Arrival, Receiver
from stack import Stack, StackError, check_port, free_port, step

TABLE = "films"
TENANT = "acme"
EVENT_TYPES = ["film.created", "film.updated", "film.deleted"]
FILM = {
    "tenant_id": {"S": TENANT},
    "film_id": {"S": "amelie"},
    "title": {"S": "Le Fabuleux Destin d'Amélie Poulain"},
    "year": {"N": "2001"},
    "rating": {"N": "8.3"},
    "genres": {"SS": ["Comedy", "Romance"]},
}


def run() -> int:
    """Shows a delivery, then stays up and prints each one as it happens."""
    port = int(os.environ.get("DYNAHOOK_PORT", "4566"))
    receiver_port = int(os.environ.get("DYNAHOOK_RECEIVER_PORT", "8787"))
    check_port(port, "the emulator", "DYNAHOOK_PORT")
    check_port(receiver_port, "the receiver", "DYNAHOOK_RECEIVER_PORT")
    started = time.monotonic()
    with Stack("run", port) as stack:
        receiver = Receiver(receiver_port)
        try:
            webhook = first_delivery(stack, receiver)
            print(f"\nup in {time.monotonic() - started:.0f} s", flush=True)
            print(what_next(stack, webhook), flush=True)
            receiver.on_arrival = lambda arrival: print(line(arrival), flush=True)
            signal.pause()
        finally:
            receiver.close()
    return 0


def demo() -> int:
    """Shows a delivery and ends."""
    with Stack("demo", free_port()) as stack:
        receiver = Receiver(0)
        try:
            first_delivery(stack, receiver)
        finally:
            receiver.close()
    return 0


def first_delivery(stack: Stack, receiver: Receiver) -> dict:
    """Registers a table and a webhook, changes a record, and shows the request that arrives."""
    step(f"creating the table {TABLE} and attaching its stream with infra/source.yaml")
    stack.create_table(TABLE, "tenant_id", "film_id")
    step("registering the table as a source, and a webhook for its changes")
    operator = stack.issuer.token(None, ["OPERATOR"])
    source = {
        "table": TABLE,
        "entities": [{"entity": "film", "tenant": "{tenant_id}", "id": "{film_id}", "collection": "films"}],
    }
    stack.expect(201, "POST", "/sources", operator, source)
    admin = stack.issuer.token(TENANT, ["ADMIN"])
    webhook = {"name": "demo", "url": f"{receiver.url}/hook", "event_types": EVENT_TYPES}
    webhook = stack.expect(201, "POST", "/webhooks", admin, webhook)
    receiver.secrets["/hook"] = webhook["secret"]
    step("putting one item into the table")
    stack.client("dynamodb").put_item(TableName=TABLE, Item=FILM)
    if not receiver.wait(bool, 30):
        raise StackError(f"nothing arrived within 30 s; see {stack.folder / 'emulator.log'}")
    arrival = receiver.arrivals[0]
    print(f"\nPOST {arrival.path} HTTP/1.1")
    for name, value in arrival.headers.items():
        print(f"{name}: {value}")
    print("\n" + json.dumps(json.loads(arrival.body), indent=2, ensure_ascii=False) + "\n")
    if not arrival.verified:
        raise StackError("the official standardwebhooks library does not verify the signature")
    print("signature verified by the official standardwebhooks library", flush=True)
    return webhook


def line(arrival: Arrival) -> str:
    """Returns one line about a delivery."""
    body = json.loads(arrival.body)
    checked = "signature verified" if arrival.verified else "signature NOT verified"
    mask = ", ".join(body["data"].get("updateMask", []))
    changed = f" ({mask})" if mask else ""
    return f"{arrival.event_id}  {body['operationType']:8} {body['entityPath']}{changed}  {checked}"


def what_next(stack: Stack, webhook: dict) -> str:
    """Returns what a newcomer may try."""
    token = stack.issuer.token(TENANT, ["ADMIN"])
    python = stack.folder.parent / "venv" / "tools" / "bin" / "python"
    python = os.path.relpath(python)
    change = f'{{"tenant_id":"{TENANT}","film_id":"amelie","title":"Amélie","year":2001}}'
    return textwrap.dedent(f"""
        API    {stack.api_url}/api/v1/integration
        token  {token}

        In another terminal:

          API={stack.api_url}/api/v1/integration
          TOKEN={token}

          curl -s "$API/webhooks" -H "Authorization: Bearer $TOKEN"
          curl -s "$API/webhooks/{webhook['id']}/deliveries" -H "Authorization: Bearer $TOKEN"

        Change a record, and see it arrive below:

          {python} -c 'import boto3; boto3.resource("dynamodb", endpoint_url="{stack.endpoint}", region_name="us-east-1",
            aws_access_key_id="test", aws_secret_access_key="test").Table("{TABLE}").put_item(Item={change})'

        A table of your own: docs/use/sources.md. Ctrl-C stops everything. Deliveries:
    """)
