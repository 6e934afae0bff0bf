//! What survives between invocations: clients, and what was read of the Registry.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use aws::{Aws, Bodies, Events, Queue, Registry, Usage};
use domain::event::EventType;
use domain::matcher::Matcher;
use domain::source::Source;
use domain::tenant::TenantId;
use domain::time::Clock;
use lru::LruCache;
use runtime::SystemClock;
use tokio::sync::Mutex;

use crate::Config;
use crate::archive::PATIENCE;

/// Of how many tenants the subscriptions are kept, and how many bytes of them in all, of the 256 MB that a function has: what was
/// used longest ago goes first.
const MAX_TENANTS: NonZeroUsize = NonZeroUsize::new(2_000).unwrap();
const MAX_BYTES: usize = 96 * 1024 * 1024;

/// How many types of events are remembered, those of all tenants together.
const MAX_SEEN: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();

/// The clients and caches of an execution environment.
pub struct App {
    pub(crate) registry: Registry,
    pub(crate) bodies: Bodies,
    pub(crate) events: Events,
    pub(crate) events_table: String,
    /// How long events are kept, if they are.
    pub(crate) retention: Option<Duration>,
    pub(crate) deliveries: Queue,
    pub(crate) ordered: Queue,
    pub(crate) renderings: Queue,
    pub(crate) stream_failures: Queue,
    pub(crate) usage: Usage,
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) cache: Mutex<Cache>,
}

/// What was read of the Registry. Never used without asking first whether it still stands.
#[derive(Debug)]
pub(crate) struct Cache {
    pub(crate) sources: HashMap<String, Source>,
    pub(crate) matchers: LruCache<TenantId, Known>,
    /// The types of events that are known to have been seen.
    pub(crate) seen: LruCache<(TenantId, EventType), ()>,
    /// How long the next batch may wait for the archive.
    pub(crate) patience: Duration,
}

/// A tenant's matcher, and the generation that it is of.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) generation: u64,
    pub(crate) matcher: Matcher,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            sources: HashMap::new(),
            matchers: LruCache::new(MAX_TENANTS),
            seen: LruCache::new(MAX_SEEN),
            patience: PATIENCE,
        }
    }
}

impl Cache {
    /// Forgets what was used longest ago, until the rest is not too much. What is forgotten is read again.
    pub(crate) fn trim(&mut self) {
        let mut bytes: usize = self.matchers.iter().map(|(_, known)| known.matcher.bytes()).sum();
        while bytes > MAX_BYTES
            && self.matchers.len() > 1
            && let Some((_, known)) = self.matchers.pop_lru()
        {
            bytes -= known.matcher.bytes();
        }
    }
}

impl App {
    /// Makes the clients; no call is made.
    pub async fn connect(config: Config) -> Self {
        Self::new(config, &Aws::connect().await, Box::new(SystemClock))
    }

    /// Makes an application of what it is given, so that a test decides who answers and what time it is.
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

#[cfg(test)]
mod tests {
    use domain::matcher::SubscriptionChange;

    use super::*;

    /// A tenant with one webhook whose template is that long.
    fn add(cache: &mut Cache, tenant: &str, bytes: usize) {
        let id = format!("whk_{:026}", 1);
        let subscription = serde_json::json!({"webhook": id, "rendering": {"template": "x".repeat(bytes)}});
        let mut known = Known::default();
        known.matcher.apply(SubscriptionChange::Wants(Box::new(serde_json::from_value(subscription).unwrap())));
        cache.matchers.put(tenant.parse().unwrap(), known);
    }

    #[test]
    fn what_was_used_longest_ago_goes_when_the_rest_is_too_large() {
        let mut cache = Cache::default();
        for tenant in ["large", "small", "larger"] {
            add(&mut cache, tenant, if tenant == "small" { 10 } else { MAX_BYTES / 3 });
        }
        cache.trim();
        let left: Vec<_> = cache.matchers.iter().map(|(tenant, _)| tenant.to_string()).collect();
        assert_eq!(left, ["larger", "small"]);
        add(&mut cache, "alone", MAX_BYTES);
        cache.trim();
        let left: Vec<_> = cache.matchers.iter().map(|(tenant, _)| tenant.to_string()).collect();
        assert_eq!(left, ["alone"], "the events of one tenant must go on, however much it has");
    }
}
