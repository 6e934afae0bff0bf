//! Related values: what payloads contain next to an entity.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::MapError;
use super::template::Template;
use crate::fault::{FieldError, step};
use crate::payload::PayloadFormat;
use crate::value::{Map, Value};

/// The largest number of related values of a kind.
const MAX_RELATED: usize = 100;

/// The largest number of queries of a kind. Fan-out makes each of them for each event.
const MAX_QUERIES: usize = 3;

/// The largest number of attributes of a found item that a query may name.
const MAX_ATTRIBUTES: usize = 100;

/// The largest number of items of a query, and the default.
const MAX_LIMIT: u32 = 100;
const DEFAULT_LIMIT: u32 = 50;

/// The related value that is an empty list if an item lacks it.
const COMMENTS: &str = "entityComments";

/// The end of the name under which a payload says that a query found more than it shows.
pub(super) const MORE: &str = "More";

/// Where a related value comes from: an attribute of the item, or a query of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "must be the name of an attribute, or a query with the key attributes that it needs")]
#[schema(as = RelatedValue)]
pub enum Related {
    /// The name of an attribute of the item.
    Attribute(String),
    /// A query of the table that the item is in.
    Query(RelatedQuery),
}

/// A query of the table that an item is in. The result is a list of items, in the order of their sort keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RelatedQuery {
    /// The key: the partition key with a template for its value, and perhaps the sort key with a template for its
    /// beginning. Both must be texts.
    #[schema(schema_with = query_schema, examples(json!({"pk": "THREAD#{thread_id}", "sk": {"prefix": "COMMENT#"}})))]
    pub query: BTreeMap<String, KeyCondition>,
    /// The index to query. Default: the table itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 3, max_length = 255, examples("by_thread"))]
    pub index: Option<String>,
    /// The attributes of the items that payloads contain. Default: all that are not redacted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100, examples(json!(["id", "content"])))]
    pub attributes: Vec<String>,
    /// The largest number of items.
    #[serde(default = "default_limit")]
    #[schema(minimum = 1, maximum = 100, default = 50)]
    pub limit: u32,
}

const fn default_limit() -> u32 {
    DEFAULT_LIMIT
}

/// Returns the schema of a key: each attribute has a template, or an object with the template of its beginning.
fn query_schema() -> utoipa::openapi::Schema {
    use utoipa::openapi::Schema;
    use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, OneOfBuilder, Type};

    let template = || ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255));
    let prefix = ObjectBuilder::new().schema_type(Type::Object).property("prefix", template()).required("prefix");
    let prefix = prefix.additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
    let condition = OneOfBuilder::new().item(template()).item(prefix).build();
    let conditions = ObjectBuilder::new().schema_type(Type::Object).min_properties(Some(1)).max_properties(Some(2));
    conditions.additional_properties(Some(Schema::OneOf(condition))).build().into()
}

/// What a key attribute must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be a template, or an object with a template as `prefix`")]
pub enum KeyCondition {
    /// The value of the partition key: a template.
    Equals(Template),
    /// The beginning of the sort key.
    Prefix(KeyPrefix),
}

/// The beginning of a sort key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPrefix {
    /// A template.
    pub prefix: Template,
}

/// A query for an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[schema(as = RelatedLookup)]
pub struct Lookup {
    /// The name of the list in payloads.
    #[schema(examples("entityComments"))]
    pub name: String,
    /// The index; `null` for the table itself.
    pub index: Option<String>,
    /// The partition key and its value.
    pub partition: KeyPart,
    /// The sort key and its beginning, if the query has one.
    pub sort: Option<KeyPart>,
    /// The largest number of items.
    pub limit: u32,
    /// The position of the event's kind in the source.
    #[serde(skip)]
    pub(super) kind: usize,
}

/// An attribute of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[schema(as = RelatedKeyPart)]
pub struct KeyPart {
    /// The name of the attribute.
    #[schema(examples("pk"))]
    pub attribute: String,
    /// Its value, or the beginning of it.
    #[schema(examples("THREAD#t1"))]
    pub value: String,
}

/// What a query found that an event may show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The items, in the order of their sort keys.
    pub items: Vec<Map>,
    /// Whether there are more.
    pub more: bool,
}

impl RelatedQuery {
    pub(super) fn lookup(&self, name: &str, kind: usize, image: &Map) -> Result<Option<Lookup>, MapError> {
        const ROLE: &str = "related items";
        let (mut partition, mut sort) = (None, None);
        for (attribute, condition) in &self.query {
            let part = |template: &Template| {
                Ok(Some(KeyPart { attribute: attribute.clone(), value: template.fill(image, ROLE)? }))
            };
            match condition {
                KeyCondition::Equals(template) => partition = part(template)?,
                KeyCondition::Prefix(KeyPrefix { prefix }) => sort = part(prefix)?,
            }
        }
        let (name, index, limit) = (name.to_owned(), self.index.clone(), self.limit);
        Ok(partition.map(|partition| Lookup { name, index, partition, sort, limit, kind }))
    }

    fn check(&self, pointer: &str, faults: &mut Vec<FieldError>) {
        let mut fault =
            |field: &str, detail: String| faults.push(FieldError::new(&format!("{pointer}{field}"), detail));
        let equal = self.query.values().filter(|condition| matches!(condition, KeyCondition::Equals(_))).count();
        if equal != 1 || self.query.len() > 2 {
            let detail = "must have a template for the partition key, and at most one `prefix`, for the sort key";
            fault("/query", detail.to_owned());
        }
        for name in self.query.keys().filter(|name| !(1..=255).contains(&name.len())) {
            fault(
                &format!("/query{}", step(name)),
                "must be the name of a key attribute, of 1 to 255 bytes".to_owned(),
            );
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if self.index.as_ref().is_some_and(|name| !(3..=255).contains(&name.len()) || !name.bytes().all(is_name)) {
            fault("/index", "must be the name of an index: 3 to 255 characters of A-Z a-z 0-9 _ . -".to_owned());
        }
        if self.attributes.len() > MAX_ATTRIBUTES {
            fault("/attributes", format!("must have at most {MAX_ATTRIBUTES} entries"));
        }
        for (index, _) in self.attributes.iter().enumerate().filter(|(_, name)| !(1..=255).contains(&name.len())) {
            fault(&format!("/attributes/{index}"), "must be 1 to 255 bytes".to_owned());
        }
        if !(1..=MAX_LIMIT).contains(&self.limit) {
            fault("/limit", format!("must be 1 to {MAX_LIMIT}"));
        }
    }
}

/// Removes and returns the related attributes. The Flows guide has a list of comments in every payload of a comment. The
/// lists of queries are empty until fan-out fills them.
pub(super) fn take(related: &BTreeMap<String, Related>, properties: &mut Map) -> Map {
    let related = related.iter().filter_map(|(name, related)| {
        let empty = || Value::List(Vec::new());
        let Related::Attribute(attribute) = related else { return Some((name.clone(), empty())) };
        let value = properties.remove(attribute);
        let no_comments = (name == COMMENTS).then(empty);
        Some((name.clone(), value.filter(|value| name != COMMENTS || *value != Value::Null).or(no_comments)?))
    });
    related.collect()
}

/// Returns the queries, by the names of their lists.
pub(super) fn queries(related: &BTreeMap<String, Related>) -> impl Iterator<Item = (&String, &RelatedQuery)> {
    related.iter().filter_map(|(name, related)| match related {
        Related::Query(query) => Some((name, query)),
        Related::Attribute(_) => None,
    })
}

/// Checks the related values of the kind at that pointer.
pub(super) fn check(related: &BTreeMap<String, Related>, pointer: &str, faults: &mut Vec<FieldError>) {
    let mut fault = |field: &str, detail: String| faults.push(FieldError::new(&format!("{pointer}{field}"), detail));
    if related.len() > MAX_RELATED {
        fault("/related", format!("must have at most {MAX_RELATED} entries"));
    }
    if queries(related).count() > MAX_QUERIES {
        fault("/related", format!("must have at most {MAX_QUERIES} queries, because each is made for each event"));
    }
    let is_reserved = |name: &str| PayloadFormat::Change.reserved().contains(&name);
    for (name, value) in related {
        let at = format!("/related{}", step(name));
        let (is_attribute, more) = match value {
            Related::Attribute(attribute) => ((1..=255).contains(&attribute.len()), None),
            Related::Query(_) => (true, Some(format!("{name}{MORE}"))),
        };
        if !(1..=64).contains(&name.len()) || !is_attribute {
            fault(&at, "must map a name of 1 to 64 bytes to an attribute or a query".to_owned());
        } else if is_reserved(name) {
            fault(&at, "must not have the name of a field of the payload".to_owned());
        } else if let Some(more) = more.filter(|more| is_reserved(more) || related.contains_key(more)) {
            fault(&at, format!("must have another name: {more} says that there are more items"));
        }
    }
    for (name, query) in queries(related) {
        query.check(&format!("{pointer}/related{}", step(name)), faults);
    }
}
