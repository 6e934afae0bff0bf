//! What survives between invocations: clients, and what was read of the Registry.

use std::collections::HashMap;

use aws::{Aws, Bodies, Queue, Registry};
use domain::matcher::Matcher;
use domain::source::Source;
use domain::tenant::TenantId;
use domain::time::Clock;
use runtime::SystemClock;
use tokio::sync::Mutex;

use crate::Config;

/// The clients and caches of an execution environment.
pub struct App {
    pub(crate) registry: Registry,
    pub(crate) bodies: Bodies,
    pub(crate) events_table: String,
    pub(crate) deliveries: Queue,
    pub(crate) stream_failures: Queue,
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) cache: Mutex<Cache>,
}

/// What was read of the Registry. Never used without asking first whether it still stands.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    pub(crate) sources: HashMap<String, Source>,
    pub(crate) matchers: HashMap<TenantId, Known>,
}

/// A tenant's matcher, and the generation that it is of.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) generation: u64,
    pub(crate) matcher: Matcher,
}

impl App {
    /// Makes the clients; no call is made.
    pub async fn connect(config: Config) -> Self {
        let aws = Aws::connect().await;
        Self {
            registry: aws.registry(config.registry_table),
            bodies: aws.bodies(config.events_table.clone()),
            events_table: config.events_table,
            deliveries: aws.queue(config.deliveries_queue_url),
            stream_failures: aws.queue(config.stream_failures_queue_url),
            clock: Box::new(SystemClock),
            cache: Mutex::default(),
        }
    }
}
