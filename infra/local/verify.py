"""What arrives at a receiver, verified by the vendors' own libraries in another language."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import requests

from common import LOCAL, ROOT, StackError
from demo import FILM, TABLE, TENANT
from receiver import Arrival, Receiver
from stack import Stack

# Two webhooks, as one has at most four signatures. Shopify's library wants to know the shop and the version too.
SIGNED: tuple[dict, ...] = (
    {"further_signatures": [{"scheme": scheme} for scheme in ("standard-webhooks-ed25519", "github", "stripe")]},
    {
        "signature_scheme": "shopify",
        "further_signatures": [{"scheme": "superoffice"}, {"scheme": "hmac-sha256"}],
        "headers": {"X-Shopify-Shop-Domain": "acme.myshopify.com", "X-Shopify-API-Version": "2026-07"},
    },
)


def check_npm(stack: Stack, receiver: Receiver) -> None:
    """Verifies a delivery by every scheme that there is, and that another body is refused."""
    folder, environment = install()
    admin = stack.issuer.token(TENANT, ["ADMIN"])
    secrets, ids = {}, {}
    for number, settings in enumerate(SIGNED):
        path = f"/vendors/{number}"
        webhook = {"name": path, "url": receiver.url + path, "event_types": ["film.updated"], **settings}
        created = stack.expect(201, "POST", "/webhooks", admin, webhook)
        secrets[path], ids[path] = created["secret"], created["id"]
    keys = requests.get(f"{stack.api_url}/.well-known/webhooks/{TENANT}/{ids['/vendors/0']}/keys.json", timeout=10)
    keys = keys.json()["keys"]
    stack.client("dynamodb").put_item(TableName=TABLE, Item={**FILM, "rating": {"N": "8.4"}})
    if not receiver.wait(lambda arrivals: secrets.keys() <= {arrival.path for arrival in arrivals}, 30):
        raise StackError("the deliveries for the vendors' libraries did not arrive within 30 s")
    for path, settings in zip(secrets, SIGNED, strict=True):
        arrival = next(arrival for arrival in receiver.arrivals if arrival.path == path)
        schemes = {settings.get("signature_scheme", "standard-webhooks")}
        schemes |= {further["scheme"] for further in settings["further_signatures"]}
        verified = verify(folder, environment, arrival, secrets[path], keys, "")
        if verified is None or set(verified.split()) != schemes:
            raise StackError(f"of {sorted(schemes)} were verified: {verified}")
        if verify(folder, environment, arrival, secrets[path], keys, " ") is not None:
            raise StackError("the libraries take a body that was not signed")
        print(f"verified: {verified.strip()}")


def install() -> tuple[str, dict[str, str]]:
    """Installs the libraries; returns where, and the environment in which Node.js finds itself."""
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
    folder: str, environment: dict[str, str], arrival: Arrival, secret: str, keys: list[dict], more: str
) -> str | None:
    """Returns which signatures of a delivery verify, `None` if one of them does not."""
    body = arrival.body.decode() + more
    delivery = json.dumps({"secret": secret, "headers": arrival.headers, "body": body, "keys": keys})
    node = [str(LOCAL / "venv" / "contract" / "bin" / "node"), "verify.js"]
    run = subprocess.run(node, cwd=folder, env=environment, input=delivery, text=True, capture_output=True, check=False)
    if run.returncode != 0 and not more:
        raise StackError(f"a library says otherwise: {run.stderr}")
    return run.stdout if run.returncode == 0 else None
