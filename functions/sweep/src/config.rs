//! The configuration of the sweep function, from its environment.

use runtime::config::{ConfigError, Reader};

/// The configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `REGISTRY_TABLE`.
    pub registry_table: String,
    /// `DELIVERIES_TABLE`.
    pub deliveries_table: String,
    /// `EVENTS_TABLE`.
    pub events_table: String,
    /// `RETRIES_QUEUE_URL`.
    pub retries_queue_url: String,
    /// `SLOW_QUEUE_URL`.
    pub slow_queue_url: String,
    /// `EXHAUSTED_QUEUE_URL`.
    pub exhausted_queue_url: String,
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
        let deliveries_table = env.required("DELIVERIES_TABLE");
        let events_table = env.required("EVENTS_TABLE");
        let retries_queue_url = env.required("RETRIES_QUEUE_URL");
        let slow_queue_url = env.required("SLOW_QUEUE_URL");
        let exhausted_queue_url = env.required("EXHAUSTED_QUEUE_URL");
        let config = || {
            Some(Self {
                registry_table: registry_table?,
                deliveries_table: deliveries_table?,
                events_table: events_table?,
                retries_queue_url: retries_queue_url?,
                slow_queue_url: slow_queue_url?,
                exhausted_queue_url: exhausted_queue_url?,
            })
        };
        let config = config();
        env.finish(config)
    }
}
