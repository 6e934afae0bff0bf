//! What the inbound function is told by its environment.

use runtime::config::{ConfigError, Reader};

/// The configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `REGISTRY_TABLE`.
    pub registry_table: String,
    /// `EVENTS_TABLE`.
    pub events_table: String,
    /// `FINGERPRINT_KEY_ARN`.
    pub fingerprint_key_arn: String,
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
        let events_table = env.required("EVENTS_TABLE");
        let fingerprint_key_arn = env.required("FINGERPRINT_KEY_ARN");
        let config = || {
            Some(Self {
                registry_table: registry_table?,
                events_table: events_table?,
                fingerprint_key_arn: fingerprint_key_arn?,
            })
        };
        let config = config();
        env.finish(config)
    }
}
