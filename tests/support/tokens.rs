//! Valid and invalid tokens of the local issuer.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;
use serde_json::{Value, json};

/// The claims of a token, which can be changed before signing.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Claims(Value);

impl Claims {
    /// Returns claims of this tenant with these roles, valid for an hour.
    #[must_use]
    pub fn new(tenant: &str, roles: &[&str]) -> Self {
        let now = jiff::Timestamp::now().as_second();
        Self(json!({
            "iss": "https://issuer.dynahook.local", "aud": "dynahook", "sub": "test-user",
            "iat": now, "exp": now + 3600, "tenant_id": tenant, "roles": roles,
        }))
    }

    /// Sets a claim; `null` removes it.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        if value.is_null() {
            self.0.as_object_mut().unwrap().remove(name);
        } else {
            self.0[name] = value;
        }
        self
    }

    /// Signs with the issuer's RSA key.
    #[must_use]
    pub fn rs256(&self) -> String {
        self.sign(Algorithm::RS256, "rsa", &EncodingKey::from_rsa_pem(&key("rsa")).unwrap())
    }

    /// Signs with the issuer's RSA key, but with another key id.
    #[must_use]
    pub fn rs256_by(&self, kid: &str) -> String {
        self.sign(Algorithm::RS256, kid, &EncodingKey::from_rsa_pem(&key("rsa")).unwrap())
    }

    /// Signs with the issuer's EC key.
    #[must_use]
    pub fn es256(&self) -> String {
        self.sign(Algorithm::ES256, "ec", &EncodingKey::from_ec_pem(&key("ec")).unwrap())
    }

    /// Signs with a guessable secret, but with the id of the issuer's key.
    #[must_use]
    pub fn hs256(&self) -> String {
        self.sign(Algorithm::HS256, "rsa", &EncodingKey::from_secret(b"guess"))
    }

    fn sign(&self, algorithm: Algorithm, kid: &str, key: &EncodingKey) -> String {
        encode(&Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) }, &self.0, key).unwrap()
    }
}

fn key(name: &str) -> Vec<u8> {
    let folder = crate::environment::variable("DYNAHOOK_KEYS");
    std::fs::read(format!("{folder}/{name}.pem")).unwrap()
}
