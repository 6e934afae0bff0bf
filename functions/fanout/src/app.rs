//! State that survives between invocations: clients, and what was read from the Registry.

use std::sync::Mutex as StdMutex;
use std::time::Duration;

use aws::{Aws, Bodies, Events, Queue, Registry, RelatedItems, SourceFailures, Usage};
use domain::access::quota::Quota;
use domain::time::Clock;
use runtime::SystemClock;
use runtime::traces::Tracer;
use tokio::sync::Mutex;

use crate::Config;
use crate::cache::Cache;

/// How many failures of a table an execution environment lists in a minute. All of them are counted, and all are in the
/// queue: a mapping that fails for every item must not write as much as its table.
const LISTED_PER_MINUTE: u32 = 100;

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
    pub(crate) failures: SourceFailures,
    pub(crate) related: RelatedItems,
    /// How many failures of each table are listed.
    pub(crate) listed: StdMutex<Quota>,
    pub(crate) usage: Usage,
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) cache: Mutex<Cache>,
    /// Exports spans, if the deployment has a collector.
    pub(crate) tracer: Option<Tracer>,
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
        let failures = aws.source_failures(config.events_table.clone());
        let related = aws.related(config.events_table.clone());
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
            failures,
            related,
            listed: StdMutex::new(Quota::new(LISTED_PER_MINUTE)),
            clock,
            cache: Mutex::default(),
            tracer: config.traces.map(|policy| Tracer::new(&policy, "fanout", aws.collector(&policy).sender())),
        }
    }

    /// Exports the spans of the last invocation. Its response must be posted already, because a collector may be slow.
    pub async fn export_spans(&self) {
        if let Some(tracer) = &self.tracer {
            tracer.export().await;
        }
    }
}
