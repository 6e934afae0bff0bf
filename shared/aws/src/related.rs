//! Items that are related to an event: they are queried in the source's table, and kept in the Events table, so that
//! processing the event again gives the same bytes.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::id::EventId;
use domain::source::image::Image;
use domain::source::related::Lookup;
use domain::value::Map;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::StoreError;
use crate::bodies::{pack, unpack};
use crate::error::is_conflict;
use crate::items::{IS_NEW, Item, from_item, live_at, text, to_item};

/// How long a result is kept, as long as a body. A batch that Lambda gave up is in its bucket for 30 days, and a record
/// that fails again after it was sent again is in the queue for another 14 days.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 60);

/// Queries of sources' tables, and their results in the Events table.
#[derive(Debug, Clone)]
pub struct RelatedItems {
    client: Client,
    events_table: String,
}

/// The related values of an event. Its `kind` is not one that the table's stream passes to fan-out. Renaming a field is
/// a migration.
#[derive(Debug, Serialize, Deserialize)]
struct RelatedItem {
    pk: String,
    sk: String,
    v: u8,
    kind: String,
    #[serde(with = "serde_bytes")]
    zstd: Vec<u8>,
    expires_at: i64,
}

/// What a query found. The items are converted one by one, because they take much more memory afterwards.
#[derive(Debug)]
pub struct Page {
    table: String,
    items: Vec<Item>,
    /// Whether there are more.
    pub more: bool,
}

impl Page {
    /// Returns the items, in the order of their sort keys.
    pub fn items(self) -> impl Iterator<Item = Result<Map, StoreError>> {
        let table = self.table;
        self.items.into_iter().map(move |item| {
            let invalid = |why: String| StoreError::inconsistent(format!("an item of table {table}"), why);
            let json = item.iter().map(|(name, value)| (name.clone(), typed(value)));
            let json = json!(json.collect::<serde_json::Map<_, _>>());
            let image: Image = serde_json::from_value(json).map_err(|error| invalid(error.to_string()))?;
            image.read().map_err(invalid).map(Option::unwrap_or_default)
        })
    }
}

impl RelatedItems {
    pub(crate) fn new(client: Client, events_table: String) -> Self {
        Self { client, events_table }
    }

    /// Makes a query of a source's table, which reads at most one page of DynamoDB. A read of the table is consistent;
    /// one of an index may be behind.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if the query is not allowed or does not suit the table, so that every retry fails too.
    /// Otherwise the table is unavailable.
    pub async fn query(&self, table: &str, lookup: &Lookup) -> Result<Page, StoreError> {
        let limit = usize::try_from(lookup.limit).unwrap_or(usize::MAX);
        let query = self.client.query().table_name(table).set_index_name(lookup.index.clone());
        let query = query
            .consistent_read(lookup.index.is_none())
            // One more shows whether there are more.
            .limit(i32::try_from(lookup.limit).unwrap_or(i32::MAX).saturating_add(1))
            .expression_attribute_names("#partition", &lookup.partition.attribute)
            .expression_attribute_values(":partition", text(&lookup.partition.value));
        let query = match &lookup.sort {
            Some(sort) => query
                .key_condition_expression("#partition = :partition AND begins_with(#sort, :sort)")
                .expression_attribute_names("#sort", &sort.attribute)
                .expression_attribute_values(":sort", text(&sort.value)),
            None => query.key_condition_expression("#partition = :partition"),
        };
        let answer = query.send().await.map_err(|error| {
            let code = error.as_service_error().and_then(|error| error.code());
            match code.and_then(|code| refused(code, table, lookup)) {
                Some(why) => StoreError::Refused(why),
                None => StoreError::unavailable(&error),
            }
        })?;
        let is_page = answer.last_evaluated_key.as_ref().is_some_and(|key| !key.is_empty());
        let mut items = answer.items.unwrap_or_default();
        let more = has_more(items.len(), limit, is_page);
        items.truncate(limit);
        Ok(Page { table: table.to_owned(), items, more })
    }

    /// Keeps the related values of an event, unless some are kept already, and returns those that are kept.
    ///
    /// # Errors
    ///
    /// If the table is unavailable, or what is kept cannot be read.
    pub async fn keep(&self, event: EventId, related: Map, now: Timestamp) -> Result<Map, StoreError> {
        let json = serde_json::to_string(&related).map_err(|error| StoreError::inconsistent(event, error))?;
        let item = to_item(&RelatedItem {
            pk: format!("RELATED#{event}"),
            sk: "RELATED".to_owned(),
            v: 1,
            kind: "related".to_owned(),
            zstd: pack(&json)?,
            expires_at: (now + KEPT).as_second(),
        })?;
        let put = self.client.put_item().table_name(&self.events_table).set_item(Some(item));
        let put = put.condition_expression(IS_NEW).expression_attribute_values(":live_at", live_at(now));
        let put = put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = put.send().await else { return Ok(related) };
        let kept = error.as_service_error().filter(|error| is_conflict(*error)).map(conflicting);
        match kept {
            Some(Some(item)) => read(event, item),
            Some(None) => Err(StoreError::Conflict { key: event.to_string() }),
            None => Err(StoreError::unavailable(&error)),
        }
    }
}

/// Returns whether a query has more items than its limit, or than the page of 1 MB that was read. Such a page may end
/// after any number of items.
const fn has_more(found: usize, limit: usize, is_page: bool) -> bool {
    found > limit || is_page
}

/// Returns the item with which a write is in conflict.
fn conflicting(error: &aws_sdk_dynamodb::operation::put_item::PutItemError) -> Option<Item> {
    use aws_sdk_dynamodb::operation::put_item::PutItemError;
    if let PutItemError::ConditionalCheckFailedException(failed) = error { failed.item().cloned() } else { None }
}

fn read(event: EventId, item: Item) -> Result<Map, StoreError> {
    let RelatedItem { zstd, .. } = from_item(item)?;
    let json = unpack(&zstd).map_err(|why| StoreError::inconsistent(event, why))?;
    serde_json::from_str(&json).map_err(|error| StoreError::inconsistent(event, error))
}

/// Returns why a query fails for good. Contains names and never values.
fn refused(code: &str, table: &str, Lookup { name, index, partition, sort, .. }: &Lookup) -> Option<String> {
    let target = match index {
        Some(index) => format!("the index {index} of table {table}"),
        None => format!("table {table}"),
    };
    // The code may have a namespace.
    match code.rsplit(['.', '#']).next().unwrap_or(code) {
        "AccessDeniedException" => Some(format!(
            "fan-out may not query {target} for `{name}`: it lacks the permission dynamodb:Query; name the table in the \
             parameter RelatedTables of the main stack, and its key, if it has one, in SourceKeyArns"
        )),
        "ResourceNotFoundException" => Some(format!("there is no {target}, which the source names for `{name}`")),
        "ValidationException" => {
            let sort = sort.iter().map(|sort| format!(" and the sort key {:?}", sort.attribute));
            Some(format!(
                "DynamoDB refuses the query of {target} for `{name}`: it must exist, with the partition key {:?}{}, all of \
                 them texts",
                partition.attribute,
                sort.collect::<String>()
            ))
        }
        _ => None,
    }
}

/// Returns a value in DynamoDB's JSON, in which each value has its type.
#[expect(clippy::wildcard_enum_match_arm, reason = "null, and types that do not exist yet")]
fn typed(value: &AttributeValue) -> serde_json::Value {
    let each = |values: &[AttributeValue]| values.iter().map(typed).collect::<Vec<_>>();
    match value {
        AttributeValue::S(text) => json!({"S": text}),
        AttributeValue::N(digits) => json!({"N": digits}),
        AttributeValue::Bool(value) => json!({"BOOL": value}),
        AttributeValue::B(bytes) => json!({"B": STANDARD.encode(bytes)}),
        AttributeValue::L(values) => json!({"L": each(values)}),
        AttributeValue::M(map) => {
            json!({"M": map.iter().map(|(name, value)| (name.clone(), typed(value))).collect::<serde_json::Map<_, _>>()})
        }
        AttributeValue::Ss(texts) => json!({"SS": texts}),
        AttributeValue::Ns(numbers) => json!({"NS": numbers}),
        AttributeValue::Bs(all) => json!({"BS": all.iter().map(|bytes| STANDARD.encode(bytes)).collect::<Vec<_>>()}),
        _ => json!({"NULL": true}),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::primitives::Blob;
    use domain::source::related::KeyPart;
    use rstest::rstest;

    use super::*;

    fn lookup(index: Option<&str>) -> Lookup {
        let source = json!({"table": "threads", "entities": [{"entity": "comment", "tenant": "acme", "id": "{id}",
            "collection": "comments", "related": {"list": {"query": {"pk": "{id}"}, "index": index}}}]});
        let source: domain::source::Source = serde_json::from_value(source).unwrap();
        let images = domain::source::Images::Insert(domain::source::image::item(r#"{"id": "1"}"#).unwrap());
        let at = Timestamp::UNIX_EPOCH;
        let change = domain::source::Change {
            stream_event_id: String::new(),
            sequence: String::new(),
            at,
            expired: false,
            images: images.clone(),
        };
        let event = source.events(change).unwrap().remove(0);
        source.lookups(&event, &images).unwrap().remove(0)
    }

    #[rstest]
    #[case::denied("AccessDeniedException", None, Some("the permission dynamodb:Query"))]
    #[case::denied_with_namespace("com.amazon.coral.service#AccessDeniedException", None, Some("RelatedTables"))]
    #[case::of_an_index("AccessDeniedException", Some("by_thread"), Some("the index by_thread of table threads"))]
    #[case::no_table("ResourceNotFoundException", None, Some("there is no table threads"))]
    #[case::other_keys("ValidationException", None, Some("with the partition key \"pk\""))]
    #[case::throttled("ProvisionedThroughputExceededException", None, None)]
    #[case::throttled_by_rate("ThrottlingException", None, None)]
    #[case::fault("InternalServerError", None, None)]
    fn a_refusal_says_how_to_mend_it(#[case] code: &str, #[case] index: Option<&str>, #[case] expected: Option<&str>) {
        let why = refused(code, "threads", &lookup(index));
        assert_eq!(why.is_some(), expected.is_some());
        assert!(why.unwrap_or_default().contains(expected.unwrap_or_default()));
    }

    /// One item more than the limit is read.
    #[rstest]
    #[case::everything(2, false, false)]
    #[case::one_more(3, true, true)]
    #[case::exactly_one_more(3, false, true)]
    #[case::a_page_that_ends_before_the_limit(1, true, true)]
    #[case::a_page_that_ends_at_the_limit(2, true, true)]
    fn a_page_that_ends_says_so(#[case] found: usize, #[case] is_page: bool, #[case] more: bool) {
        assert_eq!(has_more(found, 2, is_page), more);
    }

    #[test]
    fn values_keep_their_types() {
        let part = KeyPart { attribute: "pk".to_owned(), value: "v".to_owned() };
        assert_eq!(serde_json::to_value(part).unwrap(), json!({"attribute": "pk", "value": "v"}));
        let value = AttributeValue::M(Item::from([
            ("n".to_owned(), AttributeValue::N("1234567890123456789012345678.50".to_owned())),
            ("l".to_owned(), AttributeValue::L(vec![AttributeValue::Bool(true), AttributeValue::Null(true)])),
            ("b".to_owned(), AttributeValue::B(Blob::new([0]))),
            ("s".to_owned(), AttributeValue::Ss(vec!["b".to_owned(), "a".to_owned()])),
        ]));
        let image: Image = serde_json::from_value(json!({"m": typed(&value)})).unwrap();
        let json = serde_json::to_string(&image.read().unwrap().unwrap()).unwrap();
        assert_eq!(json, r#"{"m":{"b":"AA==","l":[true,null],"n":1234567890123456789012345678.50,"s":["a","b"]}}"#);
    }
}
