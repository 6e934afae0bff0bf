//! The configuration of the fanout function, from its environment.

use domain::budget::Budgets;
use domain::event::trace::TracePolicy;
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
    /// `ORDERED_QUEUE_URL`: the queue of ordered deliveries.
    pub ordered_queue_url: String,
    /// `RENDERINGS_QUEUE_URL`: the queue of renderings that do not fit into the shard.
    pub renderings_queue_url: String,
    /// `STREAM_FAILURES_QUEUE_URL`.
    pub stream_failures_queue_url: String,
    /// `PAYLOAD_RETENTION_DAYS`: how many days events are kept, so that clients can read and replay them; 0 keeps none.
    pub payload_retention_days: u8,
    /// `BUDGETS`: the deployment's defaults.
    pub budgets: Budgets,
    /// `TRACES_ENDPOINT` and the variables that belong to it: how traces are exported, if they are.
    pub traces: Option<TracePolicy>,
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
        let events_table = env.required("EVENTS_TABLE");
        let deliveries_queue_url = env.required("DELIVERIES_QUEUE_URL");
        let ordered_queue_url = env.required("ORDERED_QUEUE_URL");
        let renderings_queue_url = env.required("RENDERINGS_QUEUE_URL");
        let stream_failures_queue_url = env.required("STREAM_FAILURES_QUEUE_URL");
        let payload_retention_days = env.optional("PAYLOAD_RETENTION_DAYS").unwrap_or(0);
        let budgets = env.optional("BUDGETS").unwrap_or_default();
        let traces = env.trace_policy();
        let config = || {
            Some(Self {
                registry_table: registry_table?,
                events_table: events_table?,
                deliveries_queue_url: deliveries_queue_url?,
                ordered_queue_url: ordered_queue_url?,
                renderings_queue_url: renderings_queue_url?,
                stream_failures_queue_url: stream_failures_queue_url?,
                payload_retention_days,
                budgets,
                traces,
            })
        };
        let config = config();
        env.finish(config)
    }
}

/// The configuration of the render function.
#[derive(Debug, Clone)]
pub struct RenderConfig {
    /// `REGISTRY_TABLE`.
    pub registry_table: String,
    /// `EVENTS_TABLE`.
    pub events_table: String,
    /// `DELIVERIES_QUEUE_URL`.
    pub deliveries_queue_url: String,
    /// `PAYLOAD_RETENTION_DAYS`: how long events are kept.
    pub payload_retention_days: u8,
    /// `BUDGETS`: the deployment's defaults.
    pub budgets: Budgets,
}

impl RenderConfig {
    /// Reads the configuration.
    ///
    /// # Errors
    ///
    /// Lists every variable that is missing or invalid.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut env = Reader::new(lookup);
        let registry_table = env.required("REGISTRY_TABLE");
        let events_table = env.required("EVENTS_TABLE");
        let deliveries_queue_url = env.required("DELIVERIES_QUEUE_URL");
        let payload_retention_days = env.optional("PAYLOAD_RETENTION_DAYS").unwrap_or(0);
        let budgets = env.optional("BUDGETS").unwrap_or_default();
        let config = || {
            Some(Self {
                registry_table: registry_table?,
                events_table: events_table?,
                deliveries_queue_url: deliveries_queue_url?,
                payload_retention_days,
                budgets,
            })
        };
        let config = config();
        env.finish(config)
    }
}
