"""Tests the console in Chromium, and takes pictures of its pages."""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid

from build import TARGET
from common import ROOT, StackError
from node import BINARIES, environment, installed
from stack import Stack

# The names that Chromium has, and the command that installs it on Debian and Ubuntu.
BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
INSTALL = "apt-get install --yes chromium"

PICTURES = TARGET / "screenshots"


def check_console(stack: Stack, table: str) -> None:
    """Runs tests/console. `table` is a source, of which an item becomes no event: its tenant's name has a space."""
    item = {"tenant_id": {"S": "no tenant"}, "item_id": {"S": "console"}}
    stack.client("dynamodb").put_item(TableName=table, Item=item)
    chromium = browser()
    folder = installed(ROOT / "tests" / "console", "console-tests")
    tenant = f"console-{uuid.uuid4().hex[:8]}"
    token = stack.issuer.token
    portal_socket = stack.portal_socket.fileno()
    settings = {
        "chromium": chromium,
        "table": table,
        "url": stack.api_url,
        "portal": stack.portal_origin,
        "portalSocket": portal_socket,
        "tenant": tenant,
        "pictures": str(PICTURES),
        "admin": token(tenant, ["ADMIN"]),
        "both": token(tenant, ["ADMIN", "OPERATOR"]),
        "operator": token(None, ["OPERATOR"]),
        "withoutRole": token(tenant, ["USER"]),
        "viewer": token(tenant, ["VIEWER"]),
        "other": token(f"{tenant}-other", ["ADMIN"]),
    }
    shutil.rmtree(PICTURES, ignore_errors=True)
    command = [str(BINARIES / "node"), "test.js"]
    run = subprocess.run(
        command,
        cwd=folder,
        env=environment(),
        input=json.dumps(settings),
        text=True,
        check=False,
        pass_fds=[portal_socket],
    )
    if run.returncode != 0:
        raise StackError(f"the console does not pass its tests; pictures are in {PICTURES}")


def browser() -> str:
    """Returns the path of Chromium."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    raise StackError(f"the tests of the console need Chromium: {INSTALL}")
