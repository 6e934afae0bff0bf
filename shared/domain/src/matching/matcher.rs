//! Finds the webhooks of a tenant that want an event.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::effort::Effort;
use super::filter::sieve::{Sieve, bytes_in_sieve};
use super::subscription::{Subscription, TypedEvent};
use super::weight::{entry, heap, map, texts};
use crate::event::Event;
use crate::id::WebhookId;
use crate::value::path::FieldPath;

mod keys;

use keys::{Hashed, Key, conditions, for_each_key, hashed};

/// A change of a subscription since the last read.
#[derive(Debug, Clone, PartialEq)]
pub enum SubscriptionChange {
    /// It is new or changed, and wants events.
    Wants(Box<Subscription>),
    /// It wants no more events, because it was disabled or deleted.
    Ended(WebhookId),
}

/// From this number of filters under one key on, a sieve searches them all at once instead of one by one.
const MANY: usize = 32;

/// The limit, in bytes by [`weight`], of a tenant's subscriptions. A webhook that exceeds it is refused when it is
/// written.
pub const MAX_TENANT_BYTES: usize = 16 * 1024 * 1024;

/// The limit, in bytes, of a tenant's sieves. Filters that do not fit are evaluated one by one.
pub const MAX_SIEVE_BYTES: usize = 8 * 1024 * 1024;

/// Limits of finding the webhooks for an event.
#[derive(Debug)]
pub struct MatchLimits {
    /// The work for all webhooks together.
    pub effort: Effort,
    /// How many bytes the sieves may grow by, if that is less than the tenant's limit allows.
    pub room: usize,
}

impl MatchLimits {
    /// Returns limits that allow any amount of work and the tenant's full sieve size.
    #[must_use]
    pub const fn none() -> Self {
        Self { effort: Effort::unlimited(), room: MAX_SIEVE_BYTES }
    }
}

/// The webhooks that want an event.
#[derive(Debug, Default)]
pub struct Found {
    /// The webhooks that were found, without duplicates and ordered by id.
    pub wanted: Vec<Arc<Subscription>>,
    /// Those that may want it too, but were not evaluated before the effort was spent. Their ids are higher than those
    /// of `wanted`.
    pub not_judged: Vec<Arc<Subscription>>,
}

/// Finds the webhooks of one tenant that want an event.
///
/// A subscription is indexed under the keys of one of its conditions, the one shared with the fewest others. An event
/// is therefore compared with few webhooks that do not want it, however many there are. If many filters share a key,
/// because none has a text that tells it apart from the others, a sieve of these filters selects the few that may
/// match.
#[derive(Debug, Default)]
pub struct Matcher {
    subscriptions: HashMap<WebhookId, Kept>,
    index: HashMap<Hashed, Bucket>,
    /// The fields whose texts are keys, each with the number of its subscriptions. Other fields of an event are not
    /// looked at.
    texts: HashMap<u64, usize>,
    /// An upper bound of the bytes of the subscriptions and their index entries.
    bytes: usize,
    /// An upper bound of the bytes of the sieves.
    sieve_bytes: usize,
}

/// A subscription and the keys that it is indexed under.
#[derive(Debug)]
struct Kept {
    subscription: Arc<Subscription>,
    keys: Box<[Hashed]>,
    /// The fields that it has in `texts`.
    texts: Box<[u64]>,
}

/// The subscriptions under one key. Most keys have only one.
#[derive(Debug)]
enum Bucket {
    One(WebhookId),
    Many(Box<Crowd>),
}

#[derive(Debug, Default)]
struct Crowd {
    plain: Vec<WebhookId>,
    filtered: Vec<WebhookId>,
    /// A sieve of the filters of the second list, if there are many. Built when first needed, if it fits.
    sieve: Option<Made>,
}

#[derive(Debug)]
struct Made {
    sieve: Sieve<WebhookId>,
    bytes: usize,
}

impl Crowd {
    fn of(&mut self, is_filtered: bool) -> &mut Vec<WebhookId> {
        if is_filtered { &mut self.filtered } else { &mut self.plain }
    }
}

impl Bucket {
    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(crowd) => crowd.plain.len() + crowd.filtered.len(),
        }
    }
}

impl Matcher {
    /// Applies a change.
    pub fn apply(&mut self, change: SubscriptionChange) {
        match change {
            SubscriptionChange::Wants(subscription) => {
                self.remove(subscription.webhook);
                self.insert(*subscription);
            }
            SubscriptionChange::Ended(webhook) => self.remove(webhook),
        }
    }

    /// Returns the number of subscriptions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.subscriptions.len()
    }

    /// Returns an upper bound of its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes + self.sieve_bytes
    }

    /// Returns the subscription of a webhook.
    #[must_use]
    pub fn get(&self, webhook: WebhookId) -> Option<&Arc<Subscription>> {
        self.subscriptions.get(&webhook).map(|kept| &kept.subscription)
    }

    /// Returns whether it has no subscriptions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    fn remove(&mut self, webhook: WebhookId) {
        let Some(Kept { subscription, keys, texts }) = self.subscriptions.remove(&webhook) else { return };
        self.bytes -= weight(&subscription);
        for path in texts {
            if let Entry::Occupied(mut count) = self.texts.entry(path) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
        let is_filtered = subscription.filter.is_some();
        for key in keys {
            let Entry::Occupied(mut bucket) = self.index.entry(key) else { continue };
            if let Bucket::Many(crowd) = bucket.get_mut() {
                let among = crowd.of(is_filtered);
                if let Some(place) = among.iter().position(|other| *other == webhook) {
                    among.swap_remove(place);
                }
                if is_filtered {
                    self.sieve_bytes -= crowd.sieve.take().map_or(0, |made| made.bytes);
                }
            }
            if matches!(bucket.get(), Bucket::One(_)) || bucket.get().len() == 0 {
                bucket.remove();
            }
        }
    }

    fn insert(&mut self, subscription: Subscription) {
        let webhook = subscription.webhook;
        let crowd = |keys: &Vec<Key<'_>>| {
            keys.iter().map(|key| self.index.get(&hashed(key)).map_or(0, Bucket::len)).sum::<usize>()
        };
        let keys = conditions(&subscription).into_iter().min_by_key(crowd).unwrap_or_default();
        let texts: BTreeSet<u64> =
            keys.iter().filter_map(|key| if let Key::Text(path, _) = key { Some(*path) } else { None }).collect();
        // Two keys with the same hash count as one.
        let keys: BTreeSet<Hashed> = keys.iter().map(hashed).collect();
        for path in &texts {
            *self.texts.entry(*path).or_default() += 1;
        }
        for key in &keys {
            let bucket = match self.index.entry(*key) {
                Entry::Vacant(free) => {
                    free.insert(Bucket::One(webhook));
                    continue;
                }
                Entry::Occupied(bucket) => bucket.into_mut(),
            };
            if let Bucket::One(other) = bucket {
                let mut crowd = Crowd::default();
                let is_filtered = self.subscriptions.get(other).is_some_and(|kept| kept.subscription.filter.is_some());
                crowd.of(is_filtered).push(*other);
                *bucket = Bucket::Many(Box::new(crowd));
            }
            if let Bucket::Many(crowd) = bucket {
                crowd.of(subscription.filter.is_some()).push(webhook);
                if subscription.filter.is_some() {
                    self.sieve_bytes -= crowd.sieve.take().map_or(0, |made| made.bytes);
                }
            }
        }
        self.bytes += weight(&subscription);
        let (keys, texts) = (keys.into_iter().collect(), texts.into_iter().collect());
        self.subscriptions.insert(webhook, Kept { subscription: Arc::new(subscription), keys, texts });
    }

    /// Drops the sieves, which can be rebuilt.
    pub fn shrink(&mut self) {
        if self.sieve_bytes > 0 {
            for bucket in self.index.values_mut() {
                if let Bucket::Many(crowd) = bucket {
                    crowd.sieve = None;
                }
            }
            self.sieve_bytes = 0;
        }
    }

    /// Returns the webhooks that want the event, without duplicates and ordered by id.
    pub fn matching(&mut self, event: &Event) -> Vec<Arc<Subscription>> {
        self.matching_within(event, &MatchLimits::none()).wanted
    }

    /// Returns the webhooks that want the event, as far as the effort allows.
    ///
    /// The subscriptions under the event's keys are evaluated in a fixed order, so the same ones are reached each time
    /// before the effort is spent.
    pub fn matching_within(&mut self, event: &Event, limits: &MatchLimits) -> Found {
        if self.is_empty() {
            return Found::default();
        }
        let MatchLimits { effort, room } = limits;
        let seen = TypedEvent::new(event);
        let mut candidates = BTreeSet::new();
        let mut budget = (MAX_SIEVE_BYTES.saturating_sub(self.sieve_bytes)).min(*room);
        let subscriptions = &self.subscriptions;
        let mut keys = Vec::new();
        for_each_key(&seen, &self.texts, |key| keys.push(hashed(&key)));
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let crowd = match self.index.get_mut(&key) {
                None => continue,
                Some(Bucket::One(webhook)) => {
                    candidates.insert(*webhook);
                    continue;
                }
                Some(Bucket::Many(crowd)) => crowd,
            };
            candidates.extend(&crowd.plain);
            if crowd.filtered.len() >= MANY && crowd.sieve.is_none() {
                let filter =
                    |webhook: &WebhookId| Some((*webhook, subscriptions.get(webhook)?.subscription.filter.as_ref()?));
                let filters = crowd.filtered.iter().filter_map(filter);
                let bytes = filters.clone().map(|(_, filter)| bytes_in_sieve::<WebhookId>(filter)).sum();
                if bytes <= budget {
                    budget -= bytes;
                    self.sieve_bytes += bytes;
                    crowd.sieve = Some(Made { sieve: Sieve::new(filters), bytes });
                }
            }
            if let Some(made) = &crowd.sieve {
                made.sieve.candidates(event, effort, |webhook| _ = candidates.insert(webhook));
            }
            // The result of a sieve is incomplete if the effort was spent.
            if crowd.sieve.is_none() || effort.is_spent() {
                candidates.extend(&crowd.filtered);
            }
        }
        let mut found = Found::default();
        for webhook in candidates {
            let Some(Kept { subscription, .. }) = subscriptions.get(&webhook) else { continue };
            let wants = found.not_judged.is_empty() && subscription.wants_within(&seen, effort);
            if effort.is_spent() {
                found.not_judged.push(Arc::clone(subscription));
            } else if wants {
                found.wanted.push(Arc::clone(subscription));
            }
        }
        found
    }
}

/// The bytes of a subscription in addition to its content: its place, and the reference to it.
const BYTES_EACH: usize =
    entry(size_of::<(WebhookId, Kept)>() + 1) + heap(size_of::<Subscription>() + 2 * size_of::<usize>());

/// The bytes of a key: its place in the index, among the keys of its subscription, and the field whose text it is.
const BYTES_A_KEY: usize = entry(size_of::<(Hashed, Bucket)>() + 1)
    + size_of::<Hashed>()
    + entry(size_of::<(u64, usize)>() + 1)
    + size_of::<u64>();

/// Returns an upper bound of the bytes that a subscription takes in a matcher, whichever condition it is indexed by.
/// Sieves are not included.
#[must_use]
pub fn weight(subscription: &Subscription) -> usize {
    let keys = conditions(subscription).iter().map(Vec::len).max().unwrap_or(0);
    BYTES_EACH + 2 * heap(8) + keys * BYTES_A_KEY + subscription.bytes()
}

/// Returns a JSON pointer to the field of a webhook that contributes most to its subscription's weight.
#[must_use]
pub fn heaviest(subscription: &Subscription) -> &'static str {
    let keys = conditions(subscription).iter().map(Vec::len).max().unwrap_or(0);
    let filter = subscription.filter.as_ref().map_or(0, |filter| filter.bytes() + keys * BYTES_A_KEY);
    let rendering = &subscription.rendering;
    let paths = |paths: &[FieldPath]| paths.iter().map(|path| texts(path.names())).sum::<usize>();
    let fields = [
        ("/filter", filter),
        ("/template", rendering.template.as_ref().map_or(0, String::len)),
        ("/properties", map(&rendering.properties)),
        ("/event_types", subscription.event_types.len() * BYTES_A_KEY),
        ("/transitions", subscription.transitions.len() * BYTES_A_KEY),
        ("/changed", paths(&subscription.changed)),
        ("/include", paths(&rendering.include)),
        ("/exclude", paths(&rendering.exclude)),
    ];
    fields.into_iter().max_by_key(|(_, bytes)| *bytes).map_or("/filter", |(field, _)| field)
}

#[cfg(test)]
mod tests;
