"""The tenant that must not be affected: how long its changes take to arrive, and whether all do."""

from __future__ import annotations

import json
import threading
import time
import uuid

from receiver import Arrival, Receiver
from stack import Stack

TABLE = "items"

# Changes per second.
RATE = 5


class Healthy:
    """A tenant with one webhook for changes of its items, which share a table with those of other tenants."""

    def __init__(self, stack: Stack) -> None:
        self.tenant = f"healthy-{uuid.uuid4().hex[:8]}"
        self._table = stack.client("dynamodb")
        self._written: dict[str, float] = {}
        self._arrived: dict[str, float] = {}
        self._lock = threading.Lock()
        self.receiver = Receiver(0)
        self.receiver.on_arrival = self._note
        wanted = {"name": "healthy", "url": f"{self.receiver.url}/healthy", "event_types": ["item.created"]}
        webhook = stack.expect(201, "POST", "/webhooks", stack.issuer.token(self.tenant, ["ADMIN"]), wanted)
        self.receiver.secrets["/healthy"] = webhook["secret"]

    def _note(self, arrival: Arrival) -> None:
        if arrival.verified:
            item = json.loads(arrival.body)["entityId"]
            with self._lock:
                self._arrived.setdefault(item, arrival.at)

    def change(self, seconds: float) -> list[str]:
        """Creates items at a steady rate for some seconds; returns them."""
        items = []
        started = time.monotonic()
        for number in range(int(seconds * RATE)):
            time.sleep(max(0.0, started + number / RATE - time.monotonic()))
            item = uuid.uuid4().hex
            self._written[item] = time.time()
            self._table.put_item(
                TableName=TABLE,
                Item={"tenant_id": {"S": self.tenant}, "item_id": {"S": item}, "n": {"N": str(number)}},
            )
            items.append(item)
        return items

    def latencies(self, items: list[str], patience: float) -> list[float]:
        """Waits until all items have arrived; returns how long each took, in seconds, sorted."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            with self._lock:
                if all(item in self._arrived for item in items):
                    break
            time.sleep(0.1)
        with self._lock:
            return sorted(self._arrived[item] - self._written[item] for item in items if item in self._arrived)

    def missing(self) -> list[str]:
        """Returns the items that have not arrived."""
        with self._lock:
            return sorted(self._written.keys() - self._arrived.keys())


def percentile(sorted_values: list[float], percent: float) -> float:
    """Returns a percentile by the nearest rank."""
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * percent / 100))]
