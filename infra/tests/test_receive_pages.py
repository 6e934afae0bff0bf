"""The examples of docs/receive, run as they are written, against requests that the official library signs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from datetime import UTC, datetime
from pathlib import Path

import requests
from common import LOCAL, ROOT, free_port
from standardwebhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

BODY = '{"eventType":"order.updated","data":{"value":{"name":"é","total":1.10}}}'


def example(page: str, name: str) -> str:
    """Returns the block of a page in docs/receive with this info string."""
    blocks = re.findall(
        rf"^```{re.escape(name)}\n(.*?)^```", (ROOT / "docs" / "receive" / page).read_text(), re.DOTALL | re.MULTILINE
    )
    if len(blocks) != 1:
        raise AssertionError(f"{page} has {len(blocks)} blocks {name}")
    return blocks[0]


def signed(at: float | None = None, secret: str = SECRET) -> dict[str, str]:
    """Returns the headers of a delivery during a rotation, whose first two signatures are those of other keys."""
    seconds = int(at or time.time())
    # The library reads the naive part of the time as UTC.
    signature = Webhook(secret).sign("evt_1", datetime.fromtimestamp(seconds, UTC), BODY)
    other = Webhook("whsec_" + "A" * 32).sign("evt_1", datetime.fromtimestamp(seconds, UTC), BODY)
    headers = {"webhook-id": "evt_1", "webhook-timestamp": str(seconds)}
    return {**headers, "webhook-signature": f"v1a,AAAA {other} {signature}"}


# A request, and whether it is genuine.
REQUESTS = {
    "genuine": (signed, BODY, True),
    "another body": (signed, BODY + " ", False),
    "another secret": (lambda: signed(secret="whsec_" + "B" * 32), BODY, False),
    "another id": (lambda: {**signed(), "webhook-id": "evt_2"}, BODY, False),
    "too old": (lambda: signed(time.time() - 400), BODY, False),
    "too new": (lambda: signed(time.time() + 400), BODY, False),
}


def node() -> str | None:
    """Returns Node.js, if it is there: `make test` installs one before its end-to-end tests."""
    installed = LOCAL / "venv" / "contract" / "bin" / "node"
    return str(installed) if installed.exists() else shutil.which("node")


def run_node(source: str) -> str:
    """Runs a module; returns what it prints."""
    command = [node() or "node", "--input-type=module", "-"]
    return subprocess.run(command, input=source, text=True, capture_output=True, check=True, timeout=60).stdout


class Verify(unittest.TestCase):
    """docs/receive/verify.md."""

    def test_python_with_the_library(self) -> None:
        os.environ["WEBHOOK_SECRET"] = SECRET
        self.addCleanup(os.environ.pop, "WEBHOOK_SECRET")
        queued: list[str] = []
        module: dict = {"enqueue": lambda webhook_id, _: queued.append(webhook_id)}
        exec(example("verify.md", "python library"), module)
        for name, (headers, body, genuine) in REQUESTS.items():
            with self.subTest(name):
                self.assertEqual(module["receive"](body.encode(), headers()), 204 if genuine else 401)
        self.assertEqual(queued, ["evt_1"])

    def test_python_by_hand(self) -> None:
        module: dict = {}
        exec(example("verify.md", "python by hand"), module)
        for name, (headers, body, genuine) in REQUESTS.items():
            with self.subTest(name):
                self.assertEqual(module["is_genuine"](SECRET, headers(), body.encode()), genuine)

    @unittest.skipUnless(node(), "Node.js is not installed")
    def test_javascript_by_hand(self) -> None:
        cases = [[headers(), body, genuine] for headers, body, genuine in REQUESTS.values()]
        check = f"""
            for (const [headers, body, genuine] of {json.dumps(cases)})
              console.log(isGenuine({json.dumps(SECRET)}, headers, Buffer.from(body)) === genuine);"""
        self.assertEqual(run_node(example("verify.md", "js by hand") + check).split(), ["true"] * len(cases))

    @unittest.skipUnless(node(), "Node.js is not installed")
    def test_javascript_with_a_public_key(self) -> None:
        setup = """
            import { generateKeyPairSync, sign } from "node:crypto";
            const [old, current] = [generateKeyPairSync("ed25519"), generateKeyPairSync("ed25519")];
            const jwks = { keys: [old, current].map((pair) => pair.publicKey.export({ format: "jwk" })) };
            const KEYS_URL = "data:application/json," + encodeURIComponent(JSON.stringify(jwks));
            const signature = sign(null, Buffer.from("evt_1.1."+"body"), current.privateKey).toString("base64");
            const signed = `v1,AAAA v1a,${signature}`;
            const headers = { "webhook-id": "evt_1", "webhook-timestamp": "1", "webhook-signature": signed };
            const rawBody = Buffer.from(BODY);"""
        for body, genuine in (("body", "true"), ("another body", "false")):
            script = (
                setup.replace("BODY", json.dumps(body)) + example("verify.md", "js ed25519") + "console.log(genuine);"
            )
            self.assertEqual(run_node(script).strip(), genuine)


class TestLocally(unittest.TestCase):
    """docs/receive/test-locally.md."""

    def test_the_receiver_takes_the_sample_that_is_signed_by_hand(self) -> None:
        port = free_port()
        environment = {**os.environ, "SECRET": SECRET, "PORT": str(port), "RECEIVER": f"http://127.0.0.1:{port}/hook"}
        with subprocess.Popen(
            [sys.executable, "-c", example("test-locally.md", "python receiver")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as receiver:
            try:
                for name, (headers, body, genuine) in REQUESTS.items():
                    with self.subTest(name):
                        answer = self.post(environment["RECEIVER"], headers(), body)
                        self.assertEqual(answer.status_code, 204 if genuine else 401)
                sign = ["bash", "-euo", "pipefail", "-c", example("test-locally.md", "sh sign")]
                said = subprocess.run(sign, env=environment, capture_output=True, text=True, check=True).stdout
                self.assertIn(" 204 ", said.splitlines()[0])
                environment["SECRET"] = "whsec_" + "B" * 32
                said = subprocess.run(sign, env=environment, capture_output=True, text=True, check=True).stdout
                self.assertIn(" 401 ", said.splitlines()[0])
            finally:
                receiver.terminate()

    def post(self, url: str, headers: dict[str, str], body: str) -> requests.Response:
        """Sends a request, once the receiver listens."""
        for _ in range(100):
            try:
                return requests.post(url, body.encode(), headers=headers, timeout=10)
            except requests.ConnectionError:
                time.sleep(0.1)
        raise AssertionError("the receiver does not listen")


class Inbox(unittest.TestCase):
    """docs/receive/answer-fast.md."""

    def test_a_request_is_stored_once_and_processed_until_it_succeeds(self) -> None:
        back = Path.cwd()
        self.addCleanup(os.chdir, back)
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            module: dict = {}
            exec(example("answer-fast.md", "python inbox"), module)
            for body in (b"first", b"first again"):
                module["enqueue"]("evt_1", body)
            with self.assertRaises(ZeroDivisionError):
                module["work"](lambda _: 1 // 0)
            processed: list[bytes] = []
            module["work"](processed.append)
            module["work"](processed.append)
            module["inbox"].close()
        self.assertEqual(processed, [b"first"])


class Order(unittest.TestCase):
    """docs/receive/order.md."""

    def test_late_events_change_nothing_and_gaps_reload(self) -> None:
        module: dict = {}
        exec(example("order.md", "python order"), module)
        done: list[str] = []
        for sequence, previous, state in (
            (1, None, "a"),
            (2, "a", "b"),
            (1, None, "a"),
            (2, "a", "b"),
            (5, "d", "e"),
            (6, "e", "f"),
        ):
            event = {"entityPath": "orders/42", "sequence": f"{sequence:021}", "state": state, "data": {"value": {}}}
            event |= {"previous": previous} if previous else {}
            module["apply"](event, lambda *_: done.append("store"), lambda _: done.append("reload"))
        self.assertEqual(done, ["store", "store", "reload", "store"])
