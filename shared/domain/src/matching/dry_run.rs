//! Compares two configurations of a webhook on past events.

use super::effort::Effort;
use super::subscription::{Subscription, TypedEvent};
use crate::event::Event;
use crate::event::types::EventType;
use crate::id::EventId;

/// The largest number of events and errors that are listed. All events are counted.
pub const MAX_NAMED: usize = 100;

/// The largest number of changed payloads that are shown.
pub const MAX_SHOWN: usize = 3;

/// The result of comparing two configurations of a webhook on the same events. The lists contain the first events that
/// were found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rehearsal {
    /// The number of events.
    pub looked_at: usize,
    /// How many of them the webhook receives with its current configuration.
    pub before: usize,
    /// How many of them it would receive with the new configuration.
    pub after: usize,
    /// Events that it would receive only with the new configuration.
    pub added: Vec<Named>,
    /// Events that it receives only with the current configuration.
    pub removed: Vec<Named>,
    /// How many events it receives with both, but with different bodies.
    pub changed_payloads: usize,
    /// Some of these.
    pub examples: Vec<Changed>,
    /// Events that fail to render with the new configuration.
    pub errors: Vec<Failed>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its id.
    pub id: EventId,
    /// The event type under which the webhook gets it.
    pub event_type: EventType,
}

/// An event with two bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The event's id.
    pub id: EventId,
    /// Its body with the current configuration.
    pub before: String,
    /// Its body with the new configuration.
    pub after: String,
}

/// An event that failed to render.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The event's id.
    pub id: EventId,
    /// The error.
    pub detail: String,
}

impl Rehearsal {
    /// Adds an event to the comparison. A configuration that wants no events has no subscription.
    pub fn look_at(&mut self, event: &Event, before: Option<&Subscription>, after: Option<&Subscription>) {
        let (seen, effort) = (TypedEvent::new(event), Effort::new(EFFORT));
        let wanting = |side: &&Subscription| side.wants_within(&seen, &effort);
        let (was, is) = (before.filter(wanting), after.filter(wanting));
        self.looked_at += 1;
        if effort.is_spent() {
            self.fail(event, "the conditions take too much work for this event".to_owned());
            return;
        }
        self.before += usize::from(was.is_some());
        self.after += usize::from(is.is_some());
        match (was, is) {
            (None, Some(side)) => name(&mut self.added, event, side),
            (Some(side), None) => name(&mut self.removed, event, side),
            _ => {}
        }
        let render = |side: &Subscription| {
            let event_type = side.type_for(event).unwrap_or_else(|| event.event_type.clone());
            side.rendering.render(event, &event_type)
        };
        let Some(is) = is else { return };
        let after = match render(is) {
            Ok(body) => body,
            Err(error) => return self.fail(event, error.to_string()),
        };
        // If the current configuration fails to render the event, there is nothing to compare; the new one fixes it.
        let Some(Ok(before)) = was.map(render) else { return };
        if before != after {
            self.changed_payloads += 1;
            if self.examples.len() < MAX_SHOWN {
                self.examples.push(Changed { id: event.id, before, after });
            }
        }
    }

    fn fail(&mut self, event: &Event, detail: String) {
        if self.errors.len() < MAX_NAMED {
            self.errors.push(Failed { id: event.id, detail });
        }
    }
}

/// The limit of the work of deciding whether an event is wanted: as much as all webhooks of a tenant together.
const EFFORT: u64 = 40_000_000;

fn name(named: &mut Vec<Named>, event: &Event, side: &Subscription) {
    if named.len() < MAX_NAMED {
        let event_type = side.type_for(event).unwrap_or_else(|| event.event_type.clone());
        named.push(Named { id: event.id, event_type });
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::payload::PayloadFormat;
    use crate::webhook::sample::Sample;
    use crate::webhook::tests::webhook;

    fn event(number: u128, event_type: &str) -> Event {
        let sample = Sample { event_type: event_type.parse().ok(), ..Sample::default() };
        let id = EventId::from_parts(Timestamp::UNIX_EPOCH, number);
        let settings = webhook().settings;
        sample.event(id, "acme".parse().unwrap(), &settings, Timestamp::UNIX_EPOCH)
    }

    fn asking_for(event_types: &[&str], template: Option<&str>) -> Subscription {
        let mut webhook = webhook();
        webhook.settings.event_types = event_types.iter().map(|text| text.parse().unwrap()).collect();
        webhook.settings.template = template.map(str::to_owned);
        if template.is_some() {
            webhook.settings.payload_format = PayloadFormat::Template;
        }
        webhook.subscription().unwrap()
    }

    #[test]
    fn lists_what_would_change() {
        let before = asking_for(&["a.created", "b.created"], None);
        let after = asking_for(&["b.created", "c.created"], Some(r#"{"n": 1}"#));
        let mut rehearsal = Rehearsal::default();
        for (number, event_type) in (1..).zip(["a.created", "b.created", "c.created", "d.created"]) {
            rehearsal.look_at(&event(number, event_type), Some(&before), Some(&after));
        }
        let named = |named: &[Named]| named.iter().map(|event| event.event_type.to_string()).collect::<Vec<_>>();
        assert_eq!((rehearsal.looked_at, rehearsal.before, rehearsal.after), (4, 2, 2));
        assert_eq!(
            (named(&rehearsal.added), named(&rehearsal.removed)),
            (vec!["c.created".to_owned()], vec!["a.created".to_owned()])
        );
        assert_eq!((rehearsal.changed_payloads, rehearsal.examples.len(), rehearsal.errors.len()), (1, 1, 0));
        assert_eq!(rehearsal.examples[0].after, r#"{"n": 1}"#);
    }

    #[test]
    fn counts_all_and_names_some() {
        let all = asking_for(&["*"], None);
        let failing = asking_for(&["*"], Some("{{ nothing.like.that }}"));
        let mut rehearsal = Rehearsal::default();
        for number in 0..150 {
            rehearsal.look_at(&event(number, "a.created"), None, Some(&failing));
            rehearsal.look_at(&event(number, "a.created"), Some(&all), None);
        }
        assert_eq!((rehearsal.before, rehearsal.after), (150, 150));
        assert_eq!((rehearsal.added.len(), rehearsal.removed.len(), rehearsal.errors.len()), (100, 100, 100));
    }
}
