"""The gate as an ASGI application around the emulator."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs, unquote

from gate import answers, callers, front, policy, services
from gate.calls import Call, Need, UnknownCall
from gate.faults import Faults
from gate.grants import Grants
from gate.keys import key_needs
from gate.needs import needs
from gate.record import Record

LOG = logging.getLogger("gate")

# Credential=<access key>/<date>/<region>/<service>/aws4_request
SCOPE = re.compile(r"Credential=([^/]+)/[^/]+/[^/]+/([^/]+)/")

# Services whose name in X-Amz-Target differs from the one in a signature.
SERVICES = {
    "DynamoDB": "dynamodb",
    "DynamoDBStreams": "dynamodbstreams",
    "AmazonSQS": "sqs",
    "secretsmanager": "secretsmanager",
    "TrentService": "kms",
}


@dataclass
class Gate:
    """Passes a call to the emulator if AWS would allow it."""

    emulator: Callable[..., Awaitable[None]]
    record: Record = field(default_factory=Record)
    faults: Faults = field(default_factory=Faults)
    grants: Grants = field(default_factory=Grants)
    # The HTTP API that answers at the emulator's own address, when it is deployed.
    api: str | None = None

    async def __call__(self, scope, receive, send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            return await self.emulator(scope, receive, send)
        if scope["path"].startswith("/_gate/"):
            return await self.command(scope, receive, send)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope["query_string"].decode("latin-1")
        if self.api and front.is_for_api(scope["path"], headers, query):
            return await self.emulator(front.at_api(scope, self.api), receive, send)
        key = callers.access_key(headers, query)
        if callers.is_account(key):
            return await self.emulator(scope, receive, send)
        body = await whole(receive)
        call = read(scope["method"], scope["path"], query, headers, body)
        answer = self.judge(callers.find(key), key, call)
        if answer is not None and answer != "repeat":
            return await reply(send, *answer)
        scope = as_account(scope, key)
        if answer == "repeat":
            await self.emulator(scope, replay(body), drop)
        return await self.emulator(scope, replay(body), send)

    def judge(self, caller: callers.Caller | None, key: str, call: Call) -> answers.Answer | str | None:
        """Returns the answer to a refused call, `repeat` for a call that is made twice, or nothing."""
        if caller is None:
            caller = callers.Caller(f"unknown key {key}", key, [])
        try:
            actions = needs(call)
            # A batch or a transaction needs the same key for each of its parts.
            on_keys = {(one.action, one.resource): one for action in actions for one in key_needs(action, call)}
            needed = [replace(need, keys={**need.keys, **caller.keys}) for need in (*actions, *on_keys.values())]
        except UnknownCall as unknown:
            return self.refuse(
                caller, call, Need(call.title, "*"), f"because the gate does not know {unknown}: see needs.py"
            )
        self.record.count(caller, call)
        for need in needed:
            if why := policy.denial(caller, need):
                return self.refuse(caller, call, need, why)
            self.grants.use(caller, need)
        match self.faults.take(needed):
            case "throttle":
                return answers.throttled(call)
            case other:
                return other

    def refuse(self, caller: callers.Caller, call: Call, need: Need, why: str) -> answers.Answer:
        """Records a refusal and returns the answer."""
        message = f"User: {caller.arn} is not authorized to perform: {need.action} on resource: {need.resource} {why}"
        LOG.warning("%s (%s)", message, need.keys)
        self.record.refuse(caller, need, why)
        return answers.denied(call, message)

    async def command(self, scope, receive, send) -> None:
        """Serves the gate's own paths."""
        body = await whole(receive)
        match scope["method"], scope["path"]:
            case "GET", "/_gate/report":
                seen = {**self.record.report(), "services": services.faults(), "unused": self.grants.unused()}
                return await reply_json(send, 200, seen)
            case "POST", "/_gate/faults":
                self.faults.ask(json.loads(body))
                return await reply_json(send, 200, {})
            case "POST", "/_gate/api":
                self.api = json.loads(body)["id"]
                return await reply_json(send, 200, {})
        return await reply_json(
            send, 404, {"message": "the gate has GET /_gate/report, POST /_gate/faults and POST /_gate/api"}
        )


def read(method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> Call:
    """Parses the service and the operation of a request."""
    target = headers.get("x-amz-target", "")
    if "." in target:
        name, _, operation = target.partition(".")
        service = SERVICES.get(name.partition("_")[0], name)
        return Call(service, operation, json.loads(body or b"{}"))
    match = SCOPE.search(headers.get("authorization", ""))
    service = match.group(2) if match else "unknown"
    if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        # The query protocol of the older services.
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        return Call(service, form.pop("Action", method), form)
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    prefix = parse_qs(query).get("prefix", [None])[0]
    data = json.loads(body) if service == "ses" and body else {}
    return Call(service, method, data, bucket=bucket, key=key, prefix=prefix)


def as_account(scope: dict, key: str) -> dict:
    """Returns an allowed request as one of the account: the emulator would check the role again by its own rules."""
    headers = [
        (name, value.replace(f"Credential={key}/".encode(), b"Credential=test/") if name == b"authorization" else value)
        for name, value in scope["headers"]
        if name != b"x-amz-security-token"
    ]
    return {**scope, "headers": headers}


async def whole(receive) -> bytes:
    """Reads the whole body of a request."""
    body = bytearray()
    while True:
        event = await receive()
        body += event.get("body", b"")
        if not event.get("more_body"):
            return bytes(body)


def replay(body: bytes):
    """Returns a `receive` that passes on a body that was already read."""
    events = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict:
        return events.pop() if events else {"type": "http.disconnect"}

    return receive


async def drop(event: dict) -> None:
    """Discards an answer, as if the caller had lost it."""


async def reply_json(send, status: int, body: dict) -> None:
    """Answers with JSON."""
    await reply(send, status, {"content-type": "application/json"}, json.dumps(body).encode())


async def reply(send, status: int, headers: dict[str, str], body: bytes) -> None:
    """Answers a request."""
    sent = [(name.encode(), value.encode()) for name, value in {**headers, "content-length": str(len(body))}.items()]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body})
