"""Verifies received deliveries with the vendors' own libraries, in another language."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import requests
from common import LOCAL, ROOT, StackError, free_port
from demo import FILM, TABLE, TENANT
from receiver import Arrival, Receiver
from stack import Stack
from standardwebhooks import Webhook

# Two webhooks, because one has at most four signatures. Shopify's library also requires the shop and the version.
SIGNED: tuple[dict, ...] = (
    {"further_signatures": [{"scheme": scheme} for scheme in ("standard-webhooks-ed25519", "github", "stripe")]},
    {
        "signature_scheme": "shopify",
        "further_signatures": [{"scheme": "superoffice"}, {"scheme": "hmac-sha256"}],
        "headers": {"X-Shopify-Shop-Domain": "acme.myshopify.com", "X-Shopify-API-Version": "2026-07"},
    },
)


# The schemes whose libraries take the body as text, so that they cannot verify compressed bytes.
OF_TEXT = {"standard-webhooks", "github", "stripe", "shopify"}


def check_npm(stack: Stack, receiver: Receiver) -> list[str]:
    """Verifies a delivery with every scheme in every encoding, and checks that another body is refused. A signature
    that cannot be verified must have a warning. Returns what failed."""
    folder, environment = install()
    check_receiver(folder, environment)
    admin = stack.issuer.token(TENANT, ["ADMIN"])
    created = {}
    for encoding in ("identity", "gzip"):
        for number, settings in enumerate(SIGNED):
            path = f"/vendors/{encoding}/{number}"
            webhook = {"name": path, "url": receiver.url + path, "event_types": ["film.updated"], **settings}
            webhook["content_encoding"] = encoding
            created[path] = stack.expect(201, "POST", "/webhooks", admin, webhook)
    stack.client("dynamodb").put_item(TableName=TABLE, Item={**FILM, "rating": {"N": "8.4"}})
    if not receiver.wait(lambda arrivals: created.keys() <= {arrival.path for arrival in arrivals}, 30):
        arrived = {arrival.path for arrival in receiver.arrivals}
        missing = [webhook["id"] for path, webhook in created.items() if path not in arrived]
        known = [stack.call("GET", f"/webhooks/{webhook}/deliveries", admin).text for webhook in missing]
        raise StackError(f"within 30 s nothing arrived for {missing}, whose deliveries are {known}")
    failed = []
    for path, webhook in created.items():
        arrival = next(arrival for arrival in receiver.arrivals if arrival.path == path)
        keys = requests.get(f"{stack.api_url}/.well-known/webhooks/{TENANT}/{webhook['id']}/keys.json", timeout=10)
        keys = keys.json().get("keys", [])
        schemes = {webhook["signature_scheme"], *(further["scheme"] for further in webhook["further_signatures"])}
        impossible = schemes & OF_TEXT if webhook["content_encoding"] == "gzip" else set()
        verified = verify(folder, environment, arrival, webhook["secret"], keys, b"")
        if verified != schemes - impossible:
            failed.append(f"{path}: of {sorted(schemes)} these were verified: {sorted(verified)}")
        warned = any(warning["code"] == "compressed_signature" for warning in webhook["warnings"])
        if warned != bool(impossible):
            failed.append(
                f"{path}: {sorted(impossible)} cannot be verified, and the warnings are {webhook['warnings']}"
            )
        if verify(folder, environment, arrival, webhook["secret"], keys, b" "):
            failed.append(f"{path}: the libraries accept a body that was not signed")
        print(f"verified, {webhook['content_encoding']}: {' '.join(sorted(verified))}")
    return failed


def check_receiver(folder: str, environment: dict[str, str]) -> None:
    """Runs the JavaScript receiver of docs/receive/verify.md; it must take a genuine request and refuse a forged
    one."""
    secret, port = f"whsec_{'A' * 32}", free_port()
    page = (ROOT / "docs" / "receive" / "verify.md").read_text()
    code = page.split("```js library\n")[1].split("```")[0].replace("8080", str(port))
    file = Path(folder) / "receiver.js"
    # Ends with its standard input: what is started as `node` may be a wrapper, which a signal would end alone.
    file.write_text(
        f'{code}\nconst enqueue = async (id) => console.log(id);\nprocess.stdin.on("end", process.exit).resume();\n'
    )
    now, body = datetime.now(UTC), '{"type":"test"}'
    headers = {"webhook-id": "evt_1", "webhook-timestamp": str(int(now.timestamp()))}
    headers["webhook-signature"] = Webhook(secret).sign("evt_1", now, body)
    environment = {**environment, "WEBHOOK_SECRET": secret}
    with subprocess.Popen(
        ["node", file.name], cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as node:
        answers = [post(f"http://127.0.0.1:{port}/", headers, text) for text in (body, f"{body} ")]
        queued, _ = node.communicate(timeout=10)
    if answers != [204, 401] or queued != "evt_1\n":
        raise StackError(f"the receiver of docs/receive/verify.md answers {answers} and queues {queued!r}")


def post(url: str, headers: dict[str, str], body: str) -> int:
    """Sends a request, once the receiver listens; returns the status of the answer."""
    end = time.monotonic() + 30
    while True:
        try:
            return requests.post(url, body, headers=headers, timeout=10).status_code
        except requests.ConnectionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def install() -> tuple[str, dict[str, str]]:
    """Installs the libraries; returns their folder, and the environment for running Node.js."""
    folder = LOCAL / "verify"
    folder.mkdir(exist_ok=True)
    for file in (ROOT / "tests" / "verify").glob("*.js*"):
        shutil.copy(file, folder)
    binaries = LOCAL / "venv" / "contract" / "bin"
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(
        [binaries / "npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=folder, env=environment, check=True
    )
    return str(folder), environment


def verify(
    folder: str, environment: dict[str, str], arrival: Arrival, secret: str, keys: list[dict], more: bytes
) -> set[str]:
    """Returns the names of the verified schemes."""
    body = base64.b64encode(arrival.body + more).decode()
    delivery = json.dumps({"secret": secret, "headers": arrival.headers, "body": body, "keys": keys})
    node = [str(LOCAL / "venv" / "contract" / "bin" / "node"), "verify.js"]
    run = subprocess.run(node, cwd=folder, env=environment, input=delivery, text=True, capture_output=True, check=False)
    if run.returncode != 0:
        raise StackError(f"verify.js ended with {run.returncode}: {run.stderr}")
    return set(run.stdout.split())
