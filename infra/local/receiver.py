"""A receiver on loopback that keeps what arrives and checks its signature with the official library."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError


@dataclass
class Arrival:
    """A request that arrived."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.time)
    answered: int = 0
    verified: bool = False

    @property
    def event_id(self) -> str:
        """Returns the id that identifies duplicates."""
        return self.headers.get("webhook-id", "")


class Receiver:
    """Listens on `port`; `answer` decides the status of each request. Each webhook has its own path and secret."""

    def __init__(self, port: int, answer: Callable[[Arrival], int] = lambda _: 204) -> None:
        self.secrets: dict[str, str] = {}
        self.arrivals: list[Arrival] = []
        self.on_arrival: Callable[[Arrival], None] = lambda _: None
        self._answer = answer
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()

    def wait(self, done: Callable[[list[Arrival]], bool], seconds: float) -> bool:
        """Waits until `done` accepts the arrivals; returns whether it did in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with self._lock:
                arrivals = list(self.arrivals)
            if done(arrivals):
                return True
            time.sleep(0.05)
        return False

    def _take(self, arrival: Arrival) -> int:
        secret = self.secrets.get(arrival.path)
        if secret is not None:
            try:
                Webhook(secret).verify(arrival.body, arrival.headers)
                arrival.verified = True
            except WebhookVerificationError:
                pass
        arrival.answered = self._answer(arrival)
        with self._lock:
            self.arrivals.append(arrival)
        self.on_arrival(arrival)
        return arrival.answered

    def _handler(receiver) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status = receiver._take(Arrival(self.path, headers, body))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_) -> None:
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
