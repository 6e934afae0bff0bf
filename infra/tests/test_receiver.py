"""The receiver of README.md and of the quickstart, run as it is written there."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from datetime import UTC, datetime
from pathlib import Path

from common import ROOT
from standardwebhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PAGES = (ROOT / "README.md", ROOT / "docs" / "start" / "quickstart.md")
BLOCK = re.compile(r"```python receiver\n(.*?)```", re.DOTALL)
BODY = json.dumps({"operationType": "updated", "entityPath": "films/amelie", "data": {"updateMask": ["rating"]}})


def post(port: int, body: str, signed: str) -> int | None:
    """Returns the status of the answer to a body with the signature of another one, `None` if there is no answer."""
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("evt_1", now, signed),
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/hook", body, headers)
        return connection.getresponse().status
    except http.client.RemoteDisconnected:
        return None
    finally:
        connection.close()


class DocumentedPayload(unittest.TestCase):
    """The payload of README.md, compared with the one in docs/use/payloads.md, which the tests of the domain render."""

    def test_it_has_the_fields_of_a_rendered_payload(self) -> None:
        shown = self.payload(ROOT / "README.md", "payload")
        rendered = self.payload(ROOT / "docs" / "use" / "payloads.md", "change")
        self.assertEqual(list(shown), list(rendered))
        self.assertEqual(list(shown["data"]), list(rendered["data"]))
        # A source that names no attributes for times has the time of the commit alone.
        self.assertEqual([*shown["data"]["oldValue"], "updateTime"], list(shown["data"]["value"]))
        before, after = (shown["data"][side]["properties"] for side in ("oldValue", "value"))
        self.assertEqual([name for name in after if after[name] != before[name]], shown["data"]["updateMask"])

    def payload(self, page: Path, kind: str) -> dict:
        """Returns the JSON of the first block of this kind."""
        return json.loads(page.read_text().split(f"```json {kind}\n")[1].split("```")[0])


class DocumentedReceiver(unittest.TestCase):
    """What it accepts."""

    def test_it_takes_a_signed_request_and_no_other(self) -> None:
        blocks = [BLOCK.findall(page.read_text()) for page in PAGES]
        self.assertEqual(blocks, [[blocks[0][0]]] * len(PAGES), "each page has the same receiver")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "receiver.py"
            program.write_text(blocks[0][0].replace("8000", str(port)))
            command = [sys.executable, str(program)]
            environment = {**os.environ, "WEBHOOK_SECRET": SECRET}
            with subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as run:
                try:
                    self.wait(port)
                    self.assertEqual(post(port, BODY, BODY), 204)
                    self.assertIsNone(post(port, BODY.replace("amelie", "other"), BODY))
                finally:
                    run.kill()
                self.assertEqual(run.stdout and run.stdout.read(), "updated films/amelie ['rating']\n")

    def wait(self, port: int) -> None:
        """Waits until the receiver listens."""
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        self.fail("the receiver does not listen")
