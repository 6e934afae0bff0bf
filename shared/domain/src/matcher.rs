//! Which webhooks want an event.

use std::collections::HashMap;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

use crate::event::{Event, EventType, Operation};
use crate::id::WebhookId;
use crate::payload::Properties;

/// What fan-out needs to know of a webhook, and nothing more. An empty list is no condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subscription {
    /// The webhook.
    pub webhook: WebhookId,
    /// The event types that it wants.
    pub event_types: Vec<EventType>,
    /// The tables whose changes it wants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// The collections whose entities it wants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collections: Vec<String>,
    /// The operations that it wants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Operation>,
    /// What is added to its payloads.
    #[serde(default, skip_serializing_if = "Properties::is_empty")]
    pub properties: Properties,
}

impl Subscription {
    /// Says whether the webhook wants the event: whether every condition that it has holds.
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        holds(&self.event_types, &event.event_type)
            && holds(&self.sources, &event.source)
            && holds(&self.collections, &event.entity.collection)
            && holds(&self.operations, &event.operation)
    }
}

fn holds<T: PartialEq>(wanted: &[T], value: &T) -> bool {
    wanted.is_empty() || wanted.contains(value)
}

/// What became of a subscription since a reader last looked.
#[derive(Debug, Clone, PartialEq)]
pub enum SubscriptionChange {
    /// It wants events, as it says now.
    Wants(Subscription),
    /// It wants nothing any more: disabled or deleted.
    Ended(WebhookId),
}

/// Finds the webhooks of one tenant that want an event.
///
/// A subscription stands in one index only, that of the first condition it has, and under every value that it wants there. So
/// the cost of an event does not grow with the number of webhooks that want other types, collections or tables.
#[derive(Debug, Default)]
pub struct Matcher {
    subscriptions: HashMap<WebhookId, Subscription>,
    by_type: Index<EventType>,
    by_collection: Index<String>,
    by_source: Index<String>,
    by_operation: Index<Operation>,
}

impl Matcher {
    /// Brings the matcher up to date.
    pub fn apply(&mut self, change: SubscriptionChange) {
        let (SubscriptionChange::Wants(Subscription { webhook, .. }) | SubscriptionChange::Ended(webhook)) = &change;
        if let Some(before) = self.subscriptions.remove(webhook) {
            self.index(&before, false);
        }
        if let SubscriptionChange::Wants(subscription) = change {
            self.index(&subscription, true);
            self.subscriptions.insert(subscription.webhook, subscription);
        }
    }

    fn index(&mut self, subscription: &Subscription, wants: bool) {
        let Subscription { webhook, event_types, sources, collections, operations, .. } = subscription;
        if !event_types.is_empty() {
            self.by_type.set(event_types, *webhook, wants);
        } else if !collections.is_empty() {
            self.by_collection.set(collections, *webhook, wants);
        } else if !sources.is_empty() {
            self.by_source.set(sources, *webhook, wants);
        } else if operations.is_empty() {
            self.by_operation.set(&[Operation::Created, Operation::Updated, Operation::Deleted], *webhook, wants);
        } else {
            self.by_operation.set(operations, *webhook, wants);
        }
    }

    /// Returns the webhooks that want the event, each once.
    pub fn matching<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = &'a Subscription> {
        let candidates = [
            self.by_type.get(&event.event_type),
            self.by_collection.get(&event.entity.collection),
            self.by_source.get(&event.source),
            self.by_operation.get(&event.operation),
        ];
        let subscriptions = candidates.into_iter().flatten().filter_map(|webhook| self.subscriptions.get(webhook));
        subscriptions.filter(|subscription| subscription.wants(event))
    }
}

/// Webhooks by what they want.
#[derive(Debug)]
struct Index<K>(HashMap<K, Vec<WebhookId>>);

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone> Index<K> {
    fn get(&self, key: &K) -> &[WebhookId] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    fn set(&mut self, keys: &[K], webhook: WebhookId, wants: bool) {
        for key in keys {
            let webhooks = self.0.entry(key.clone()).or_default();
            // A value that is named twice is wanted once.
            webhooks.retain(|other| *other != webhook);
            if wants {
                webhooks.push(webhook);
            }
            if webhooks.is_empty() {
                self.0.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::source::Images;
    use crate::source::tests::{change, films};
    use crate::value::tests::map;

    fn webhook(number: u128) -> WebhookId {
        WebhookId::from_parts(Timestamp::UNIX_EPOCH, number)
    }

    fn event(event_type: &str, source: &str, collection: &str) -> Event {
        let image = map(&serde_json::json!({"studio": "acme", "film_id": 1}));
        let mut event = films().events(change(Images::Insert(image))).unwrap().remove(0);
        event.event_type = event_type.parse().unwrap();
        source.clone_into(&mut event.source);
        collection.clone_into(&mut event.entity.collection);
        event
    }

    const TYPES: [&str; 3] = ["film.created", "film.updated", "book.created"];
    const NAMES: [&str; 2] = ["films", "books"];

    prop_compose! {
        fn some_of(from: &'static [&'static str])(picked in prop::collection::vec(prop::sample::select(from), 0..3))
            -> Vec<String> { picked.into_iter().map(str::to_owned).collect() }
    }

    prop_compose! {
        fn subscription()(
            event_types in some_of(&TYPES),
            sources in some_of(&NAMES),
            collections in some_of(&NAMES),
            operations in prop::collection::vec(prop::sample::select(vec![Operation::Created, Operation::Deleted]), 0..2),
        ) -> Subscription {
            let event_types = event_types.iter().map(|text| text.parse().unwrap()).collect();
            Subscription { webhook: webhook(0), event_types, sources, collections, operations, properties: Properties::new() }
        }
    }

    proptest! {
        /// However its subscriptions came and went, a matcher finds what a look at each of them would find, and each once.
        #[test]
        fn finds_exactly_those_that_want_the_event(
            changes in prop::collection::vec((0_u128..5, prop::option::of(subscription())), 0..30),
        ) {
            let mut matcher = Matcher::default();
            let mut model = HashMap::new();
            for (number, subscription) in changes {
                let webhook = webhook(number);
                if let Some(subscription) = subscription {
                    let subscription = Subscription { webhook, ..subscription };
                    model.insert(webhook, subscription.clone());
                    matcher.apply(SubscriptionChange::Wants(subscription));
                } else {
                    model.remove(&webhook);
                    matcher.apply(SubscriptionChange::Ended(webhook));
                }
            }
            for (event_type, source, collection) in
                TYPES.iter().flat_map(|t| NAMES.iter().flat_map(move |s| NAMES.iter().map(move |c| (t, s, c))))
            {
                let event = event(event_type, source, collection);
                let found: Vec<_> = matcher.matching(&event).map(|subscription| subscription.webhook).collect();
                let wanted = model.values().filter(|subscription| subscription.wants(&event));
                let expected: BTreeSet<_> = wanted.map(|subscription| subscription.webhook).collect();
                prop_assert_eq!(found.len(), expected.len());
                prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
            }
        }
    }
}
