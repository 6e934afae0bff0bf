"""The deployed API at the emulator's own address, `http://127.0.0.1:<port>`.

API Gateway's emulation knows an API by its name, `<id>.execute-api.localhost`. Browsers and curl resolve such a name;
Python, Node.js and most other clients on a plain Linux machine do not. AWS's clients sign each call, so whatever is not
signed is for the API."""

from __future__ import annotations

from ministack import app as emulator

# The emulator's and the gate's own paths.
OWN = ("/_",)


def install() -> None:
    """Leaves `/health` to the deployed API: the emulator answers it at every host, and its own health has other
    paths."""
    emulator._HEALTH_PATHS = tuple(path for path in emulator._HEALTH_PATHS if path.startswith(OWN))


def is_for_api(path: str, headers: dict[str, str], query: str) -> bool:
    """Says whether a request is for the deployed API: no call of AWS, not at another host, and not at one of the
    emulator's paths."""
    signed = headers.get("authorization", "").startswith("AWS4-") or "x-amz-target" in headers or "X-Amz-" in query
    host = headers.get("host", "").partition(":")[0]
    return not signed and host in ("127.0.0.1", "localhost") and not path.startswith(OWN)


def at_api(scope: dict, api: str) -> dict:
    """Returns the request as API Gateway gets it, with the name of the API as its host."""
    port = scope["server"][1]
    headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
    return {**scope, "headers": [(b"host", f"{api}.execute-api.localhost:{port}".encode()), *headers]}
