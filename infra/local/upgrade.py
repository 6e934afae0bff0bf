"""`make upgrade`: updates a deployment from an earlier version while deliveries are under way, and rolls it back.

The earlier version is built from its own commit. Every delivery must arrive, whichever version made it and whichever
sends it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from io import BytesIO
from pathlib import Path
from zlib import crc32

from build import TARGET, build
from common import LOCAL, ROOT, StackError, free_port, step
from receiver import Arrival, Receiver
from stack import Stack

# The version that is updated: `FROM=<commit>` names another.
BEFORE = "c1a12ab3b60c3ce6b5db53ada432a58630da23b3"

TABLE = "parcels"
TENANT = "acme"

# What is under way: deliveries that arrived, that are retried, that wait behind a breaker, that a person paused, and
# that wait behind an earlier one of their entity.
POLICY = {"maxAttempts": 25, "backoff": "fixed", "scheduleSeconds": [20], "timeoutMs": 5000}
WEBHOOKS: dict[str, dict] = {
    "arrived": {},
    "retried": {"retry_policy": POLICY},
    "down": {"retry_policy": POLICY},
    "paused": {},
    "ordered": {"retry_policy": POLICY, "ordering": "entity"},
}

# Items before each of the two updates, over half as many entities as there are items. Each makes a delivery to every
# webhook. As many follow during the update.
ITEMS = 350

# How many deliveries must be under way when an update starts.
UNDER_WAY = 1_000

# The id of a parcel in a body.
PARCEL = re.compile(rb"\b(p[0-9]+)\b")

# How long everything may take to be attempted or to arrive, in seconds: two probes of a breaker, the sweep of every
# minute, and chains.
PATIENCE = 600

# A process that is replaced during an attempt has not written that the receiver took it, so that it is made again: up
# to a batch of ten for each process.
MOST_REPEATED = 50


def upgrade() -> int:
    """Updates, rolls back, and says what arrived."""
    commit = os.environ.get("FROM", BEFORE)
    old = template_of(commit)
    new = build("dev")
    trial = Trial(commit[:12])
    with Stack("upgrade", free_port(), template=old) as stack:
        try:
            trial.prepare(stack)
            trial.move(stack, "the update", new)
            trial.move(stack, "the return", old)
        finally:
            trial.receiver.close()
    return 0


def template_of(commit: str) -> Path:
    """Builds the functions of a commit; returns its template, with their code."""
    folder = LOCAL / "upgrade-from" / commit
    if not folder.exists():
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
        if archive.returncode != 0:
            raise StackError(f"git does not know the commit {commit}: fetch it, or name another with FROM=<commit>")
        with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
    step(f"building the version of {commit[:12]}")
    # Into a folder of its own: Cargo takes the crates of two copies of a workspace for the same.
    code = "from build import build; print(build('dev'))"
    environment = {
        **os.environ,
        "CARGO_TARGET_DIR": str(TARGET / "upgrade-from"),
        "PYTHONPATH": str(folder / "infra" / "local"),
    }
    built = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if built.returncode != 0:
        raise StackError(f"the version of {commit} cannot be built:\n{built.stdout}{built.stderr}")
    return Path(built.stdout.splitlines()[-1])


class Trial:
    """Deliveries that are under way while the stack changes."""

    def __init__(self, before: str) -> None:
        self._before = before
        self._up = threading.Event()
        self.receiver = Receiver(0, self._answer)
        self._webhooks: dict[str, str] = {}
        self._written: list[str] = []

    def _answer(self, arrival: Arrival) -> int:
        name = arrival.path.strip("/")
        if self._up.is_set() or name in ("arrived", "paused"):
            return 204
        # Every second event, or the breaker would open and nothing would be retried.
        return 503 if name == "down" or crc32(arrival.event_id.encode()) % 2 else 204

    def prepare(self, stack: Stack) -> None:
        """Creates the table, its source and the webhooks."""
        stack.create_table(TABLE, "tenant_id", "parcel_id")
        source = {
            "table": TABLE,
            "entities": [{"entity": "parcel", "tenant": "{tenant_id}", "id": "{parcel_id}", "collection": "parcels"}],
        }
        stack.expect(201, "POST", "/sources", stack.issuer.token(None, ["OPERATOR"]), source)
        types = ["parcel.created", "parcel.updated"]
        for name, settings in WEBHOOKS.items():
            body = {"name": name, "url": f"{self.receiver.url}/{name}", "event_types": types, **settings}
            self._webhooks[name] = stack.expect(201, "POST", "/webhooks", self._admin(stack), body)["id"]

    def move(self, stack: Stack, what: str, template: Path) -> None:
        """Puts deliveries under way, deploys the template, and waits until all have arrived."""
        self._up.clear()
        self._call(stack, "paused", "pause")
        self._write(stack, ITEMS)
        self._wait("the first attempts", PATIENCE, lambda: len(self._arrived("arrived")) == len(self._written))
        self._wait("failures", PATIENCE, lambda: len(self._tried("retried")) >= len(self._written))
        under_way = sum(self._missing().values())
        if under_way < UNDER_WAY:
            raise StackError(
                f"{what}: only {under_way} deliveries are under way, and not {UNDER_WAY}: {self._missing()}"
            )
        step(f"{what}: {under_way} deliveries are under way")
        writer = threading.Thread(target=self._write, args=(stack, ITEMS))
        writer.start()
        stack.deploy(template)
        writer.join()
        self._up.set()
        self._call(stack, "paused", "resume")
        expected = len(self._written)
        self._wait(f"all deliveries after {what}", PATIENCE, lambda: not self._missing(expected), self._missing)
        self._report(stack, what)

    def _report(self, stack: Stack, what: str) -> None:
        expected = len(self._written)
        repeated = {name: self._arrivals(name) - expected for name in WEBHOOKS}
        if sum(repeated.values()) > MOST_REPEATED:
            raise StackError(f"{what}: more than {MOST_REPEATED} deliveries arrived twice: {repeated}")
        if early := self._out_of_order():
            raise StackError(f"{what}: later changes of {', '.join(early)} arrived before earlier ones")
        # A repeated delivery may have been counted the first time too. A version before `tally` (FROM= before d50a931)
        # does not count what arrived just before it came back, so this fails with it.
        counts = f"{expected} deliveries, {self._arrivals('arrived')} requests"
        self._wait(
            "the statistics",
            90,
            lambda: expected <= self._calls(stack) <= self._arrivals("arrived"),
            lambda: f"{self._calls(stack)} calls, {counts}",
        )
        both = f"{self._before} and the version of this folder"
        print(
            f"{what}: {expected * len(WEBHOOKS)} deliveries of {both} arrived, {sum(repeated.values())} of them twice"
        )

    def _calls(self, stack: Stack) -> int:
        webhook = self._webhooks["arrived"]
        return stack.expect(200, "GET", f"/webhooks/{webhook}/statistics", self._admin(stack))["total_calls"]

    def _write(self, stack: Stack, items: int) -> None:
        dynamodb = stack.client("dynamodb")
        for number in range(items):
            parcel = f"p{number // 2}"
            item = {"tenant_id": {"S": TENANT}, "parcel_id": {"S": parcel}, "change": {"N": str(len(self._written))}}
            dynamodb.put_item(TableName=TABLE, Item=item)
            self._written.append(parcel)

    def _call(self, stack: Stack, name: str, action: str) -> None:
        stack.expect(200, "POST", f"/webhooks/{self._webhooks[name]}/{action}", self._admin(stack))

    def _admin(self, stack: Stack) -> str:
        return stack.issuer.token(TENANT, ["ADMIN"])

    def _tried(self, name: str) -> set[str]:
        return {arrival.event_id for arrival in list(self.receiver.arrivals) if arrival.path == f"/{name}"}

    def _arrived(self, name: str) -> Counter[str]:
        taken = (one for one in list(self.receiver.arrivals) if one.path == f"/{name}" and one.answered == 204)
        return Counter(arrival.event_id for arrival in taken)

    def _out_of_order(self) -> list[str]:
        """Returns the parcels of which a change arrived after a later one, although their webhook keeps the order."""
        latest: dict[str, str] = {}
        seen: set[str] = set()
        early = []
        for arrival in list(self.receiver.arrivals):
            if arrival.path != "/ordered" or arrival.answered != 204 or arrival.event_id in seen:
                continue
            seen.add(arrival.event_id)
            found = PARCEL.search(arrival.body)
            if not found:
                raise StackError(f"an ordered delivery names no parcel: {arrival.body!r}")
            parcel, sequence = found[1].decode(), arrival.headers["webhook-sequence"]
            if sequence < latest.get(parcel, ""):
                early.append(parcel)
            latest[parcel] = sequence
        return early

    def _arrivals(self, name: str) -> int:
        return sum(self._arrived(name).values())

    def _missing(self, expected: int | None = None) -> dict[str, int]:
        wanted = len(self._written) if expected is None else expected
        return {name: lacking for name in WEBHOOKS if (lacking := wanted - len(self._arrived(name)))}

    def _wait(self, what: str, seconds: float, is_done, explain=lambda: "") -> None:
        end = time.monotonic() + seconds
        while not is_done():
            if time.monotonic() > end:
                raise StackError(f"not within {seconds:.0f} s: {what} {explain()}")
            time.sleep(0.5)
