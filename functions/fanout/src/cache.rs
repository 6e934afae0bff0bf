//! Caches what was read from the Registry, in the function's memory. Every use is preceded by a check that it is still
//! current.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use domain::access::tenant::TenantId;
use domain::event::Event;
use domain::event::types::EventType;
use domain::matching::effort::Effort;
use domain::matching::matcher::{Found, MAX_TENANT_BYTES, MatchLimits, Matcher};
use domain::source::Source;
use lru::LruCache;

/// How many tenants' subscriptions are cached, and how many bytes of them in total, of the 256 MB that a function has.
/// The least recently used are evicted first. A tenant takes at most [`MAX_TENANT_BYTES`], and its sieves
/// [`domain::matching::matcher::MAX_SIEVE_BYTES`].
const MAX_TENANTS: NonZeroUsize = NonZeroUsize::new(2_000).unwrap();
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The work that finding the webhooks for one event may take in its shard, in units of [`Effort`]: 25 ms of the share
/// of a core that a function with 256 MB has. Webhooks that are not evaluated within it are evaluated by render.
const EFFORT: u64 = 500_000;

/// The work that all events of a tenant in one batch may take (50 ms), and the minimum that each event may take in any
/// case, so that a batch of many events that need little work is evaluated completely.
const BATCH_EFFORT: u64 = 1_000_000;
const LEAST_EFFORT: u64 = 10_000;

/// The same for the ordered webhooks that are still not evaluated after that. Render cannot evaluate them.
const ORDERED_EFFORT: u64 = 2_000_000;
const ORDERED_BATCH_EFFORT: u64 = 4_000_000;
const ORDERED_LEAST_EFFORT: u64 = 20_000;

/// How many event types are remembered, of all tenants together.
const MAX_SEEN: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();

/// The longest time that a batch may wait for its archive after its deliveries were sent, over all its groups.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// What was read from the Registry.
#[derive(Debug)]
pub(crate) struct Cache {
    pub(crate) sources: HashMap<String, Source>,
    pub(crate) matchers: Matchers,
    /// For each tenant of the batch, the counter of its webhook writes.
    pub(crate) generations: HashMap<TenantId, u64>,
    /// The event types that are known to be in the catalog.
    pub(crate) seen: LruCache<(TenantId, EventType), ()>,
    /// How long the next batch may wait for the archive.
    pub(crate) patience: Duration,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            sources: HashMap::new(),
            matchers: Matchers::default(),
            generations: HashMap::new(),
            seen: LruCache::new(MAX_SEEN),
            patience: PATIENCE,
        }
    }
}

/// The matching work that a tenant has left in a batch.
#[derive(Debug)]
pub struct Left {
    units: u64,
    event: u64,
    least: u64,
}

impl Left {
    /// Returns the limits for all webhooks.
    #[must_use]
    pub const fn of_all() -> Self {
        Self { units: BATCH_EFFORT, event: EFFORT, least: LEAST_EFFORT }
    }

    /// Returns the limits for ordered webhooks.
    #[must_use]
    pub const fn of_ordered() -> Self {
        Self { units: ORDERED_BATCH_EFFORT, event: ORDERED_EFFORT, least: ORDERED_LEAST_EFFORT }
    }

    /// Asks `question` with the work that one event may take, and subtracts what it took.
    pub fn ask<T>(&mut self, question: impl FnOnce(Effort) -> (T, Effort)) -> T {
        let given = self.event.min(self.least.max(self.units));
        let (answer, effort) = question(Effort::new(given));
        self.units = self.units.saturating_sub(given - effort.left());
        answer
    }
}

/// A tenant's matcher and its generation.
#[derive(Debug, Default)]
pub struct Known {
    /// The counter of the tenant's webhook writes when the matcher was read.
    pub generation: u64,
    /// What the tenant's webhooks want.
    pub matcher: Matcher,
}

/// The most recently used matchers, within [`MAX_BYTES`].
#[derive(Debug)]
pub struct Matchers {
    known: LruCache<TenantId, Known>,
    /// The size of all matchers, in bytes.
    bytes: usize,
}

impl Default for Matchers {
    fn default() -> Self {
        Self { known: LruCache::new(MAX_TENANTS), bytes: 0 }
    }
}

impl Matchers {
    /// Returns the tenant's matcher if it has that generation. An evicted matcher must be read again.
    pub fn of(&mut self, tenant: &TenantId, generation: u64) -> Option<&mut Known> {
        self.known.get_mut(tenant).filter(|known| known.generation == generation)
    }

    /// Takes a tenant's matcher out, so that it can be updated and [put back](Self::put). If the cache has no matcher,
    /// returns an empty one, and makes room for the largest that a tenant may have.
    pub fn take(&mut self, tenant: &TenantId) -> Known {
        if let Some(known) = self.known.pop(tenant) {
            self.bytes -= known.matcher.bytes();
            return known;
        }
        self.trim(MAX_BYTES - MAX_TENANT_BYTES, 0);
        Known::default()
    }

    /// Stores a tenant's matcher, and evicts the least recently used until the rest fits. The last one stays, however
    /// large it is, because its tenant's events must be processed.
    pub fn put(&mut self, tenant: TenantId, known: Known) {
        self.bytes += known.matcher.bytes();
        if let Some((_, forgotten)) = self.known.push(tenant, known) {
            self.bytes -= forgotten.matcher.bytes();
        }
        self.trim(MAX_BYTES, 1);
    }

    /// Evicts the least recently used matchers, until the rest takes at most `bytes` or only `least` are left.
    fn trim(&mut self, bytes: usize, least: usize) {
        while self.bytes > bytes
            && self.known.len() > least
            && let Some((_, forgotten)) = self.known.pop_lru()
        {
            self.bytes -= forgotten.matcher.bytes();
        }
    }

    /// Returns the webhooks that want an event, within the memory and the work that are left. `None` if the tenant's
    /// matcher is not cached or has another generation. `left` is the work that the tenant has left in the batch.
    pub fn matching(&mut self, event: &Event, generation: u64, left: &mut Left) -> Option<Found> {
        let room = MAX_BYTES.saturating_sub(self.bytes);
        let matcher = &mut self.of(&event.tenant, generation)?.matcher;
        let before = matcher.bytes();
        let found = left.ask(|effort| {
            let limits = MatchLimits { effort, room };
            (matcher.matching_within(event, &limits), limits.effort)
        });
        let after = matcher.bytes();
        self.bytes = self.bytes + after - before;
        Some(found)
    }

    /// Returns an upper bound of the bytes that all matchers take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the number of cached matchers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Returns whether no matcher is cached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use domain::matching::matcher::SubscriptionChange;

    use super::*;

    /// Adds a tenant with one webhook whose template has that many bytes.
    fn add(matchers: &mut Matchers, tenant: &str, bytes: usize) {
        let id = format!("whk_{:026}", 1);
        let subscription = serde_json::json!({"webhook": id, "rendering": {"template": "x".repeat(bytes)}});
        let mut known = Known { generation: 1, ..Known::default() };
        known.matcher.apply(SubscriptionChange::Wants(Box::new(serde_json::from_value(subscription).unwrap())));
        matchers.put(tenant.parse().unwrap(), known);
    }

    fn names(matchers: &Matchers) -> Vec<String> {
        matchers.known.iter().map(|(tenant, _)| tenant.to_string()).collect()
    }

    #[test]
    fn what_was_used_longest_ago_goes_when_the_rest_is_too_large() {
        let mut matchers = Matchers::default();
        for tenant in ["large", "small", "larger"] {
            add(&mut matchers, tenant, if tenant == "small" { 10 } else { MAX_BYTES / 2 });
        }
        assert_eq!(names(&matchers), ["larger", "small"]);
        assert!(matchers.of(&"large".parse().unwrap(), 1).is_none(), "it must be read again");
        assert!(matchers.of(&"small".parse().unwrap(), 2).is_none(), "it must be updated");
        add(&mut matchers, "alone", MAX_BYTES);
        assert_eq!(names(&matchers), ["alone"], "the events of one tenant must go on, however much it has");
        matchers.take(&"alone".parse().unwrap());
        assert_eq!(matchers.bytes(), 0);
    }
}
