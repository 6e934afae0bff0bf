"""`make size`: the size of each function, and the time until it asks for work."""

from __future__ import annotations

import statistics
import subprocess
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path

from build import SAM_BUILD, sam_build
from common import step
from starts import environments

RUNS = 11


def show_sizes() -> int:
    """Prints one line for each function."""
    sam_build()
    step(f"starting each function {RUNS} times; the median is from exec to the first request for work")
    print(f"{'function':22}{'MB':>8}{'zipped MB':>12}{'start ms':>10}{'peak MB':>10}")
    variables = environments('{"keys":[]}')
    for binary in sorted(SAM_BUILD.glob("*/bootstrap")):
        size, zipped = binary.stat().st_size / 1e6, zipped_bytes(binary) / 1e6
        runs = [start(binary, variables[binary.parent.name]) for _ in range(RUNS)]
        milliseconds = statistics.median(run[0] for run in runs) * 1000
        peak = max(run[1] for run in runs) / 1e6
        print(f"{binary.parent.name:22}{size:8.1f}{zipped:12.1f}{milliseconds:10.1f}{peak:10.1f}")
    return 0


def zipped_bytes(binary: Path) -> int:
    """Returns the size of the uploaded archive."""
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(binary, "bootstrap")
    return len(archive.getvalue())


def start(binary: Path, variables: dict[str, str]) -> tuple[float, int]:
    """Starts a function with a runtime API; returns the seconds until it asks for work, and its peak memory."""
    asked = threading.Event()

    class Runtime(BaseHTTPRequestHandler):
        """A runtime API that never has work."""

        def do_GET(self) -> None:
            asked.set()
            time.sleep(1)

        def log_message(self, *_) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Runtime)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {**variables, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}"}
    started = time.monotonic()
    process = subprocess.Popen([binary], env=environment, stdout=subprocess.DEVNULL)
    if not asked.wait(10):
        raise RuntimeError(f"{binary} does not ask for work")
    elapsed = time.monotonic() - started
    status = Path(f"/proc/{process.pid}/status").read_text()
    peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    process.kill()
    process.wait()
    server.shutdown()
    return elapsed, peak
