"""Tokens for the local stack, from a local issuer whose keys are generated once for each machine."""

from __future__ import annotations

import json
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

ISSUER = "https://issuer.dynahook.local"
AUDIENCE = "dynahook"


class Issuer:
    """Signs tokens with an RSA and an EC key, stored as PEM files in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.rsa_file = folder / "rsa.pem"
        self.ec_file = folder / "ec.pem"
        _make(self.rsa_file, lambda: rsa.generate_private_key(65537, 2048))
        _make(self.ec_file, lambda: ec.generate_private_key(ec.SECP256R1()))
        self._keys = {"RS256": ("rsa", _read(self.rsa_file)), "ES256": ("ec", _read(self.ec_file))}
        (folder / "jwks.json").write_text(self.jwks())

    def jwks(self) -> str:
        """Returns the public keys as a JSON Web Key Set."""
        keys = []
        for algorithm, (kid, key) in self._keys.items():
            jwk = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
            keys.append({**jwk, "kid": kid, "alg": algorithm, "use": "sig"})
        return json.dumps({"keys": keys}, separators=(",", ":"))

    def signing_key(self, algorithm: str):
        """Returns the id of a key and the key itself, for deliberately invalid tokens."""
        return self._keys[algorithm]

    def token(
        self,
        tenant: str | None,
        roles: list[str],
        *,
        algorithm: str = "RS256",
        app: str | None = None,
        hours: float = 12,
    ) -> str:
        """Returns a token that is valid for some hours."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "local-user",
            "iat": now,
            "exp": now + int(hours * 3600),
            "roles": roles,
            **({"tenant_id": tenant} if tenant else {}),
            **({"app_id": app} if app else {}),
        }
        kid, key = self._keys[algorithm]
        return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})


def _make(file: Path, generate) -> None:
    if file.exists():
        return
    pem = generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.touch(mode=0o600)
    file.write_bytes(pem)


def _read(file: Path):
    return serialization.load_pem_private_key(file.read_bytes(), password=None)
