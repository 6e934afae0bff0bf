"""An issuer of tokens with a discovery document, at https://localhost, for tests of `make deploy`."""

from __future__ import annotations

import json
import ssl
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from preflight import DISCOVERY


def certificate(folder: Path) -> Path:
    """Makes a key and a certificate of 127.0.0.1, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    file = folder / "certificate.pem"
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    file.write_bytes(secret + made.public_bytes(pem))
    return file


class OpenIdIssuer:
    """An issuer at https://localhost with these documents: a status and a body for each path."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.certificate = certificate(Path(self.folder.name))
        documents: dict[str, tuple[int, bytes]] = {}
        self.documents = documents

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = documents.get(self.path, (404, b""))
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"https://localhost:{self.server.server_port}"

    @property
    def trust(self) -> dict[str, str]:
        """The variables with which `requests` trusts the certificate."""
        return {"REQUESTS_CA_BUNDLE": str(self.certificate), "NO_PROXY": "localhost,127.0.0.1"}

    def publish(self, keys: list[Any], issuer: str | None = None) -> None:
        """Publishes a discovery document and a key set."""
        document = {"issuer": issuer or self.url, "jwks_uri": f"{self.url}/jwks"}
        self.documents[DISCOVERY] = (200, json.dumps(document).encode())
        self.documents["/jwks"] = (200, json.dumps({"keys": keys}).encode())

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.folder.cleanup()
