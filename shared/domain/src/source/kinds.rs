//! The kinds of entities that tables have for a tenant: what its webhooks can ask for.

use std::collections::{BTreeMap, BTreeSet};

use super::Source;
use crate::access::tenant::{AppId, TenantId};
use crate::event::types::{EventType, Operation};

/// A kind of entity of a table. It has nothing of the mapping but what payloads and events show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityKind {
    /// The first word of its event types.
    pub entity: String,
    /// Its name in payloads.
    pub key: String,
    /// The table.
    pub source: String,
    /// The path of its collection, with attributes in braces.
    pub collection: String,
}

/// The operations of which a table makes events.
const OPERATIONS: [Operation; 3] = [Operation::Created, Operation::Updated, Operation::Deleted];

/// Returns the kinds whose entities may belong to the tenant, and to the application if one asks, by entity and table.
#[must_use]
pub fn entity_kinds(sources: &[Source], tenant: &TenantId, app: Option<&AppId>) -> Vec<EntityKind> {
    let all = sources.iter().flat_map(|source| source.entities.iter().map(move |mapping| (source, mapping)));
    let concerned = all.filter(|(_, mapping)| mapping.may_concern(tenant, app));
    let mut kinds: Vec<_> = concerned
        .map(|(source, mapping)| EntityKind {
            entity: mapping.entity.to_string(),
            key: mapping.entity_key.clone().unwrap_or_else(|| mapping.entity.to_string()),
            source: source.table.clone(),
            collection: mapping.collection.to_string(),
        })
        .collect();
    kinds.sort_by(|one, other| {
        (&one.entity, &one.source, &one.collection).cmp(&(&other.entity, &other.source, &other.collection))
    });
    kinds.dedup();
    kinds
}

impl EntityKind {
    /// Returns the types of its events: created, updated and deleted.
    pub fn event_types(&self) -> impl Iterator<Item = EventType> + '_ {
        OPERATIONS.into_iter().filter_map(|operation| format!("{}.{}", self.entity, operation.as_str()).parse().ok())
    }
}

/// Returns the event types of the kinds, each with the tables that make it.
#[must_use]
pub fn made_types(kinds: &[EntityKind]) -> BTreeMap<EventType, BTreeSet<&str>> {
    let mut types: BTreeMap<EventType, BTreeSet<&str>> = BTreeMap::new();
    for kind in kinds {
        for event_type in kind.event_types() {
            types.entry(event_type).or_default().insert(&kind.source);
        }
    }
    types
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn kinds(app: Option<&str>) -> Vec<EntityKind> {
        let sources = serde_json::json!([
            {"table": "shop", "entities": [
                {"when": {"attribute": "sk", "prefix": "O#"}, "entity": "order", "tenant": "{pk:ORG#}", "id": "{id}", "collection": "orders"},
                {"entity": "line", "tenant": "{pk:ORG#}", "id": "{id}", "collection": "orders/{order}/lines", "entity_key": "order lines"}]},
            {"table": "globex", "entities": [{"entity": "secret", "tenant": "globex", "id": "{id}", "collection": "secrets"}]},
            {"table": "erp", "entities": [{"entity": "order", "tenant": "{t}", "app": "erp", "id": "{id}", "collection": "orders"}]},
        ]);
        let sources: Vec<Source> = serde_json::from_value(sources).unwrap();
        let app = app.map(|app| app.parse().unwrap());
        entity_kinds(&sources, &"acme".parse().unwrap(), app.as_ref())
    }

    #[rstest]
    #[case::of_the_tenant(None, &["line of shop", "order of erp", "order of shop"])]
    #[case::of_an_application(Some("crm"), &["line of shop", "order of shop"])]
    #[case::of_its_application(Some("erp"), &["line of shop", "order of erp", "order of shop"])]
    fn a_tenant_and_an_application_see_their_own(#[case] app: Option<&str>, #[case] expected: &[&str]) {
        let kinds: Vec<_> = kinds(app).iter().map(|kind| format!("{} of {}", kind.entity, kind.source)).collect();
        assert_eq!(kinds, expected);
    }

    #[test]
    fn a_kind_has_three_types_and_the_names_that_payloads_show() {
        let kinds = kinds(None);
        assert_eq!((kinds[0].key.as_str(), kinds[0].collection.as_str()), ("order lines", "orders/{order}/lines"));
        let types = made_types(&kinds);
        let order = types.get(&"order.deleted".parse().unwrap()).unwrap();
        assert_eq!(order.iter().copied().collect::<Vec<_>>(), ["erp", "shop"]);
        assert_eq!(types.len(), 6);
    }
}
