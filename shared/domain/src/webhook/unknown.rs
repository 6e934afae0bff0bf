//! Names in a webhook's conditions that nothing has: a typing error would otherwise show only in events that never come.
//!
//! Such a webhook is accepted, because a table may be registered and a type published later.

use std::collections::BTreeSet;

use super::settings::Settings;
use crate::access::tenant::{AppId, TenantId};
use crate::event::operational::{OPERATIONAL, PUBLISHED, TYPES, is_about_exhaustion};
use crate::event::pattern::EventPattern;
use crate::event::types::{EventType, Operation, SOFT_DELETED};
use crate::source::Source;
use crate::source::template::Template;
use crate::text::nearest;

/// For how many names the nearest one is looked for: a comparison with everything known takes time.
const MAX_NAMES: usize = 10;

/// The collection of operational events.
const OF_WEBHOOKS: &str = "webhooks";

/// The end of a derived type, such as `packet.status_changed`.
const CHANGED: &str = "_changed";

/// What the webhooks of a tenant can ask for.
#[derive(Debug, Default)]
pub struct Known {
    tables: BTreeSet<String>,
    collections: Vec<Template>,
    /// The default collections of published events.
    published: BTreeSet<String>,
    types: BTreeSet<EventType>,
    /// The kinds of entities, of which updates have derived types.
    entities: BTreeSet<String>,
    /// Whether there are more types than these.
    more_types: bool,
}

/// A name that nothing has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The field, as a JSON pointer; or a query parameter, with `?` before its name.
    pub pointer: String,
    /// What the name would be of.
    pub kind: Kind,
    /// The name.
    pub name: String,
    /// The known name that is most like it, if anything is known.
    pub nearest: Option<String>,
}

/// What a name is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A table.
    Source,
    /// A collection of entities.
    Collection,
    /// An event type, or a group of types.
    EventType,
}

impl Known {
    /// Collects what can happen: what the sources make of the tenant's entities, and what its catalog of types holds.
    /// An application sees only sources that may concern it. `more_types` says that the catalog holds more types.
    #[must_use]
    pub fn new(
        sources: &[Source],
        catalog: impl IntoIterator<Item = EventType>,
        more_types: bool,
        tenant: &TenantId,
        app: Option<&AppId>,
    ) -> Self {
        let mut known = Self { more_types, ..Self::default() };
        for event_type in catalog {
            if let Some((entity, _)) = event_type.as_str().rsplit_once('.') {
                known.published.insert(format!("{entity}s"));
                known.entities.insert(entity.to_owned());
            }
            known.add_type(event_type);
        }
        TYPES.iter().filter_map(|text| text.parse().ok()).for_each(|event_type| known.add_type(event_type));
        for source in sources {
            for mapping in source.entities.iter().filter(|mapping| mapping.may_concern(tenant, app)) {
                known.tables.insert(source.table.clone());
                known.collections.push(mapping.collection.clone());
                known.entities.insert(mapping.entity.to_string());
                for operation in [Operation::Created, Operation::Updated, Operation::Deleted] {
                    known.add_type(EventType::of(&mapping.entity, operation));
                }
            }
        }
        known
    }

    /// Adds a type and its other names.
    fn add_type(&mut self, event_type: EventType) {
        let is_deletion = event_type.as_str().ends_with(".deleted");
        let soft = is_deletion.then(|| event_type.with_last_word(SOFT_DELETED)).flatten();
        self.types.extend(event_type.synonym().into_iter().chain(soft));
        self.types.insert(event_type);
    }

    /// Returns the names in a webhook's conditions that nothing has.
    #[must_use]
    pub fn unknown_names(&self, settings: &Settings) -> Vec<Unknown> {
        let mut unknown = Vec::new();
        let mut note = |pointer: &str, index: usize, kind, name: &str, candidates: &dyn Fn() -> Vec<String>| {
            if unknown.len() < MAX_NAMES {
                let candidates = candidates();
                let nearest =
                    nearest(name, candidates.iter().map(String::as_str)).map(|(nearest, _)| nearest.to_owned());
                let (pointer, name) = (format!("{pointer}/{index}"), name.to_owned());
                unknown.push(Unknown { pointer, kind, name, nearest });
            }
        };
        for (index, pattern) in settings.event_types.iter().enumerate().filter(|(_, pattern)| !self.has_type(pattern)) {
            note("/event_types", index, Kind::EventType, pattern.as_str(), &|| self.types_like(pattern));
        }
        for (index, table) in settings.sources.iter().enumerate().filter(|(_, table)| !self.has_table(table)) {
            note("/sources", index, Kind::Source, table, &|| self.tables.iter().cloned().collect());
        }
        for (index, path) in settings.collections.iter().enumerate().filter(|(_, path)| !self.has_collection(path)) {
            note("/collections", index, Kind::Collection, path, &|| self.collection_names().collect());
        }
        unknown
    }

    /// Returns the collection of an entity's path, if nothing has it. The ids of entities may contain slashes.
    #[must_use]
    pub fn unknown_collection_of(&self, entity_path: &str) -> Option<Unknown> {
        let mut ends = entity_path.match_indices('/').map(|(end, _)| end);
        if ends.any(|end| self.has_collection(&entity_path[..end]) || entity_path[..end] == *OF_WEBHOOKS) {
            return None;
        }
        let (name, _) = entity_path.rsplit_once('/')?;
        let names: Vec<_> = self.collection_names().collect();
        let nearest = nearest(name, names.iter().map(String::as_str)).map(|(nearest, _)| nearest.to_owned());
        Some(Unknown { pointer: "?entity".to_owned(), kind: Kind::Collection, name: name.to_owned(), nearest })
    }

    fn collection_names(&self) -> impl Iterator<Item = String> {
        self.collections.iter().map(ToString::to_string).chain(self.published.iter().cloned())
    }

    fn has_table(&self, table: &str) -> bool {
        self.tables.contains(table) || [PUBLISHED, OPERATIONAL].contains(&table)
    }

    fn has_collection(&self, path: &str) -> bool {
        self.collections.iter().any(|template| template.makes(path) || template.to_string() == path)
            || self.published.contains(path)
            || path.starts_with("inbound/")
    }

    fn has_type(&self, pattern: &EventPattern) -> bool {
        let text = pattern.as_str();
        let derived = || match text.strip_suffix(CHANGED).and_then(|text| text.rsplit_once('.')) {
            Some((entity, attribute)) => !attribute.is_empty() && (entity == "*" || self.entities.contains(entity)),
            None => false,
        };
        self.more_types
            || text == "*"
            || self.types.iter().any(|event_type| pattern.matches(event_type))
            || derived()
            || is_about_exhaustion(text)
    }

    /// Returns known patterns of the same form.
    fn types_like(&self, pattern: &EventPattern) -> Vec<String> {
        let text = pattern.as_str();
        let words = || self.types.iter().filter_map(|event_type| event_type.as_str().rsplit_once('.'));
        if text.ends_with(".*") {
            words().map(|(entity, _)| format!("{entity}.*")).collect()
        } else if text.starts_with("*.") {
            words().map(|(_, last)| format!("*.{last}")).collect()
        } else {
            let derived = text.rsplit_once('.').filter(|(_, last)| last.ends_with(CHANGED));
            let derived = derived.map(|(_, last)| self.entities.iter().map(move |entity| format!("{entity}.{last}")));
            self.types.iter().map(ToString::to_string).chain(derived.into_iter().flatten()).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::webhook::settings::tests::settings;

    fn known(app: Option<&str>) -> Known {
        let sources = json!([
            {"table": "flows", "entities": [
                {"when": {"attribute": "sk", "prefix": "P#"}, "entity": "packet", "tenant": "{pk:ORG#}", "id": "{sk:P#}", "collection": "packets"},
                {"entity": "comment", "tenant": "{pk:ORG#}", "id": "{id}", "collection": "packets/{packetId}/comments"}]},
            {"table": "globex", "entities": [{"entity": "secret", "tenant": "globex", "id": "{id}", "collection": "secrets"}]},
            {"table": "erp", "entities": [{"entity": "order", "tenant": "{t}", "app": "erp", "id": "{id}", "collection": "orders"}]},
        ]);
        let sources: Vec<Source> = serde_json::from_value(sources).unwrap();
        let catalog = ["invoice.paid".parse().unwrap()];
        let app: Option<AppId> = app.map(|app| app.parse().unwrap());
        Known::new(&sources, catalog, false, &"acme".parse().unwrap(), app.as_ref())
    }

    fn nearest_of(known: &Known, field: &str, name: &str) -> Option<String> {
        let mut settings = settings();
        settings.event_types = Vec::new();
        match field {
            "event_types" => settings.event_types = vec![name.parse().unwrap()],
            "sources" => settings.sources = vec![name.to_owned()],
            _ => settings.collections = vec![name.to_owned()],
        }
        let unknown = known.unknown_names(&settings);
        assert!(unknown.iter().all(|unknown| unknown.pointer == format!("/{field}/0") && unknown.name == name));
        unknown.into_iter().next().map(|unknown| unknown.nearest.unwrap_or_default())
    }

    #[rstest]
    #[case::everything("event_types", "*")]
    #[case::of_a_source("event_types", "packet.updated")]
    #[case::other_name("event_types", "packet.changed")]
    #[case::soft_deletion("event_types", "packet.softdeleted")]
    #[case::derived("event_types", "packet.status_changed")]
    #[case::derived_of_any("event_types", "*.status_changed")]
    #[case::published("event_types", "invoice.paid")]
    #[case::group("event_types", "invoice.*")]
    #[case::operation("event_types", "*.changed")]
    #[case::operational("event_types", "webhook.paused")]
    #[case::of_superoffice("event_types", "webhookwhk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK.errors")]
    #[case::table("sources", "flows")]
    #[case::published_source("sources", "published")]
    #[case::collection("collections", "packets")]
    #[case::one_of_many("collections", "packets/p1/comments")]
    #[case::template("collections", "packets/{packetId}/comments")]
    #[case::of_published("collections", "invoices")]
    #[case::of_an_inbound_webhook("collections", "inbound/whk_1")]
    fn is_known(#[case] field: &str, #[case] name: &str) {
        assert_eq!(nearest_of(&known(None), field, name), None);
    }

    #[rstest]
    #[case::letters_swapped("event_types", "pakcet.created", "packet.created")]
    #[case::underscore("event_types", "packet_created", "packet.created")]
    #[case::other_case("event_types", "Packet.Created", "packet.created")]
    #[case::plural("event_types", "packets.*", "packet.*")]
    #[case::operation("event_types", "*.udpated", "*.updated")]
    #[case::derived("event_types", "paket.status_changed", "packet.status_changed")]
    #[case::table("sources", "flow", "flows")]
    #[case::collection("collections", "packet", "packets")]
    #[case::path("collections", "packets/p1/comment", "packets/{packetId}/comments")]
    #[case::of_another_tenant("sources", "globex", "flows")]
    #[case::type_of_another_tenant("event_types", "secret.created", "packet.created")]
    fn the_nearest_name_is_found(#[case] field: &str, #[case] name: &str, #[case] nearest: &str) {
        assert_eq!(nearest_of(&known(Some("crm")), field, name).as_deref(), Some(nearest));
    }

    #[rstest]
    #[case::of_a_source("packets/p1", None)]
    #[case::one_of_many("packets/p1/comments/c1", None)]
    #[case::id_with_a_slash("packets/2026/1", None)]
    #[case::of_published("invoices/i1", None)]
    #[case::of_an_inbound_webhook("inbound/whk_1/e1", None)]
    #[case::of_a_webhook("webhooks/whk_1", None)]
    #[case::singular("packet/p1", Some(("packet", "packets")))]
    #[case::letters_swapped("pakcets/p1/comments/c1", Some(("pakcets/p1/comments", "packets/{packetId}/comments")))]
    #[case::of_another_tenant("secrets/s1", Some(("secrets", "packets")))]
    fn an_entity_is_of_a_known_collection(#[case] path: &str, #[case] expected: Option<(&str, &str)>) {
        let unknown = known(Some("crm")).unknown_collection_of(path);
        assert!(unknown.iter().all(|unknown| unknown.pointer == "?entity" && unknown.kind == Kind::Collection));
        let found = unknown.map(|unknown| (unknown.name, unknown.nearest.unwrap_or_default()));
        let found = found.as_ref().map(|(name, nearest)| (name.as_str(), nearest.as_str()));
        assert_eq!(found, expected);
    }

    #[test]
    fn an_application_learns_nothing_of_another() {
        assert_eq!(nearest_of(&known(Some("erp")), "sources", "erp"), None);
        assert_eq!(nearest_of(&known(Some("crm")), "sources", "erp").as_deref(), Some("flows"));
    }

    #[test]
    fn nothing_is_near_if_nothing_is_known() {
        assert_eq!(nearest_of(&Known::default(), "sources", "orders").as_deref(), Some(""));
    }

    #[test]
    fn types_are_not_judged_if_there_are_too_many_to_know() {
        let known = Known { more_types: true, ..Known::default() };
        assert_eq!(nearest_of(&known, "event_types", "a.b"), None);
    }

    #[test]
    fn a_long_list_is_compared_in_part() {
        let mut settings = settings();
        settings.sources = (0..50).map(|n| format!("table{n}")).collect();
        settings.event_types = Vec::new();
        assert_eq!(known(None).unknown_names(&settings).len(), MAX_NAMES);
    }
}
