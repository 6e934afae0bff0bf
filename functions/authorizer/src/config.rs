//! The configuration of the authorizer function, from its environment.

use std::str::FromStr;
use std::sync::Arc;

use jiff::SignedDuration;
use jsonwebtoken::jwk::JwkSet;
use runtime::config::{ConfigError, Reader};

use crate::key_set::{self, KeySetError};

/// The default time for which fetched keys are used while the issuer does not answer, in hours.
const DEFAULT_MAX_STALE_HOURS: u32 = 24;

/// The longest configurable time, in hours: a week.
const MAX_STALE_HOURS: u32 = 168;

/// The configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `REGISTRY_TABLE`: the table with the API keys.
    pub registry_table: String,
    /// `JWT_ISSUER`: the `iss` that tokens must have.
    pub issuer: String,
    /// `JWT_AUDIENCE`: the `aud` that tokens must have.
    pub audience: String,
    /// `JWKS` or `JWKS_URL`: the keys that verify tokens.
    pub keys: KeySource,
    /// `JWKS_MAX_STALE_HOURS`: how long fetched keys are used while the issuer does not answer.
    pub max_stale: SignedDuration,
    /// `JWT_TENANT_CLAIM`, `JWT_APP_CLAIM` and `JWT_ROLES_CLAIM`.
    pub claims: ClaimNames,
}

/// Where the issuer's keys are.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// In the configuration.
    Inline(Arc<JwkSet>),
    /// At a URL.
    Url(String),
}

/// The names of the issuer's claims, or paths to them such as `realm_access.roles`.
#[derive(Debug, Clone)]
pub struct ClaimNames {
    /// The tenant: a string.
    pub tenant: String,
    /// The application: a string, only in tokens of an application.
    pub app: String,
    /// The roles: an array of strings, or one string with spaces or commas between roles.
    pub roles: String,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self { tenant: "tenant_id".to_owned(), app: "app_id".to_owned(), roles: "roles".to_owned() }
    }
}

struct InlineKeys(JwkSet);

impl FromStr for InlineKeys {
    type Err = KeySetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        key_set::read(text.as_bytes()).map(Self)
    }
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    ///
    /// Lists every variable that is missing or invalid.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut env = Reader::new(lookup);
        let registry_table = env.required("REGISTRY_TABLE");
        let issuer = env.required("JWT_ISSUER");
        let audience = env.required("JWT_AUDIENCE");
        let inline = env.optional::<InlineKeys>("JWKS").map(|keys| KeySource::Inline(Arc::new(keys.0)));
        let keys = inline.or_else(|| env.optional("JWKS_URL").map(KeySource::Url));
        if keys.is_none() {
            env.fault("one of JWKS and JWKS_URL must be set");
        }
        let max_stale = env.optional("JWKS_MAX_STALE_HOURS").unwrap_or(DEFAULT_MAX_STALE_HOURS);
        if !(1..=MAX_STALE_HOURS).contains(&max_stale) {
            env.fault(format!("JWKS_MAX_STALE_HOURS must be 1 to {MAX_STALE_HOURS}"));
        }
        let max_stale = SignedDuration::from_hours(max_stale.into());
        let names = ClaimNames::default();
        let claims = ClaimNames {
            tenant: env.optional("JWT_TENANT_CLAIM").unwrap_or(names.tenant),
            app: env.optional("JWT_APP_CLAIM").unwrap_or(names.app),
            roles: env.optional("JWT_ROLES_CLAIM").unwrap_or(names.roles),
        };
        let config = || {
            let registry_table = registry_table?;
            Some(Self { registry_table, issuer: issuer?, audience: audience?, keys: keys?, max_stale, claims })
        };
        let config = config();
        env.finish(config)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn config(more: &[(&str, &str)]) -> Result<Config, String> {
        let lookup = |key: &str| {
            let fixed = [
                ("REGISTRY_TABLE", "registry"),
                ("JWT_ISSUER", "https://issuer.example"),
                ("JWT_AUDIENCE", "dynahook"),
            ];
            more.iter().chain(&fixed).find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned())
        };
        Config::from_lookup(lookup).map_err(|error| error.to_string())
    }

    #[rstest]
    #[case::neither(&[], "the configuration is not complete: one of JWKS and JWKS_URL must be set")]
    #[case::no_key_set(&[("JWKS", "keys")], "the configuration is not complete: JWKS: expected value at line 1 column 1; \
        one of JWKS and JWKS_URL must be set")]
    #[case::no_time(&[("JWKS_URL", "https://issuer.example/jwks"), ("JWKS_MAX_STALE_HOURS", "0")],
        "the configuration is not complete: JWKS_MAX_STALE_HOURS must be 1 to 168")]
    #[case::too_long(&[("JWKS_URL", "https://issuer.example/jwks"), ("JWKS_MAX_STALE_HOURS", "169")],
        "the configuration is not complete: JWKS_MAX_STALE_HOURS must be 1 to 168")]
    fn says_what_is_missing(#[case] variables: &[(&str, &str)], #[case] fault: &str) {
        assert_eq!(config(variables).unwrap_err(), fault);
    }

    #[test]
    fn takes_keys_from_either_place() {
        let inline = config(&[("JWKS", r#"{"keys":[]}"#), ("JWKS_URL", "")]).unwrap();
        assert!(matches!(inline.keys, KeySource::Inline(_)));
        let fetched = config(&[("JWKS_URL", "https://issuer.example/jwks"), ("JWT_TENANT_CLAIM", "org")]).unwrap();
        assert!(matches!(fetched.keys, KeySource::Url(url) if url == "https://issuer.example/jwks"));
        assert_eq!(fetched.claims.tenant, "org");
        assert_eq!(fetched.max_stale, SignedDuration::from_hours(24));
        let brief = config(&[("JWKS_URL", "https://issuer.example/jwks"), ("JWKS_MAX_STALE_HOURS", "1")]).unwrap();
        assert_eq!(brief.max_stale, SignedDuration::from_hours(1));
    }

    #[test]
    fn a_malformed_key_in_the_configuration_does_not_cost_the_others() {
        let keys = r#"{"keys": [{"kty": "RSA", "kid": 7, "n": "u1SU", "e": "AQAB"}, {"kty": "RSA", "kid": "good", "n": "u1SU", "e": "AQAB"}]}"#;
        let KeySource::Inline(keys) = config(&[("JWKS", keys)]).unwrap().keys else { panic!("the keys are inline") };
        assert_eq!(keys.keys.len(), 1);
        assert!(keys.find("good").is_some());
    }
}
