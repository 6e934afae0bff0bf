"""`make latency`: how long each route of the API takes on the emulator, including gateway and authorizer."""

from __future__ import annotations

import json
import statistics
import time

from common import ROOT, free_port, step
from receiver import Receiver
from stack import Stack

ROUNDS = 50

# The mapping of the table.
ENTITIES = [{"entity": "item", "tenant": "{t}", "id": "{i}", "collection": "items"}]

# The bodies of the routes that need one.
BODIES: dict[str, dict] = {
    "webhooks.create": {"name": "n", "url": "https://example.com/", "event_types": ["a.b"]},
    "webhooks.put": {"name": "n", "url": "https://example.com/", "event_types": ["a.b"]},
    "webhooks.patch": {"name": "m"},
    "webhooks.preview": {"webhook": {"name": "n", "url": "https://example.com/"}},
    "webhooks.explain": {"sample": {"event_type": "a.b"}},
    "webhooks.dry_run": {"webhook": {"event_types": ["a.*"]}},
    "webhooks.publish_about": {"n": 1},
    "events.publish": {"event_type": "a.b", "data": {"n": 1}},
    "event_types.put": {"description": "d"},
    "api_keys.create": {"name": "k", "app_id": "app"},
    "sources.create": {"table": "latency", "entities": ENTITIES},
    "sources.preview": {"items": [{"item": {"t": "a", "i": "b"}}]},
    "sources.put": {"table": "kept", "entities": ENTITIES},
}

# The calls that undo a route, so that it can be called again.
UNDO = {
    "webhooks.delete": "webhooks.restore",
    "webhooks.pause": "webhooks.resume",
    "webhooks.disable": "webhooks.enable",
    "sources.create": "sources.delete",
    "event_types.put": "event_types.delete",
}


def latency() -> int:
    """Calls every route of the contract again and again, one call at a time, and prints p50 and p99."""
    contract = json.loads((ROOT / "infra" / "openapi.json").read_text())
    operations = {
        operation["operationId"]: (method.upper(), path)
        for path, item in contract["paths"].items()
        # Routes with a server of their own are not below /api/v1/integration.
        if "servers" not in item
        for method, operation in item.items()
    }
    with Stack("latency", free_port()) as stack:
        receiver = Receiver(0)
        client = Client(stack, receiver)
        step(f"calling each of {len(operations)} routes {ROUNDS} times; milliseconds on the emulator")
        print(f"{'route':22}{'p50':>8}{'p99':>8}")
        done_by_others = set(UNDO.values()) | {"api_keys.revoke"}
        for name in sorted(set(operations) - done_by_others):
            print_line(name, [client.call(operations, name) for _ in range(ROUNDS)])
        for name in sorted(done_by_others):
            print_line(name, client.undone.get(name, []))
        receiver.close()
    return 0


def print_line(name: str, seconds: list[float]) -> None:
    """Prints a route."""
    if seconds:
        p50, p99 = statistics.median(seconds) * 1000, sorted(seconds)[int(len(seconds) * 0.99)] * 1000
        print(f"{name:22}{p50:8.1f}{p99:8.1f}")


class Client:
    """Creates a tenant with a webhook and an API key, for calling every route."""

    def __init__(self, stack: Stack, receiver: Receiver) -> None:
        self._stack = stack
        self._token = stack.issuer.token("latency", ["ADMIN", "OPERATOR"])
        body = {**BODIES["webhooks.create"], "url": f"{receiver.url}/hook"}
        webhook = stack.expect(201, "POST", "/webhooks", self._token, body)
        test = stack.expect(200, "POST", f"/webhooks/{webhook['id']}/test", self._token)
        # Creates a key that can be rotated.
        signed = {**body, "further_signatures": [{"scheme": "standard-webhooks-ed25519"}], "enabled": False}
        stack.expect(201, "POST", "/webhooks", self._token, signed)
        key = stack.expect(201, "POST", "/api-keys", self._token, BODIES["api_keys.create"])
        # One table is registered and removed repeatedly; another stays, to be read and changed.
        stack.expect(201, "POST", "/sources", self._token, BODIES["sources.put"])
        event = stack.expect(202, "POST", "/events", self._token, BODIES["events.publish"])
        # As with the tables: one type is described and removed repeatedly; another stays.
        stack.expect(201, "PUT", "/event-types/kept.type", self._token, BODIES["event_types.put"])
        self._ids = {"{id}": webhook["id"], "{delivery}": test["id"], "{table}": "kept", "{event_id}": event["id"]}
        self._key = key["id"]
        self.undone: dict[str, list[float]] = {}

    def call(self, operations: dict[str, tuple[str, str]], name: str) -> float:
        """Calls a route, then the call that undoes it; returns the seconds of the first call."""
        seconds, answer = self._timed(operations, name)
        if name in UNDO:
            undo, _ = self._timed(operations, UNDO[name])
            self.undone.setdefault(UNDO[name], []).append(undo)
        if name == "api_keys.create":
            undo, _ = self._timed(operations, "api_keys.revoke", answer["id"])
            self.undone.setdefault("api_keys.revoke", []).append(undo)
        return seconds

    def _timed(self, operations: dict[str, tuple[str, str]], name: str, key: str | None = None) -> tuple[float, dict]:
        method, path = operations[name]
        if path.startswith("/api-keys/"):
            path = path.replace("{id}", key or self._key)
        if name == "webhooks.publish_about":
            path = path.replace("{id}", "contact.changed").replace("{entity}", "7")
        path = path.replace("{type}", "kept.type" if name == "event_types.get" else "forgotten.type")
        if name == "sources.delete":
            path = path.replace("{table}", BODIES["sources.create"]["table"])
        for placeholder, value in self._ids.items():
            path = path.replace(placeholder, value)
        headers = {"If-Match": "*"} if name == "webhooks.put" else {}
        started = time.monotonic()
        answer = self._stack.call(method, path, self._token, BODIES.get(name), headers)
        elapsed = time.monotonic() - started
        assert answer.status_code < 300, f"{name}: {answer.text}"
        return elapsed, answer.json() if answer.content else {}
