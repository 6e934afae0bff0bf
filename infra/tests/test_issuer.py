"""Tests of what `make deploy` checks about the issuer and its keys."""

from __future__ import annotations

import json
import unittest

import preflight
from account import EC_KEY, RSA_KEY, WithIssuer
from preflight import Findings


class Issuers(WithIssuer):
    """The issuer and its keys."""

    def test_the_key_set_is_found(self) -> None:
        self.issuer.publish([RSA_KEY])
        self.assertEqual(preflight.check_issuer(self.issuer.url, self.found), f"{self.issuer.url}/jwks")
        preflight.check_keys(f"{self.issuer.url}/jwks", self.found)
        self.assertEqual(self.found, Findings())

    def test_an_issuer_without_a_document_is_a_fault(self) -> None:
        self.assertIsNone(preflight.check_issuer(self.issuer.url, self.found))
        self.assert_fault("was answered with status 404. Correct JwtIssuer, or set JwksUrl")

    def test_an_issuer_that_does_not_answer_is_a_fault(self) -> None:
        self.assertIsNone(preflight.check_issuer("https://localhost:1", self.found))
        self.assert_fault("cannot be fetched: .*Connection refused. Correct JwtIssuer")

    def test_an_issuer_without_tls_is_a_fault(self) -> None:
        self.assertIsNone(preflight.check_issuer("http://localhost", self.found))
        self.assert_fault("starts with https://")

    def test_another_name_of_the_issuer_is_a_fault_with_the_right_one(self) -> None:
        self.issuer.publish([RSA_KEY], issuer=f"{self.issuer.url}/")
        preflight.check_issuer(self.issuer.url, self.found)
        self.assert_fault(f"Set JwtIssuer={self.issuer.url}/.")

    def test_a_document_without_keys_is_a_fault(self) -> None:
        self.issuer.documents[preflight.DISCOVERY] = (200, json.dumps({"issuer": self.issuer.url}).encode())
        self.assertIsNone(preflight.check_issuer(self.issuer.url, self.found))
        self.assert_fault("names no key set")

    def test_what_the_authorizer_cannot_fetch_is_a_fault(self) -> None:
        url = f"{self.issuer.url}/jwks"
        for answer, why in (
            ((302, b""), "status 302"),
            ((200, b"<html>"), "is not JSON"),
            ((200, b"[]"), "is not a JSON object"),
            ((200, b" " * preflight.FETCH_BYTES + b"{}"), "is larger than"),
            ((200, b'{"keys": {}}'), "is not a key set"),
        ):
            self.found = Findings()
            self.issuer.documents["/jwks"] = answer
            preflight.check_keys(url, self.found)
            self.assert_fault(why)

    def test_a_set_without_a_usable_key_is_a_fault_with_the_reason_for_each(self) -> None:
        preflight.check_key_set({"keys": [{**RSA_KEY, "alg": "RS512"}, {**EC_KEY, "use": "enc"}]}, "Jwks", self.found)
        self.assert_fault("key 1: `alg` is not RS256; key 2: `use` or `key_ops` does not allow")
        self.found = Findings()
        preflight.check_key_set({"keys": []}, "Jwks", self.found)
        self.assert_fault("it has no key")

    def test_one_usable_key_is_enough(self) -> None:
        preflight.check_inline_keys(json.dumps({"keys": [{"kty": "OKP"}, {**EC_KEY, "alg": "ES256"}]}), self.found)
        self.assertEqual(self.found, Findings())
        preflight.check_inline_keys("keys", self.found)
        self.assert_fault("Jwks is not JSON")

    def test_keys_are_judged_as_the_authorizer_does(self) -> None:
        for key, why in (
            ({**RSA_KEY, "use": "sig", "alg": "RS256", "key_ops": ["verify"], "x5t": "a"}, None),
            (EC_KEY, None),
            ("key", "not a JSON object"),
            ({**RSA_KEY, "kid": 1}, "`kid` is not a string"),
            ({"kty": "oct", "k": "c2VjcmV0"}, "neither RSA nor EC"),
            ({**EC_KEY, "crv": "P-384"}, "not P-256"),
            ({**RSA_KEY, "key_ops": ["encrypt"]}, "does not allow"),
            ({**EC_KEY, "alg": "RS256"}, "not ES256"),
            ({"kty": "RSA", "e": "AQAB"}, "missing or invalid"),
        ):
            self.assertRegex(preflight.unusable_because(key) or "", why or "^$")


if __name__ == "__main__":
    unittest.main()
