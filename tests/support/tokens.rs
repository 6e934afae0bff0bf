//! Tokens of the local issuer, good and bad.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;
use serde_json::{Value, json};

/// The claims of a token, to be changed before it is signed.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Claims(Value);

impl Claims {
    /// Claims that are valid for an hour: this tenant, these roles.
    #[must_use]
    pub fn new(tenant: &str, roles: &[&str]) -> Self {
        let now = jiff::Timestamp::now().as_second();
        Self(json!({
            "iss": "https://issuer.dynahook.local", "aud": "dynahook", "sub": "test-user",
            "iat": now, "exp": now + 3600, "tenant_id": tenant, "roles": roles,
        }))
    }

    /// Sets a claim; `null` takes it away.
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

    /// Signs with the issuer's RSA key, naming another one.
    #[must_use]
    pub fn rs256_by(&self, kid: &str) -> String {
        self.sign(Algorithm::RS256, kid, &EncodingKey::from_rsa_pem(&key("rsa")).unwrap())
    }

    /// Signs with the issuer's EC key.
    #[must_use]
    pub fn es256(&self) -> String {
        self.sign(Algorithm::ES256, "ec", &EncodingKey::from_ec_pem(&key("ec")).unwrap())
    }

    /// Signs with a secret that anybody may choose, naming the issuer's key.
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
