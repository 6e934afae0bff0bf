//! What was read of the Registry, within the memory of the function. Never used without asking first whether it is still true.

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

/// Of how many tenants the subscriptions are kept, and how many bytes of them in all, of the 256 MB that a function has: what was
/// used longest ago is forgotten first. A tenant takes at most [`MAX_TENANT_BYTES`], and its sieves
/// [`domain::matching::matcher::MAX_SIEVE_BYTES`].
const MAX_TENANTS: NonZeroUsize = NonZeroUsize::new(2_000).unwrap();
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The work that finding the webhooks of one event may take in its shard: 25 ms of the share of a core that a function of 256 MB has. The
/// webhooks that are not judged then are judged elsewhere.
const EFFORT: u64 = 500_000;

/// The work that all events of a tenant in one batch may take, 50 ms; and what each has in any case, so that a batch of many events
/// that are judged soon is judged to its end.
const BATCH_EFFORT: u64 = 1_000_000;
const LEAST_EFFORT: u64 = 10_000;

/// The same for webhooks that keep an order and are judged after that, since they cannot be judged elsewhere.
const ORDERED_EFFORT: u64 = 2_000_000;
const ORDERED_BATCH_EFFORT: u64 = 4_000_000;
const ORDERED_LEAST_EFFORT: u64 = 20_000;

/// How many types of events are remembered, those of all tenants together.
const MAX_SEEN: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();

/// How long a batch may wait for its archive after deliveries are sent, in all its groups together: at most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// What was read of the Registry.
#[derive(Debug)]
pub(crate) struct Cache {
    pub(crate) sources: HashMap<String, Source>,
    pub(crate) matchers: Matchers,
    /// For each tenant of the batch, the count of its webhook writes.
    pub(crate) generations: HashMap<TenantId, u64>,
    /// The types of events that are known to have been seen.
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

/// The work of matching that is left to a tenant in a batch.
#[derive(Debug)]
pub struct Left {
    units: u64,
    event: u64,
    least: u64,
}

impl Left {
    /// For all webhooks.
    #[must_use]
    pub const fn of_all() -> Self {
        Self { units: BATCH_EFFORT, event: EFFORT, least: LEAST_EFFORT }
    }

    /// For those that keep an order.
    #[must_use]
    pub const fn of_ordered() -> Self {
        Self { units: ORDERED_BATCH_EFFORT, event: ORDERED_EFFORT, least: ORDERED_LEAST_EFFORT }
    }

    /// Lets a question take what one event may, and takes off what it took.
    pub fn ask<T>(&mut self, question: impl FnOnce(Effort) -> (T, Effort)) -> T {
        let given = self.event.min(self.least.max(self.units));
        let (answer, effort) = question(Effort::new(given));
        self.units = self.units.saturating_sub(given - effort.left());
        answer
    }
}

/// A tenant's matcher, and the generation that it is of.
#[derive(Debug, Default)]
pub struct Known {
    /// The count of the tenant's webhook writes when it was read.
    pub generation: u64,
    /// What the tenant's webhooks want.
    pub matcher: Matcher,
}

/// The matchers of the tenants whose events came last, within [`MAX_BYTES`].
#[derive(Debug)]
pub struct Matchers {
    known: LruCache<TenantId, Known>,
    /// What all of them take.
    bytes: usize,
}

impl Default for Matchers {
    fn default() -> Self {
        Self { known: LruCache::new(MAX_TENANTS), bytes: 0 }
    }
}

impl Matchers {
    /// Returns the tenant's matcher if it is of that generation. A matcher that was evicted must be read again.
    pub fn of(&mut self, tenant: &TenantId, generation: u64) -> Option<&mut Known> {
        self.known.get_mut(tenant).filter(|known| known.generation == generation)
    }

    /// Takes a tenant's matcher out, so that it can be updated and [put back](Self::put). If there is no matcher, returns an
    /// empty one, and makes room for as much as a tenant may have.
    pub fn take(&mut self, tenant: &TenantId) -> Known {
        if let Some(known) = self.known.pop(tenant) {
            self.bytes -= known.matcher.bytes();
            return known;
        }
        self.trim(MAX_BYTES - MAX_TENANT_BYTES, 0);
        Known::default()
    }

    /// Keeps a tenant's matcher, and forgets what was used longest ago until the rest is not too much. The last one stays,
    /// however large it is: its tenant's events must go on.
    pub fn put(&mut self, tenant: TenantId, known: Known) {
        self.bytes += known.matcher.bytes();
        if let Some((_, forgotten)) = self.known.push(tenant, known) {
            self.bytes -= forgotten.matcher.bytes();
        }
        self.trim(MAX_BYTES, 1);
    }

    /// Forgets what was used longest ago, until the rest is not too much or no more than so many are left.
    fn trim(&mut self, bytes: usize, least: usize) {
        while self.bytes > bytes
            && self.known.len() > least
            && let Some((_, forgotten)) = self.known.pop_lru()
        {
            self.bytes -= forgotten.matcher.bytes();
        }
    }

    /// Returns the webhooks that want an event, within the room and the work that there is; `None` if the tenant's matcher is not
    /// here, or is of another generation. `left` is the work that is left to the tenant in the batch.
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

    /// Returns how many bytes all of them take at most.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns of how many tenants there is one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Returns whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use domain::matching::matcher::SubscriptionChange;

    use super::*;

    /// A tenant with one webhook whose template is that long.
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
