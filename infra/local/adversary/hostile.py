"""A hostile tenant: an ordinary tenant with an admin's and an application's token, and its own receivers."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable

import requests
from receiver import Arrival, Receiver
from stack import Stack


class Hostile:
    """Calls the API as one tenant and counts the answers."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.stack = stack
        self.tenant = f"{name}-{uuid.uuid4().hex[:8]}"
        self.admin = stack.issuer.token(self.tenant, ["ADMIN"])
        self.answers: Counter[tuple[str, int]] = Counter()

    def call(
        self, what: str, method: str, path: str, body: object = None, token: str | None = None, **headers: str
    ) -> requests.Response:
        """Calls the API; the answer counts under `what`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.stack.call(method, path, token or self.admin, body, named)
        self.answers[what, answer.status_code] += 1
        return answer

    def webhook(self, what: str, url: str, **settings: object) -> requests.Response:
        """Registers a webhook."""
        return self.call(what, "POST", "/webhooks", {"name": what, "url": url, **settings})

    def change(self, **attributes: str) -> None:
        """Creates an item in the table that also has the healthy tenant's items."""
        item = {"tenant_id": self.tenant, "item_id": uuid.uuid4().hex, **attributes}
        self.stack.client("dynamodb").put_item(
            TableName="items", Item={name: {"S": text} for name, text in item.items()}
        )


class Load:
    """A continuing attack: calls `strike` a number of times per second, in its own thread, until it is stopped."""

    def __init__(self, name: str, rate: float, strike: Callable[[], object]) -> None:
        self.name, self.strikes = name, 0
        self.errors: Counter[str] = Counter()
        self._rate, self._strike = rate, strike
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ends.set()
        self._thread.join(60)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ends.is_set():
            try:
                self._strike()
            except Exception as error:
                # An attack may fail in any way; the report counts the errors.
                self.errors[type(error).__name__] += 1
            self.strikes += 1
            # A strike that takes longer than its turn is not caught up on.
            due = max(due + 1 / self._rate, time.monotonic())
            self._ends.wait(max(0.0, due - time.monotonic()))


def hanging(seconds: float) -> Receiver:
    """Returns a receiver that answers after that many seconds."""

    def wait(_: Arrival) -> int:
        time.sleep(seconds)
        return 204

    return Receiver(0, wait)
