//! Sample events, for testing a webhook.

use jiff::Timestamp;

use super::settings::Settings;
use crate::access::tenant::TenantId;
use crate::event::Event;
use crate::event::pattern::EventPattern;
use crate::event::published::Fact;
use crate::event::state::StateKey;
use crate::event::types::{EventType, Operation};
use crate::id::EventId;
use crate::time::rfc3339;
use crate::value::{Map, Value};

/// What a caller specifies about a sample event. The rest has defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// The type. Default: the first that the webhook names, or `webhook.test`.
    pub event_type: Option<EventType>,
    /// The collection. Default: the first that the webhook names, or the entity's name with an `s`.
    pub collection: Option<String>,
    /// The entity's id. Default: `test`.
    pub entity_id: Option<String>,
    /// The entity's new state. Default: a greeting.
    pub properties: Option<Map>,
    /// The entity's old state.
    pub old_properties: Option<Map>,
}

impl Sample {
    /// Returns the event in the form that a matching event would have.
    #[must_use]
    pub fn event(self, id: EventId, tenant: TenantId, settings: &Settings, at: Timestamp) -> Event {
        let event_type = self.event_type.or_else(|| settings.event_types.iter().find_map(EventPattern::exact));
        let event_type = event_type.unwrap_or_else(EventType::test);
        let (entity, last) = event_type.as_str().rsplit_once('.').unwrap_or((event_type.as_str(), ""));
        let greeting = || Map::from([("message".to_owned(), Value::String("this is a test".to_owned()))]);
        let (data, old_data) = match Operation::from_word(last) {
            Operation::Created => (self.properties.unwrap_or_else(greeting), None),
            Operation::Updated => (self.properties.unwrap_or_else(greeting), self.old_properties.or(Some(Map::new()))),
            Operation::Deleted => (self.old_properties.or(self.properties).unwrap_or_else(greeting), None),
        };
        let collection = self.collection.or_else(|| settings.collections.first().cloned());
        let collection = collection.unwrap_or_else(|| format!("{entity}s"));
        let entity_id = self.entity_id.unwrap_or_else(|| "test".to_owned());
        let app = settings.applications.first().cloned();
        let fact = Fact { event_type, entity_id, entity_key: None, collection, app, data, old_data };
        let mut event = fact.event(id, tenant, at);
        event.source = settings.sources.first().cloned().unwrap_or_else(|| "test".to_owned());
        // As if the table recorded when the entity was created.
        for state in event.old.iter_mut().chain(event.new.iter_mut()) {
            state.create_time = Some(rfc3339(at));
        }
        // The caller knows the content of the sample, so the state ids need no secret key.
        event.name_states(Some(&StateKey::new(0)));
        event
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::webhook::tests::webhook;

    fn event(sample: Sample, event_types: &[&str]) -> Event {
        let mut settings = webhook().settings;
        settings.event_types = event_types.iter().map(|text| text.parse().unwrap()).collect();
        let at = Timestamp::UNIX_EPOCH;
        sample.event(EventId::from_parts(at, 1), "acme".parse().unwrap(), &settings, at)
    }

    #[rstest]
    #[case::named(&["order.created", "order.deleted"], "order.created", Operation::Created, false, true)]
    #[case::update(&["order.updated"], "order.updated", Operation::Updated, true, true)]
    #[case::deletion(&["order.deleted"], "order.deleted", Operation::Deleted, true, false)]
    #[case::another_word(&["order.paid"], "order.paid", Operation::Created, false, true)]
    #[case::nothing_named(&[], "webhook.test", Operation::Created, false, true)]
    fn is_an_event_of_its_type(
        #[case] types: &[&str],
        #[case] event_type: &str,
        #[case] operation: Operation,
        #[case] old: bool,
        #[case] new: bool,
    ) {
        let event = event(Sample::default(), types);
        assert_eq!((event.event_type.as_str(), event.operation), (event_type, operation));
        assert_eq!((event.old.is_some(), event.new.is_some()), (old, new));
        assert_eq!(event.entity.path(), format!("{}s/test", event_type.split('.').next().unwrap()));
    }

    #[test]
    fn shows_what_the_caller_says() {
        let map = |text: &str| Map::from([("a".to_owned(), text.parse().unwrap())]);
        let sample = Sample {
            event_type: "packet.updated".parse().ok(),
            collection: Some("packets".to_owned()),
            entity_id: Some("p1".to_owned()),
            properties: Some(map("2")),
            old_properties: Some(map("1")),
        };
        let event = event(sample, &["order.created"]);
        assert_eq!((event.event_type.as_str(), event.entity.path().as_str()), ("packet.updated", "packets/p1"));
        assert_eq!((event.old.unwrap().properties, event.new.unwrap().properties), (map("1"), map("2")));
    }
}
