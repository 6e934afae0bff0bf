//! The configuration of the inbound function, from its environment.

use std::num::NonZeroU32;

use domain::budget::Budgets;
use domain::webhook::SecretsTable;
use runtime::config::{ConfigError, Reader};

/// How many calls per second an inbound webhook accepts by default.
const DEFAULT_RATE_LIMIT: NonZeroU32 = NonZeroU32::new(50).unwrap();

/// The configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `REGISTRY_TABLE`.
    pub registry_table: String,
    /// `EVENTS_TABLE`.
    pub events_table: String,
    /// `FINGERPRINT_KEY_ARN`.
    pub fingerprint_key_arn: String,
    /// `SECRETS_TABLE` and `SECRETS_TABLE_KEY_ARN`: where webhooks' secrets are, if not in Secrets Manager.
    pub secrets_table: Option<SecretsTable>,
    /// `INBOUND_WEBHOOK_RATE_LIMIT`: how many calls per second each webhook accepts.
    pub rate_limit: NonZeroU32,
    /// `BUDGETS`: the deployment's defaults.
    pub budgets: Budgets,
    /// `PAYLOAD_RETENTION_DAYS`: how long the events of tables are kept.
    pub retention_days: u8,
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
        let fingerprint_key_arn = env.required("FINGERPRINT_KEY_ARN");
        let secrets_table = env.secrets_table();
        let rate_limit = env.optional("INBOUND_WEBHOOK_RATE_LIMIT").unwrap_or(DEFAULT_RATE_LIMIT);
        let budgets = env.optional("BUDGETS").unwrap_or_default();
        let retention_days = env.optional("PAYLOAD_RETENTION_DAYS").unwrap_or(0);
        let config = || {
            Some(Self {
                registry_table: registry_table?,
                events_table: events_table?,
                fingerprint_key_arn: fingerprint_key_arn?,
                secrets_table,
                rate_limit,
                budgets,
                retention_days,
            })
        };
        let config = config();
        env.finish(config)
    }
}
