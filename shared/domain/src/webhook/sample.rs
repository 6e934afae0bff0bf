//! Sample events, for testing a webhook.

use jiff::Timestamp;

use super::settings::Settings;
use crate::access::tenant::{AppId, TenantId};
use crate::event::Event;
use crate::event::pattern::EventPattern;
use crate::event::published::Fact;
use crate::event::state::StateKey;
use crate::event::types::{EventType, Operation};
use crate::id::EventId;
use crate::source::Source;
use crate::source::mapping::Mapping;
use crate::source::template::Template;
use crate::time::rfc3339;
use crate::value::{Map, Value, changed_paths};

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

/// The part of a path or an id that a sample does not say.
const UNKNOWN: &str = "test";

impl Sample {
    /// Returns the event as one of the sources would make it, if a source has entities of its type: with the path, the
    /// key and the related values of a real one. If neither the sample nor the webhook has an exact type, it is the
    /// first of a source that the webhook wants. An application sees only sources that may concern it.
    #[must_use]
    pub fn event_of(
        self,
        sources: &[Source],
        app: Option<&AppId>,
        id: EventId,
        tenant: TenantId,
        settings: &Settings,
        at: Timestamp,
    ) -> Event {
        let kinds = sources.iter().flat_map(|source| source.entities.iter().map(move |mapping| (source, mapping)));
        let kinds: Vec<_> = kinds.filter(|(_, mapping)| mapping.may_concern(&tenant, app)).collect();
        let is_named =
            self.event_type.is_some() || settings.event_types.iter().any(|pattern| pattern.exact().is_some());
        let sample =
            Self { event_type: if is_named { self.event_type.clone() } else { wanted_type(&kinds, settings) }, ..self };
        let collection = sample.collection.clone();
        let mut event = sample.event(id, tenant, settings, at);
        let entity = event.event_type.as_str().rsplit_once('.').map_or("", |(entity, _)| entity);
        let Some((source, mapping)) = kinds.into_iter().find(|(_, mapping)| mapping.entity.as_str() == entity) else {
            return event;
        };
        let image = event.new.as_ref().or(event.old.as_ref()).map(|state| state.properties.clone()).unwrap_or_default();
        let template = mapping.collection.to_string();
        let named = || settings.collections.iter().find(|path| **path != template && mapping.collection.makes(path));
        let collection = collection.or_else(|| named().cloned());
        event.entity.collection = collection.unwrap_or_else(|| mapping.collection.fill_partly(&image, UNKNOWN));
        event.entity.collection_template = (!mapping.collection.is_fixed()).then_some(template);
        event.entity.key = mapping.entity_key.clone().unwrap_or_else(|| mapping.entity.to_string());
        if settings.sources.is_empty() {
            event.source.clone_from(&source.table);
        }
        let path = event.entity.path();
        for state in event.old.iter_mut().chain(&mut event.new) {
            let mut properties = std::mem::take(&mut state.properties).into_map();
            mapping.redact(&mut properties);
            // A real item with such a time would fail to map; a sample keeps its own times.
            if let Ok(mapped) = mapping.state(&path, properties.clone()) {
                state.create_time = mapped.create_time.or(state.create_time.take());
                state.update_time = mapped.update_time.or(state.update_time.take());
                state.id = mapped.id;
            }
            state.properties = properties.into();
            event.entity.related = mapping.take_related(&mut state.properties);
        }
        if let (Some(old), Some(new)) = (&event.old, &event.new) {
            event.update_mask = Some(changed_paths(&old.properties, &new.properties));
        }
        event.name_states(Some(&StateKey::new(0)));
        event
    }

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
        let entity_id = self.entity_id.unwrap_or_else(|| UNKNOWN.to_owned());
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

/// Returns the first type of the sources that a webhook without an exact type wants. A webhook that names neither types,
/// tables nor collections wants no type in particular.
fn wanted_type(kinds: &[(&Source, &Mapping)], settings: &Settings) -> Option<EventType> {
    let Settings { event_types, sources, collections, operations, .. } = settings;
    if event_types.is_empty() && sources.is_empty() && collections.is_empty() {
        return None;
    }
    let is_in = |template: &Template, path: &String| template.to_string() == *path || template.makes(path);
    let kinds = kinds.iter().filter(|(source, mapping)| {
        (sources.is_empty() || sources.contains(&source.table))
            && (collections.is_empty() || collections.iter().any(|path| is_in(&mapping.collection, path)))
    });
    let all = [Operation::Created, Operation::Updated, Operation::Deleted];
    let mut types = kinds.flat_map(|(_, mapping)| {
        let wanted = all.into_iter().filter(|operation| operations.is_empty() || operations.contains(operation));
        wanted.map(|operation| EventType::of(&mapping.entity, operation))
    });
    types.find(|found| event_types.is_empty() || event_types.iter().any(|pattern| pattern.asks_for(found)))
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
        assert_eq!(event.old.unwrap().properties, map("1").into());
        assert_eq!(event.new.unwrap().properties, map("2").into());
    }
    fn comments() -> Vec<Source> {
        let flows = serde_json::from_str(include_str!("../../../../infra/samples/flows.json")).unwrap();
        let others = serde_json::json!({"table": "secret", "entities": [
            {"entity": "invoice", "tenant": "globex", "id": "{id}", "collection": "globex-invoices"}]});
        vec![flows, serde_json::from_value(others).unwrap()]
    }

    fn mapped(sample: Sample, collections: &[&str]) -> Event {
        let mut settings = webhook().settings;
        settings.collections = collections.iter().map(|path| (*path).to_owned()).collect();
        let at = Timestamp::UNIX_EPOCH;
        sample.event_of(&comments(), None, EventId::from_parts(at, 1), "acme".parse().unwrap(), &settings, at)
    }

    fn sample(event_type: &str, properties: &serde_json::Value) -> Sample {
        let properties = Some(crate::value::tests::map(properties));
        Sample { event_type: event_type.parse().ok(), properties, ..Sample::default() }
    }

    #[rstest]
    #[case::packet_is_known(serde_json::json!({"packetId": "p1"}), &[], "pipelinesPackets/p1/comments/test")]
    #[case::packet_is_unknown(serde_json::json!({}), &[], "pipelinesPackets/test/comments/test")]
    #[case::webhook_names_the_template(serde_json::json!({}), &["pipelinesPackets/{packetId}/comments"], "pipelinesPackets/test/comments/test")]
    #[case::webhook_names_one(serde_json::json!({}), &["pipelines", "pipelinesPackets/p7/comments"], "pipelinesPackets/p7/comments/test")]
    fn a_comment_looks_like_a_real_one(
        #[case] properties: serde_json::Value,
        #[case] collections: &[&str],
        #[case] path: &str,
    ) {
        let event = mapped(sample("comment.updated", &properties), collections);
        assert_eq!((event.entity.path().as_str(), event.entity.key.as_str()), (path, "flows/comments"));
        assert_eq!(event.entity.collection_template.as_deref(), Some("pipelinesPackets/{packetId}/comments"));
        assert_eq!((event.source.as_str(), event.new.is_some()), ("flows", true));
        assert_eq!(event.entity.related, crate::value::tests::map(&serde_json::json!({"entityComments": []})));
    }

    #[test]
    fn a_sample_is_redacted_and_related_like_a_real_event() {
        let properties =
            serde_json::json!({"pk": "ORG#acme", "thread": [1], "content": "a", "createdAt": "2026-11-20"});
        let event = mapped(sample("comment.updated", &properties), &[]);
        let new = event.new.unwrap();
        assert_eq!(new.properties.keys().collect::<Vec<_>>(), ["content", "createdAt"]);
        assert_eq!(new.create_time.as_deref(), Some("2026-11-20"));
        assert_eq!(event.update_mask.unwrap(), ["content", "createdAt"]);
        assert_eq!(event.entity.related, crate::value::tests::map(&serde_json::json!({"entityComments": [1]})));
    }

    #[rstest]
    #[case::collection(serde_json::json!({"collections": ["pipelinesPackets/{packetId}/comments"]}), "comment.created", "pipelinesPackets/test/comments/test")]
    #[case::operation(serde_json::json!({"collections": ["pipelines"], "operations": ["deleted"]}), "pipeline.deleted", "pipelines/test")]
    #[case::group(serde_json::json!({"event_types": ["comment.*"]}), "comment.created", "pipelinesPackets/test/comments/test")]
    #[case::group_of_operations(serde_json::json!({"event_types": ["*.changed"], "collections": ["users"]}), "user.updated", "users/test")]
    #[case::table(serde_json::json!({"sources": ["flows"]}), "packet.created", "pipelinesPackets/test")]
    #[case::other_table(serde_json::json!({"sources": ["orders"]}), "webhook.test", "webhooks/test")]
    #[case::nothing(serde_json::json!({}), "webhook.test", "webhooks/test")]
    fn a_webhook_without_a_type_gets_one_that_it_wants(
        #[case] more: serde_json::Value,
        #[case] event_type: &str,
        #[case] path: &str,
    ) {
        let mut settings = serde_json::json!({"name": "n", "url": "https://example.com/"});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let settings: Settings = serde_json::from_value(settings).unwrap();
        let (at, id) = (Timestamp::UNIX_EPOCH, EventId::from_parts(Timestamp::UNIX_EPOCH, 1));
        let event = Sample::default().event_of(&comments(), None, id, "acme".parse().unwrap(), &settings, at);
        assert_eq!((event.event_type.as_str(), event.entity.path().as_str()), (event_type, path));
    }

    #[test]
    fn a_source_of_another_tenant_is_not_shown() {
        let event = mapped(sample("invoice.created", &serde_json::json!({})), &[]);
        assert_eq!((event.entity.collection.as_str(), event.source.as_str()), ("invoices", "test"));
    }

    #[test]
    fn a_collection_that_the_caller_names_stays() {
        let sample =
            Sample { collection: Some("elsewhere".to_owned()), ..sample("packet.created", &serde_json::json!({})) };
        assert_eq!(mapped(sample, &[]).entity.path(), "elsewhere/test");
    }
}
