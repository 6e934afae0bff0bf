//! Which webhooks want an event.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::event::{Event, EventType};
use crate::id::WebhookId;

/// What fan-out needs to know of a webhook, and nothing more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// The webhook.
    pub webhook: WebhookId,
    /// The event types that it wants.
    pub event_types: Vec<EventType>,
}

/// What became of a subscription since a reader last looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriptionChange {
    /// It wants events, as it says now.
    Wants(Subscription),
    /// It wants nothing any more: disabled or deleted.
    Ended(WebhookId),
}

/// Finds the webhooks of one tenant that want an event.
///
/// The cost of an event does not grow with the number of webhooks that do not match it.
#[derive(Debug, Default)]
pub struct Matcher {
    wanted: HashMap<WebhookId, Vec<EventType>>,
    by_type: HashMap<EventType, Vec<WebhookId>>,
}

impl Matcher {
    /// Brings the matcher up to date.
    pub fn apply(&mut self, change: SubscriptionChange) {
        let (SubscriptionChange::Wants(Subscription { webhook, .. }) | SubscriptionChange::Ended(webhook)) = &change;
        for event_type in self.wanted.remove(webhook).unwrap_or_default() {
            if let Some(webhooks) = self.by_type.get_mut(&event_type) {
                webhooks.retain(|other| other != webhook);
                if webhooks.is_empty() {
                    self.by_type.remove(&event_type);
                }
            }
        }
        if let SubscriptionChange::Wants(Subscription { webhook, mut event_types }) = change {
            // A type that is named twice is wanted once.
            event_types.sort_unstable();
            event_types.dedup();
            for event_type in &event_types {
                self.by_type.entry(event_type.clone()).or_default().push(webhook);
            }
            self.wanted.insert(webhook, event_types);
        }
    }

    /// Returns the webhooks that want the event.
    #[must_use]
    pub fn matching(&self, event: &Event) -> &[WebhookId] {
        self.by_type.get(&event.event_type).map_or(&[], Vec::as_slice)
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

    fn event(event_type: &str) -> Event {
        let image = map(&serde_json::json!({"studio": "acme", "film_id": 1}));
        let event = films().events(change(Images::Insert(image))).unwrap().remove(0);
        Event { event_type: event_type.parse().unwrap(), ..event }
    }

    const TYPES: [&str; 4] = ["film.created", "film.updated", "film.deleted", "book.created"];

    proptest! {
        /// However its subscriptions came and went, a matcher finds what a look at each of them would find.
        #[test]
        fn finds_exactly_those_that_want_the_event(
            changes in prop::collection::vec((0_u128..5, prop::option::of(prop::collection::vec(0_usize..4, 0..4))), 0..30),
        ) {
            let mut matcher = Matcher::default();
            let mut model = HashMap::new();
            for (number, types) in changes {
                let webhook = webhook(number);
                if let Some(types) = types {
                    let event_types: Vec<EventType> = types.iter().map(|index| TYPES[*index].parse().unwrap()).collect();
                    model.insert(webhook, event_types.clone());
                    matcher.apply(SubscriptionChange::Wants(Subscription { webhook, event_types }));
                } else {
                    model.remove(&webhook);
                    matcher.apply(SubscriptionChange::Ended(webhook));
                }
            }
            for event_type in TYPES {
                let event = event(event_type);
                let found = matcher.matching(&event);
                let expected: BTreeSet<_> =
                    model.iter().filter(|(_, types)| types.contains(&event.event_type)).map(|(webhook, _)| *webhook).collect();
                prop_assert_eq!(found.len(), expected.len());
                prop_assert_eq!(found.iter().copied().collect::<BTreeSet<_>>(), expected);
            }
        }
    }
}
