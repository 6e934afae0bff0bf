"""`make run`, `make demo` and `make change`: from nothing to a verified POST."""

from __future__ import annotations

import json
import os
import signal
import textwrap
import time
from decimal import Decimal

from common import StackError, check_port, free_port, step
from receiver import Arrival, Receiver
from shell import ENV, TENANT, write_env
from stack import Stack

PORT = 4566
TABLE = "films"
EVENT_TYPES = ["film.created", "film.updated", "film.deleted"]
FILM: dict[str, dict] = {
    "tenant_id": {"S": TENANT},
    "film_id": {"S": "amelie"},
    "title": {"S": "Le Fabuleux Destin d'Amélie Poulain"},
    "year": {"N": "2001"},
    "rating": {"N": "8.3"},
    "genres": {"SS": ["Comedy", "Romance"]},
}


def run() -> int:
    """Shows a delivery, then stays up and prints each one as it happens."""
    port = int(os.environ.get("DYNAHOOK_PORT", PORT))
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
            ENV.unlink(missing_ok=True)
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
    wanted = {"name": "demo", "url": f"{receiver.url}/hook", "event_types": EVENT_TYPES}
    webhook = stack.expect(201, "POST", "/webhooks", admin, wanted)
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
    mask = ", ".join(body["data"].get("updateMask") or [])
    changed = f" ({mask})" if mask else ""
    return f"{arrival.event_id}  {body['operationType']:8} {body['entityPath']}{changed}  {checked}"


def what_next(stack: Stack, webhook: dict) -> str:
    """Returns what a newcomer may try. The tokens are in a file: on the screen their 600 characters hide the rest."""
    env = os.path.relpath(write_env(stack, webhook["id"]))
    token = stack.issuer.token(TENANT, ["ADMIN", "OPERATOR"])
    return textwrap.dedent(f"""
        Open the console, signed in:

        {stack.api_url}/console#token={token}

        API    {stack.api_url}/api/v1/integration
        page   {stack.api_url}/docs

        In another terminal, change a record, and see the webhook's deliveries:

          . {env}   # sets API, WEBHOOK and tokens (tenant {TENANT}), and lets the AWS CLI reach this stack
          make change
          curl -s "$API/webhooks/$WEBHOOK/deliveries" -H "Authorization: Bearer $ADMIN"

        Ctrl-C stops everything. Deliveries:
    """)


def change() -> int:
    """Changes the record of `make run`: each time the film is rated, at most ten."""
    stack = Stack("run", int(os.environ.get("DYNAHOOK_PORT", PORT)))
    stack.join()
    table = stack.client("dynamodb")
    key = {name: FILM[name] for name in ("tenant_id", "film_id")}
    film = table.get_item(TableName=TABLE, Key=key).get("Item", FILM)
    before = Decimal(film["rating"]["N"])
    rating = before + Decimal("0.1") if before < 10 else Decimal("0.1")
    table.put_item(TableName=TABLE, Item={**film, "rating": {"N": str(rating)}})
    print(f"{TABLE}/{FILM['film_id']['S']}: rating {before} → {rating}")
    return 0
