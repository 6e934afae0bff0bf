//! State that survives between invocations: clients, and what was read from the Registry.

use std::time::Duration;

use aws::{Aws, Bodies, Events, Queue, Registry, Usage};
use domain::time::Clock;
use runtime::SystemClock;
use tokio::sync::Mutex;

use crate::Config;
use crate::cache::Cache;

/// The clients and caches of an execution environment.
pub struct App {
    pub(crate) registry: Registry,
    pub(crate) bodies: Bodies,
    pub(crate) events: Events,
    pub(crate) events_table: String,
    /// How long events are kept, if they are archived.
    pub(crate) retention: Option<Duration>,
    pub(crate) deliveries: Queue,
    pub(crate) ordered: Queue,
    pub(crate) renderings: Queue,
    pub(crate) stream_failures: Queue,
    pub(crate) usage: Usage,
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) cache: Mutex<Cache>,
}

impl App {
    /// Creates the clients, without making a call.
    pub async fn connect(config: Config) -> Self {
        Self::new(config, &Aws::connect().await, Box::new(SystemClock))
    }

    /// Creates an application from the given clients and clock, so that tests control the responses and the time.
    #[must_use]
    pub fn new(config: Config, aws: &Aws, clock: Box<dyn Clock>) -> Self {
        let days = u64::from(config.payload_retention_days);
        let (registry, events) = (aws.registry(config.registry_table), aws.events(config.events_table.clone()));
        Self {
            usage: Usage::new(registry.clone(), events.clone(), config.budgets, config.payload_retention_days),
            registry,
            bodies: aws.bodies(config.events_table.clone()),
            events,
            events_table: config.events_table,
            retention: (days > 0).then(|| Duration::from_hours(24 * days)),
            deliveries: aws.queue(config.deliveries_queue_url),
            ordered: aws.queue(config.ordered_queue_url),
            renderings: aws.queue(config.renderings_queue_url),
            stream_failures: aws.queue(config.stream_failures_queue_url),
            clock,
            cache: Mutex::default(),
        }
    }
}
