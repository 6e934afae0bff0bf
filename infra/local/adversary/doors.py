"""Attacks that must be refused at once: each is one call, or a few, and the expected answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import jwt
from receiver import Receiver
from tokens import AUDIENCE, ISSUER

from adversary.hostile import Hostile


@dataclass
class Door:
    """An attack, its answers, and the expected answers."""

    name: str
    answered: int
    right: tuple[int, ...]
    detail: str = ""

    @property
    def held(self) -> bool:
        return self.answered in self.right


def doors(hostile: Hostile, receiver: Receiver) -> Iterator[Door]:
    """Tries every attack once."""
    for attack in (
        roles,
        idempotency,
        own_addresses,
        credentials,
        tenants_key,
        depths,
        forged_tokens,
        hops,
        revoked_key,
    ):
        yield from attack(hostile, receiver)


def roles(hostile: Hostile, _: Receiver) -> Iterator[Door]:
    """A text that contains the name of a role grants no role."""
    for claims in (["not ADMIN"], ["No OPERATOR rights"], [" ADMIN"], ["ADMIN\tOPERATOR"]):
        token = hostile.stack.issuer.token(hostile.tenant, claims)
        for path in ("/webhooks", "/sources"):
            answer = hostile.call("roles", "GET", path, token=token)
            yield Door(f"GET {path} with the roles {claims}", answer.status_code, (401, 403))


def idempotency(hostile: Hostile, receiver: Receiver) -> Iterator[Door]:
    """A stored answer is only for callers that may make the call."""
    webhook = {"name": "once", "url": f"{receiver.url}/once", "event_types": ["never.sent"]}
    first = hostile.call("idempotency", "POST", "/webhooks", webhook, idempotency_key="once")
    yield Door("a webhook, with an idempotency key", first.status_code, (201,))
    powerless = hostile.stack.issuer.token(hostile.tenant, [])
    again = hostile.call("idempotency", "POST", "/webhooks", webhook, token=powerless, idempotency_key="once")
    yield Door("the same again by the same subject without the role", again.status_code, (403,))


def own_addresses(hostile: Hostile, receiver: Receiver) -> Iterator[Door]:
    """Neither a webhook nor a token server may be the deployment itself."""
    own = hostile.stack.api_url
    for url in (f"{own}/api/v1/integration/events", f"{own}/api/v1/inbound/a/b", own.upper().replace("HTTP", "http")):
        yield Door(
            f"a webhook to {url[len(own) :] or 'our own address'}", hostile.webhook("own", url).status_code, (422,)
        )
    credentials = {"type": "oauth2", "token_url": f"{own}/token", "client_id": "c", "client_secret": "a secret of ours"}
    answer = hostile.webhook("own", f"{receiver.url}/own", authorization=credentials)
    yield Door("a token server that is the deployment", answer.status_code, (422,))


def credentials(hostile: Hostile, receiver: Receiver) -> Iterator[Door]:
    """A credential does not follow its webhook to another origin."""
    secret = "Bearer-of-the-admin-0123456789"
    made = hostile.webhook(
        "credentials",
        f"{receiver.url}/mine",
        event_types=["never.sent"],
        authorization={"type": "bearer", "token": secret},
    )
    yield Door("a webhook with an authorization of the tenant's admin", made.status_code, (201,))
    before = len(receiver.arrivals)
    elsewhere = Receiver(0)
    try:
        path = f"/webhooks/{made.json()['id']}"
        moved = hostile.call("credentials", "PATCH", path, {"url": f"{elsewhere.url}/thief"})
        hostile.call("credentials", "POST", f"{path}/test")
        receiver.wait(lambda arrivals: bool(elsewhere.arrivals) or len(arrivals) > before, 20)
        stolen = [arrival for arrival in elsewhere.arrivals if secret in arrival.headers.get("authorization", "")]
        stayed = len(receiver.arrivals) - before
        detail = f"{moved.status_code} {len(stolen)} requests with the credential, {stayed} to where it was"
        yield Door(
            "the webhook is pointed elsewhere, and tested",
            500 if stolen else moved.status_code,
            (200, 409, 422),
            detail,
        )
    finally:
        elsewhere.close()


def tenants_key(hostile: Hostile, receiver: Receiver) -> Iterator[Door]:
    """A signature of one webhook does not verify at the receiver of another."""
    signed = [
        hostile.webhook(
            "key", f"{receiver.url}/{name}", event_types=["never.sent"], signature_scheme="standard-webhooks-ed25519"
        ).json()
        for name in ("one", "two")
    ]
    keys = {webhook.get("signing_keys_url") for webhook in signed}
    yield Door("two webhooks sign with keys of their own", len(keys - {None}), (2,))


def depths(hostile: Hostile, receiver: Receiver) -> Iterator[Door]:
    """Deeply nested input is refused before anything recurses over it."""

    def nested(opening: str, closing: str) -> str:
        return '{"a": {{ ' + opening * 3000 + "1" + closing * 3000 + " }}}"

    templates = {
        "5,000 minus signs": '{"a": {{ ' + "-" * 5000 + "1 }}}",
        "3,000 brackets": nested("[", "]"),
        "3,000 parentheses": nested("(", ")"),
        "1,000 ifs": "{% if 1 %}" * 800 + "1" + "{% endif %}" * 800,
    }
    for name, template in templates.items():
        answer = hostile.webhook("depth", f"{receiver.url}/deep", payload_format="template", template=template)
        yield Door(f"a template of {name}", answer.status_code, (422,))
    deep: object = "x"
    for _ in range(120):
        deep = {"value": deep}
    answer = hostile.webhook("depth", f"{receiver.url}/deep", filter=deep)
    yield Door("a filter of 120 levels", answer.status_code, (400, 422))


def forged_tokens(hostile: Hostile, _: Receiver) -> Iterator[Door]:
    """Every forged token gets 401 and causes no error of the function."""
    issuer, now = hostile.stack.issuer, int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "thief",
        "exp": now + 600,
        "roles": ["ADMIN"],
        "tenant_id": hostile.tenant,
    }
    kid, key = issuer.signing_key("RS256")
    forged = {
        "an unknown kid": jwt.encode(claims, key, algorithm="RS256", headers={"kid": "unknown"}),
        "an unknown crit": jwt.encode(claims, key, algorithm="RS256", headers={"kid": kid, "crit": ["x"], "x": 1}),
        "a list of issuers": jwt.PyJWS().encode(
            json.dumps({**claims, "iss": [ISSUER]}).encode(), key, "RS256", {"kid": kid}
        ),
        "another secret": jwt.encode(claims, "0" * 32, algorithm="HS256", headers={"kid": kid}),
    }
    for name, token in forged.items():
        yield Door(f"a token with {name}", hostile.call("forged", "GET", "/webhooks", token=token).status_code, (401,))


def hops(hostile: Hostile, _: Receiver) -> Iterator[Door]:
    """Events with too many hops are refused, and so are malformed counts."""
    for count in ("6", "255", "-1", "many"):
        answer = hostile.call("hops", "POST", "/events", {"event_type": "loop.round", "data": {}}, webhook_hops=count)
        yield Door(f"an event after {count} hops", answer.status_code, (400, 422, 508))


def revoked_key(hostile: Hostile, receiver: Receiver) -> Iterator[Door]:
    """A revoked key cannot write, although the gateway still has it cached."""
    key = hostile.call("key", "POST", "/api-keys", {"name": "k", "app_id": "app"}).json()
    webhook = {"name": "k", "url": f"{receiver.url}/k", "event_types": ["never.sent"]}
    good = hostile.call("key", "POST", "/webhooks", webhook, token=key["key"])
    yield Door("a webhook, with an API key", good.status_code, (201,))
    gone = hostile.call("key", "DELETE", f"/api-keys/{key['id']}")
    yield Door("the key is revoked", gone.status_code, (200, 204))
    answer = hostile.call("key", "POST", "/webhooks", webhook, token=key["key"])
    yield Door("the same with the revoked key, at once", answer.status_code, (401, 403))
