"""What arrived at a receiver, verified by the official libraries of other languages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

from receiver import Arrival
from stack import LOCAL, ROOT, StackError, step


def check_npm(arrival: Arrival, secret: str) -> None:
    """Verifies a delivery with the npm library `standardwebhooks`, and that it refuses another body."""
    step("the first delivery, verified by the official npm library")
    folder = LOCAL / "verify"
    folder.mkdir(exist_ok=True)
    for file in (ROOT / "tests" / "verify").glob("*.js*"):
        shutil.copy(file, folder)
    binaries = LOCAL / "venv" / "contract" / "bin"
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([binaries / "npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=folder, env=environment, check=True)
    headers = {name.lower(): value for name, value in arrival.headers.items()}
    for body, genuine in ((arrival.body.decode(), True), (arrival.body.decode() + " ", False)):
        delivery = json.dumps({"secret": secret, "headers": headers, "body": body})
        node = [binaries / "node", "verify.js"]
        verified = subprocess.run(node, cwd=folder, env=environment, input=delivery, text=True, capture_output=True, check=False)
        if (verified.returncode == 0) != genuine:
            raise StackError(f"the npm library says otherwise: {verified.stderr}")
