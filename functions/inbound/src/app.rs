//! State that survives between calls.

use std::num::NonZeroU32;
use std::sync::Arc;

use aws::registry::Rates;
use aws::{Aws, Events, Keyring, Registry, Usage};
use domain::access::rate::Rate;
use domain::time::Clock;
use runtime::SystemClock;

use crate::Config;
use crate::log::CallLog;

/// The clients and caches of an execution environment.
pub struct App {
    pub(crate) registry: Registry,
    pub(crate) events: Events,
    pub(crate) keyring: Keyring,
    /// How many calls per second each webhook accepts, over all processes.
    pub(crate) rate: Rate,
    pub(crate) rates: Rates,
    pub(crate) usage: Usage,
    pub(crate) log: CallLog,
    pub(crate) clock: Box<dyn Clock>,
}

impl App {
    /// Creates the clients, without making a call.
    pub async fn connect(config: Config) -> Self {
        let aws = Aws::connect().await;
        let (registry, events) = (aws.registry(config.registry_table), aws.events(config.events_table));
        Self {
            rate: Rate { limit: config.rate_limit, window_seconds: NonZeroU32::MIN },
            rates: Rates::new(registry.clone()),
            usage: Usage::new(registry.clone(), events.clone(), config.budgets, config.retention_days),
            registry,
            events,
            keyring: Keyring::new(
                aws.secrets_in(config.secrets_table, Arc::new(SystemClock)),
                config.fingerprint_key_arn,
            ),
            log: CallLog::default(),
            clock: Box::new(SystemClock),
        }
    }
}
