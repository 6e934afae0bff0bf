"""`make pictures`: makes the pictures of the console and of the dashboard in docs/images, from a run of the real data
set of `make smoke` with receivers of several kinds."""

from __future__ import annotations

import json
import random
import subprocess
import time
from pathlib import Path

from common import ROOT, StackError, free_port, step
from console import browser
from dashboard import dashboard
from metrics import logged
from node import BINARIES, environment, installed
from receiver import Arrival, Receiver
from smoke import create_source, key_of, load, table_of
from stack import Stack

IMAGES = ROOT / "docs" / "images"

TENANT = "acme"
CITIES = 500

# How long the changes take, and when a receiver is down, in seconds.
SECONDS, DOWN = 240, (60, 120)

SLOW_RETRIES = {"maxAttempts": 8, "backoff": "fixed", "scheduleSeconds": [10]}
FEW_RETRIES = {"maxAttempts": 2, "backoff": "fixed", "scheduleSeconds": [2]}
ALL = ["city.created", "city.updated", "city.deleted"]

# The webhooks by their receivers' paths.
WEBHOOKS: dict[str, dict] = {
    "search": {"name": "City search", "event_types": ALL, "tags": ["search"]},
    "crm": {"name": "CRM", "event_types": ["city.created", "city.updated"], "retry_policy": SLOW_RETRIES},
    "warehouse": {"name": "Data warehouse", "event_types": ["city.*"], "retry_policy": SLOW_RETRIES},
    "census": {
        "name": "Census office",
        "event_types": ["city.updated"],
        "filter": {"value": {"population": [{"numeric": [">", 5_000_000]}]}},
        "retry_policy": FEW_RETRIES,
    },
    "maps": {"name": "Printed maps", "event_types": ["city.deleted"]},
}
# The one whose receiver is down for a while, and the one that is paused.
IS_DOWN, PAUSED = "warehouse", "maps"
EVENT_TYPES = {
    "city.created": "A city was added",
    "city.updated": "A city changed: its population, its names, its country",
    "city.deleted": "A city was removed",
}


def pictures() -> int:
    """Runs the stack, changes cities for some minutes, and writes the pictures."""
    chromium = browser()
    folder = installed(ROOT / "tests" / "console", "console-tests")
    luck, clock = random.Random(1), Clock()

    def answer(arrival: Arrival) -> int:
        name = arrival.path.strip("/")
        is_down = name == IS_DOWN and DOWN[0] < clock.seconds() < DOWN[1]
        if name == "census":
            return 422
        return 503 if is_down or (name == "crm" and luck.random() < 0.1) else 204

    with Stack("pictures", free_port()) as stack:
        receiver = Receiver(0, answer)
        try:
            prepare(stack, receiver)
            step(f"changing cities for {SECONDS} s")
            clock.start()
            change(stack, clock)
            wait(stack)
            (IMAGES / "dashboard.svg").write_text(dashboard(stack, list(logged(stack))), encoding="utf-8")
            photograph(stack, folder, chromium)
        finally:
            receiver.close()
    print(f"\nthe pictures are in {IMAGES.relative_to(ROOT)}; look at each before you commit them")
    return 0


class Clock:
    """The time since the first change."""

    def __init__(self) -> None:
        self._started: float | None = None

    def start(self) -> None:
        """Starts the clock."""
        self._started = time.monotonic()

    def seconds(self) -> float:
        """Returns the seconds since the start, or 0."""
        return time.monotonic() - self._started if self._started else 0.0


def prepare(stack: Stack, receiver: Receiver) -> None:
    """Registers the table, the event types and the webhooks."""
    create_source(stack)
    admin = stack.issuer.token(TENANT, ["ADMIN"])
    for name, description in EVENT_TYPES.items():
        stack.expect(201, "PUT", f"/event-types/{name}", admin, {"description": description})
    for path, settings in WEBHOOKS.items():
        created = stack.expect(201, "POST", "/webhooks", admin, {"url": f"{receiver.url}/{path}", **settings})
        if path == PAUSED:
            stack.expect(200, "POST", f"/webhooks/{created['id']}/pause", admin)


def change(stack: Stack, clock: Clock) -> None:
    """Creates the cities one after the other; updates half as many, and deletes some."""
    luck, table = random.Random(2), table_of(stack)
    there: list[dict] = []
    cities = [city for city in load() if city["tenant_id"] == TENANT][:CITIES]
    for index, city in enumerate(cities):
        table.put_item(Item=city)
        there.append(key_of(city))
        if luck.random() < 0.5:
            table.update_item(
                Key=luck.choice(there),
                UpdateExpression="SET population = population + :more",
                ExpressionAttributeValues={":more": luck.randrange(1, 5000)},
            )
        if luck.random() < 0.05:
            table.delete_item(Key=there.pop(luck.randrange(len(there))))
        time.sleep(max(0.0, (index + 1) * SECONDS / len(cities) - clock.seconds()))


def wait(stack: Stack) -> None:
    """Waits until the receiver that was down has got everything."""
    step("waiting for what is retried")
    admin, until = stack.issuer.token(TENANT, ["ADMIN"]), time.monotonic() + 300
    webhooks = stack.expect(200, "GET", "/webhooks", admin)["data"]
    [down] = [one["id"] for one in webhooks if one["name"] == WEBHOOKS[IS_DOWN]["name"]]
    while time.monotonic() < until:
        health = stack.expect(200, "GET", f"/webhooks/{down}", admin)["health"]["state"]
        waits = stack.expect(200, "GET", f"/webhooks/{down}/deliveries?state=retrying,parked", admin)["data"]
        if health == "ok" and not waits:
            return
        time.sleep(2)
    raise StackError(f"the webhook is {health}, and {len(waits)} deliveries or more wait")


def photograph(stack: Stack, folder: Path, chromium: str) -> None:
    """Takes the pictures of the console."""
    admin = stack.issuer.token(TENANT, ["ADMIN"])
    portal = {"theme": {"name": "Acme Maps", "accent_color": "#0a7d5a", "mode": "light"}}
    letters = stack.expect(200, "GET", "/dead-letters", admin)["data"]
    settings = {
        "chromium": chromium,
        "url": stack.api_url,
        "admin": admin,
        "portal": stack.expect(201, "POST", "/portal-links", admin, portal)["url"],
        "delivery": letters[0]["delivery"],
        "pictures": str(IMAGES),
    }
    command = [str(BINARIES / "node"), "pictures.js"]
    run = subprocess.run(command, cwd=folder, env=environment(), input=json.dumps(settings), text=True, check=False)
    if run.returncode != 0:
        raise StackError("the pictures of the console cannot be taken")
