"""Attacks by two tenants that continue while the healthy tenant's deliveries are timed.

Each request is expensive for the process that serves it. There are few of them: the emulator is one process for all
services, and its queues are not fair between tenants, so a flood would measure the emulator."""

from __future__ import annotations

import itertools
import time
import uuid

import jwt
from receiver import Receiver
from stack import Stack
from tokens import AUDIENCE, ISSUER

from adversary.hostile import Hostile, Load, hanging

# As many wildcards as a pattern of 3.6 KB can hold: an automaton for a few such patterns takes hundreds of megabytes.
WILDCARD = "ab*" * 1_150

# How many webhooks the first tenant registers of each kind.
WILDCARDS, UNLISTED, TEMPLATES = 40, 40, 60


class Burner:
    """A tenant whose webhooks are expensive to match and to render."""

    def __init__(self, stack: Stack) -> None:
        self.hostile = Hostile(stack, "burner")
        self.receiver = Receiver(0)

    def prepare(self) -> None:
        """Registers as many webhooks as it may. Refusals are fine: the answers are counted."""
        url = self.receiver.url
        for number in range(WILDCARDS):
            wanted = {"value": {"text": [{"wildcard": f"*{WILDCARD}{number}"}]}}
            self.hostile.webhook("filters", f"{url}/w{number}", event_types=["item.created"], filter=wanted)
        for number in range(UNLISTED):
            unwanted = [f"{number}-{other}-" + "y" * 20 for other in range(20)]
            refused = {"value": {"absent": [{"anything-but": unwanted}]}}
            self.hostile.webhook("filters", f"{url}/a{number}", event_types=["item.created"], filter=refused)
        for number in range(TEMPLATES):
            rendered = {"payload_format": "template", "template": burning(number)}
            self.hostile.webhook("templates", f"{url}/t{number}", event_types=["burn.now"], **rendered)

    def loads(self) -> list[Load]:
        """Changes in the table that all tenants share, and events that match all templates."""
        text = "ab" * 1000
        publish = {"event_type": "burn.now", "data": {"list": list(range(120))}}
        return [
            Load("changes for expensive filters", 1, lambda: self.hostile.change(text=text)),
            Load(
                "events for expensive templates", 0.1, lambda: self.hostile.call("events", "POST", "/events", publish)
            ),
        ]


def burning(number: int) -> str:
    """Returns a unique template that takes about the maximum number of steps."""
    loops = "{% for a in value.list|default([]) %}{% for b in value.list|default([]) %}"
    step = f"{{% if a == {number} %}}{{% endif %}}"
    return f'{{"n": {number}, "a": {{{{ 1 }}}}{loops}{step}{{% endfor %}}{{% endfor %}}}}'


class Blocker:
    """A tenant whose requests are slow to serve and that calls all public routes."""

    def __init__(self, stack: Stack) -> None:
        self.hostile = Hostile(stack, "blocker")
        self.slow = hanging(20)
        self.receiver = Receiver(0)
        self._forged = itertools.count()

    def prepare(self) -> None:
        """Registers receivers that hang, a token server that hangs, an inbound webhook, and an expensive schema."""
        call, webhook = self.hostile.call, self.hostile.webhook
        self._hangs = webhook("setup", f"{self.slow.url}/hangs", event_types=["hang.now"]).json()["id"]
        credentials = {
            "type": "oauth2",
            "token_url": f"{self.slow.url}/token",
            "client_id": "c",
            "client_secret": "a secret of theirs",
        }
        webhook("setup", f"{self.receiver.url}/token", event_types=["hang.token"], authorization=credentials)
        self._fast = webhook("setup", f"{self.receiver.url}/fast", event_types=["fast.now"]).json()["id"]
        inbound = {"name": "in", "direction": "inbound", "signature_scheme": "github"}
        self._inbound = call("setup", "POST", "/webhooks", inbound).json()["id"]
        call("setup", "PUT", "/event-types/expensive.schema", {"schema": expensive_schema()})

    def loads(self) -> list[Load]:
        """Tests, slow tokens, slow answers, dry-runs, explanations, schemas, forged tokens and calls without one."""
        call = self.hostile.call
        hang, token = ({"event_type": f"hang.{what}", "data": {}} for what in ("now", "token"))
        rendered = {"payload_format": "template", "template": burning(0)}
        change = {"webhook": {"event_types": ["*"], **rendered}, "events": 1000}
        sample = {"sample": {"event_type": "fast.now", "properties": {"text": "a" * 5000}}}
        expensive = [{"event_type": "expensive.schema", "data": {"list": list(range(500))}}] * 50
        return [
            *(
                Load(
                    "tests of a receiver that hangs", 0.2, lambda: call("test", "POST", f"/webhooks/{self._hangs}/test")
                )
                for _ in range(3)
            ),
            Load("events for a receiver that hangs", 0.3, lambda: call("events", "POST", "/events", hang)),
            Load("events for a token server that hangs", 0.3, lambda: call("events", "POST", "/events", token)),
            Load(
                "dry-runs of an expensive template",
                0.1,
                lambda: call("dry-run", "POST", f"/webhooks/{self._fast}/dry-run", change),
            ),
            Load("explanations", 0.2, lambda: call("explain", "POST", f"/webhooks/{self._fast}/explain", sample)),
            Load("fifty events against an expensive schema", 0.1, lambda: call("schema", "POST", "/events", expensive)),
            Load(
                "forged tokens",
                0.5,
                lambda: call("forged", "GET", "/webhooks", token=self._forge()),
            ),
            Load("calls of an inbound webhook without a signature", 0.5, self._call_inbound),
        ]

    def _forge(self) -> str:
        """Returns a token that no cache contains."""
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": uuid.uuid4().hex,
            "exp": int(time.time()) + 600,
            "roles": ["ADMIN"],
        }
        _, key = self.hostile.stack.issuer.signing_key("RS256")
        return jwt.encode(claims, key, algorithm="RS256", headers={"kid": f"forged-{next(self._forged)}"})

    def _call_inbound(self) -> None:
        path = f"/../inbound/{self.hostile.tenant}/{self._inbound}"
        self.hostile.call(
            "inbound", "POST", path, {"n": 1}, x_github_event="push", x_hub_signature_256=f"sha256={'0' * 64}"
        )


def expensive_schema() -> dict:
    """Returns a schema that checks each element of a list in many ways."""
    ways = [
        {"properties": {"list": {"items": {"anyOf": [{"multipleOf": factor}, {"type": "integer"}]}}}}
        for factor in range(2, 200)
    ]
    return {"allOf": ways}
