//! The configuration of the tally function, from its environment.

use runtime::config::{ConfigError, Reader};

/// The configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `REGISTRY_TABLE`.
    pub registry_table: String,
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
        let config = registry_table.map(|registry_table| Self { registry_table });
        env.finish(config)
    }
}
