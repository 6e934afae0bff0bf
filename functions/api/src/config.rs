//! What the api function is told by its environment.

use domain::target::TargetPolicy;
use runtime::config::{ConfigError, Reader};

/// The configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `REGISTRY_TABLE`.
    pub registry_table: String,
    /// `DELIVERIES_TABLE`.
    pub deliveries_table: String,
    /// `SECRETS_PREFIX`: the path under which webhooks' secrets live.
    pub secrets_prefix: String,
    /// `FINGERPRINT_KEY_PATH`.
    pub fingerprint_key_path: String,
    /// `TARGET_ALLOWED_CIDRS` and `TARGET_ALLOW_HTTP`.
    pub targets: TargetPolicy,
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    ///
    /// Everything that is missing or cannot be read.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut env = Reader::new(lookup);
        let registry_table = env.required("REGISTRY_TABLE");
        let deliveries_table = env.required("DELIVERIES_TABLE");
        let secrets_prefix = env.required("SECRETS_PREFIX");
        let fingerprint_key_path = env.required("FINGERPRINT_KEY_PATH");
        let targets = env.target_policy();
        let config = || {
            Some(Self {
                registry_table: registry_table?,
                deliveries_table: deliveries_table?,
                secrets_prefix: secrets_prefix?,
                fingerprint_key_path: fingerprint_key_path?,
                targets,
            })
        };
        let config = config();
        env.finish(config)
    }
}
