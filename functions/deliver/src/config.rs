//! The configuration of the deliver function, from its environment.

use domain::attempt::target::TargetPolicy;
use domain::event::trace::TracePolicy;
use domain::webhook::SecretsTable;
use domain::webhook::notice::NoticePolicy;
use runtime::config::{ConfigError, Reader};

/// The configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `REGISTRY_TABLE`.
    pub registry_table: String,
    /// `EVENTS_TABLE`.
    pub events_table: String,
    /// `DELIVERIES_TABLE`.
    pub deliveries_table: String,
    /// `RETRIES_QUEUE_URL`.
    pub retries_queue_url: String,
    /// `SLOW_QUEUE_URL`.
    pub slow_queue_url: String,
    /// `EXHAUSTED_QUEUE_URL`: deliveries whose last attempt failed.
    pub exhausted_queue_url: String,
    /// `DEAD_LETTER_QUEUE_URL`: messages that cannot be read.
    pub dead_letter_queue_url: String,
    /// `FINGERPRINT_KEY_ARN`.
    pub fingerprint_key_arn: String,
    /// `SECRETS_TABLE` and `SECRETS_TABLE_KEY_ARN`: where webhooks' secrets are, if not in Secrets Manager.
    pub secrets_table: Option<SecretsTable>,
    /// `DELIVERED_RETENTION_DAYS`: how many days a delivery is kept after it has arrived; 30 by default.
    pub delivered_retention_days: u8,
    /// `TARGET_ALLOWED_CIDRS`, `TARGET_ALLOW_HTTP` and `TARGET_ALLOWED_PORTS`, and the deployment's own addresses,
    /// `API_ID` and `PUBLIC_URL`, to which nothing is delivered.
    pub targets: TargetPolicy,
    /// `NOTICE_SENDER` and `NOTICE_TOPIC_ARNS`: how people may be notified.
    pub notices: NoticePolicy,
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
        let deliveries_table = env.required("DELIVERIES_TABLE");
        let retries_queue_url = env.required("RETRIES_QUEUE_URL");
        let slow_queue_url = env.required("SLOW_QUEUE_URL");
        let exhausted_queue_url = env.required("EXHAUSTED_QUEUE_URL");
        let dead_letter_queue_url = env.required("DEAD_LETTER_QUEUE_URL");
        let fingerprint_key_arn = env.required("FINGERPRINT_KEY_ARN");
        let secrets_table = env.secrets_table();
        let delivered_retention_days = env.optional("DELIVERED_RETENTION_DAYS").unwrap_or(30);
        let targets = env.target_policy();
        let notices = env.notice_policy();
        let traces = env.trace_policy();
        let config = || {
            Some(Self {
                registry_table: registry_table?,
                events_table: events_table?,
                deliveries_table: deliveries_table?,
                retries_queue_url: retries_queue_url?,
                slow_queue_url: slow_queue_url?,
                exhausted_queue_url: exhausted_queue_url?,
                dead_letter_queue_url: dead_letter_queue_url?,
                fingerprint_key_arn: fingerprint_key_arn?,
                secrets_table,
                delivered_retention_days,
                targets,
                notices,
                traces,
            })
        };
        let config = config();
        env.finish(config)
    }
}
