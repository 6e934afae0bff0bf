//! What the fanout function is told by its environment.

use runtime::config::{ConfigError, Reader};

/// The configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `REGISTRY_TABLE`.
    pub registry_table: String,
    /// `EVENTS_TABLE`.
    pub events_table: String,
    /// `DELIVERIES_QUEUE_URL`.
    pub deliveries_queue_url: String,
    /// `STREAM_FAILURES_QUEUE_URL`.
    pub stream_failures_queue_url: String,
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
        let deliveries_queue_url = env.required("DELIVERIES_QUEUE_URL");
        let stream_failures_queue_url = env.required("STREAM_FAILURES_QUEUE_URL");
        let config = || {
            Some(Self {
                registry_table: registry_table?,
                events_table: events_table?,
                deliveries_queue_url: deliveries_queue_url?,
                stream_failures_queue_url: stream_failures_queue_url?,
            })
        };
        let config = config();
        env.finish(config)
    }
}
