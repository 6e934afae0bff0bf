"""Tests the console in Chromium, and takes pictures of its pages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path

from build import TARGET
from common import LOCAL, ROOT, StackError
from stack import Stack

# The names that Chromium has, and the command that installs it on Debian and Ubuntu.
BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
INSTALL = "apt-get install --yes chromium"

PICTURES = TARGET / "screenshots"


def check_console(stack: Stack) -> None:
    """Runs tests/console."""
    chromium = browser()
    folder, environment = install()
    tenant = f"console-{uuid.uuid4().hex[:8]}"
    token = stack.issuer.token
    settings = {
        "chromium": chromium,
        "url": stack.api_url,
        "portal": stack.portal_origin,
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
    command = [str(LOCAL / "venv" / "contract" / "bin" / "node"), "test.js"]
    run = subprocess.run(command, cwd=folder, env=environment, input=json.dumps(settings), text=True, check=False)
    if run.returncode != 0:
        raise StackError(f"the console does not pass its tests; pictures are in {PICTURES}")


def browser() -> str:
    """Returns the path of Chromium."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    raise StackError(f"the tests of the console need Chromium: {INSTALL}")


def install() -> tuple[Path, dict[str, str]]:
    """Installs the packages of the tests; returns their folder, and the environment for running Node.js."""
    folder = LOCAL / "console-tests"
    folder.mkdir(exist_ok=True)
    for file in (ROOT / "tests" / "console").glob("*.js*"):
        shutil.copy(file, folder)
    binaries = LOCAL / "venv" / "contract" / "bin"
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(
        [binaries / "npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=folder, env=environment, check=True
    )
    return folder, environment
