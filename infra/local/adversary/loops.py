"""Events that return: a relay that forwards each delivery to the deployment itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

import requests
from receiver import Arrival, Receiver

from adversary.doors import Door
from adversary.hostile import Hostile

# The headers that a relay forwards; one of them has the number of hops.
HOPS = "webhook-hops"

# The problem type that ends a loop.
REFUSED = "urn:dynahook:problem:loop"

# The time in seconds after which a loop must have ended.
PATIENCE = 15


class Relay:
    """Two webhooks whose receivers forward what they get: one to an inbound webhook, one as a hundred events."""

    def __init__(self, hostile: Hostile) -> None:
        self._hostile = hostile
        self.rounds: list[int] = []
        self.refused = 0
        self._receiver = Receiver(0, self._carry)
        inbound = {"name": "loop", "direction": "inbound", "event_types": ["loop.inbound"]}
        self._inbound = hostile.call("loop", "POST", "/webhooks", inbound).json()
        hostile.webhook("loop", f"{self._receiver.url}/inbound", event_types=["loop.inbound"])
        hostile.webhook("loop", f"{self._receiver.url}/events", event_types=["loop.events"])

    def close(self) -> None:
        self._receiver.close()

    def start(self) -> None:
        """Starts both loops."""
        self._hostile.call(
            "loop", "POST", "/events", [{"event_type": f"loop.{way}", "data": {}} for way in ("inbound", "events")]
        )

    def doors(self) -> list[Door]:
        """Waits until the loops have ended, and reports the number of rounds."""
        end, seen = time.monotonic() + PATIENCE, -1
        while time.monotonic() < end and seen != len(self.rounds):
            seen = len(self.rounds)
            time.sleep(3)
        ended = seen == len(self.rounds)
        most = max(self.rounds, default=0)
        detail = f"{len(self.rounds)} deliveries, at most {most} hops, {self.refused} refused"
        return [
            Door(
                "two loops through a relay end after five rounds",
                200 if ended and 0 < most <= 5 else 500,
                (200,),
                detail,
            )
        ]

    def _carry(self, arrival: Arrival) -> int:
        hops = arrival.headers.get(HOPS, "")
        self.rounds.append(int(hops or 0))
        if arrival.path == "/events":
            body, path = [{"event_type": "loop.events", "data": {"n": number}} for number in range(2)], "/events"
            answer = self._hostile.call("loop", "POST", path, body, webhook_hops=hops)
        else:
            answer = self._call_inbound(hops)
        is_refused = (
            answer.headers.get("content-type") == "application/problem+json" and answer.json()["type"] == REFUSED
        )
        self.refused += is_refused
        return answer.status_code if is_refused else 204

    def _call_inbound(self, hops: str) -> requests.Response:
        body = json.dumps({"type": "loop.inbound", "n": len(self.rounds)})
        identity, at = f"msg_{len(self.rounds)}_{time.time_ns()}", str(int(time.time()))
        key = base64.b64decode(self._inbound["secret"].removeprefix("whsec_"))
        signature = base64.b64encode(hmac.digest(key, f"{identity}.{at}.{body}".encode(), hashlib.sha256)).decode()
        headers = {"webhook-id": identity, "webhook-timestamp": at}
        headers |= {"webhook-signature": f"v1,{signature}", HOPS: hops, "Content-Type": "application/json"}
        path = f"/api/v1/inbound/{self._hostile.tenant}/{self._inbound['id']}"
        return requests.post(f"{self._hostile.stack.api_url}{path}", data=body, headers=headers, timeout=30)
