//! What must be queried for an event, and what the answers add to it.
//!
//! Fan-out makes the queries and keeps the result, so that an event stays a function of its record and of what was kept
//! (docs/adr/0029-times-and-related-items.md).

use super::error::MapError;
use super::mapping::Mapping;
use super::related::{Answer, Lookup, MORE, RelatedQuery, queries};
use super::{Images, Source};
use crate::event::Event;
use crate::value::{Map, Value};

/// The most bytes of JSON that the items which queries find for one event have together.
pub const MAX_BYTES: usize = 100 * 1024;

fn queries_of(mapping: &Mapping) -> impl Iterator<Item = (&String, &RelatedQuery)> {
    queries(&mapping.related)
}

impl Source {
    /// Returns whether some kind has related items that must be queried.
    #[must_use]
    pub fn has_queries(&self) -> bool {
        self.entities.iter().any(|mapping| queries(&mapping.related).next().is_some())
    }

    /// Returns the queries for an event that a change with these images made. Templates read the image that the event
    /// shows as its latest.
    ///
    /// # Errors
    ///
    /// If the image lacks an attribute that a template names.
    pub fn lookups(&self, event: &Event, images: &Images) -> Result<Vec<Lookup>, MapError> {
        let image = match images {
            Images::Modify(old, _) if event.new.is_none() => old,
            Images::Insert(image) | Images::Modify(_, image) | Images::Remove(image) => image,
        };
        let selects = |mapping: &Mapping| mapping.when.as_ref().is_none_or(|when| when.holds(image));
        let Some(kind) = self.entities.iter().position(selects) else { return Ok(Vec::new()) };
        let queries = self.entities.get(kind).into_iter().flat_map(queries_of);
        queries.filter_map(|(name, query)| query.lookup(name, kind, image).transpose()).collect()
    }

    /// Returns what an event may show of the items that a query found. An item is redacted as its own kind says, and as
    /// the kind of the event says. An item without a kind is left out, and so is one that its kind gives to another
    /// tenant or application, or to none. Items that do not fit into [`MAX_BYTES`] are left out too, and no item after
    /// them is read. The answer is the same for all events of a tenant and application.
    ///
    /// # Errors
    ///
    /// If an item cannot be read.
    pub fn shown<E>(
        &self,
        event: &Event,
        Lookup { name, kind, .. }: &Lookup,
        items: impl Iterator<Item = Result<Map, E>>,
        mut more: bool,
    ) -> Result<Answer, E> {
        let asking = self.entities.get(*kind);
        let query = asking.into_iter().flat_map(queries_of).find(|(of, _)| *of == name);
        let attributes = query.map(|(_, query)| query.attributes.as_slice()).unwrap_or_default();
        let (mut shown, mut room) = (Vec::new(), MAX_BYTES);
        for item in items {
            let mut item = item?;
            let selects = |mapping: &&Mapping| mapping.when.as_ref().is_none_or(|when| when.holds(&item));
            let kind = self.entities.iter().find(selects);
            if kind.is_none_or(|kind| !concerns(kind, &item, event)) {
                continue;
            }
            kind.into_iter().chain(asking).for_each(|mapping| mapping.redact(&mut item));
            if !attributes.is_empty() {
                item.retain(|name, _| attributes.contains(name));
            }
            let Some(left) = room.checked_sub(bytes(&item)) else {
                more = true;
                break;
            };
            room = left;
            shown.push(item);
        }
        Ok(Answer { items: shown, more })
    }
}

/// Returns the related values of an event from the [answers](Source::shown) to its queries, by the names of their lists,
/// and how many bytes of JSON the items have. Items that do not fit into [`MAX_BYTES`] together are left out, those of
/// the last query first, and `<name>More` is true if a query has more items than are shown.
#[must_use]
pub fn related<'a>(answers: impl IntoIterator<Item = (&'a str, &'a Answer)>) -> (Map, usize) {
    let (mut related, mut room) = (Map::new(), MAX_BYTES);
    for (name, answer) in answers {
        let mut shown = Vec::new();
        for item in &answer.items {
            let Some(left) = room.checked_sub(bytes(item)) else { break };
            room = left;
            shown.push(Value::Map(item.clone()));
        }
        if answer.more || shown.len() < answer.items.len() {
            related.insert(format!("{name}{MORE}"), Value::Bool(true));
        }
        related.insert(name.to_owned(), Value::List(shown));
    }
    (related, MAX_BYTES - room)
}

/// Removes kept values that the mapping no longer queries. Without that, a kept value would win over an attribute that
/// has its name since.
pub fn retain_queried(kept: &mut Map, lookups: &[Lookup]) {
    kept.retain(|name, _| {
        let is_mark = |lookup: &Lookup| name.strip_suffix(MORE).is_some_and(|list| list == lookup.name);
        lookups.iter().any(|lookup| *name == lookup.name || is_mark(lookup))
    });
}

/// Returns how many bytes of JSON a map has.
fn bytes(map: &Map) -> usize {
    serde_json::to_string(map).map_or(usize::MAX, |json| json.len())
}

/// Returns whether an item of that kind belongs to the tenant of an event, and to no other application.
fn concerns(kind: &Mapping, item: &Map, event: &Event) -> bool {
    let place = kind.place(item);
    place.is_ok_and(|place| place.tenant == event.tenant && (place.app.is_none() || place.app == event.app))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::source::Change;
    use crate::source::related::Related;
    use crate::value::tests::map;

    fn source(related: &serde_json::Value) -> Source {
        let comment = json!({
            "when": {"attribute": "sk", "prefix": "COMMENT#"}, "entity": "comment", "tenant": "{tenant}", "id": "{sk:COMMENT#}",
            "collection": "threads/{thread}/comments", "redact": ["secret"], "related": related,
        });
        let thread = json!({"entity": "thread", "tenant": "acme", "id": "{sk}", "collection": "threads"});
        serde_json::from_value(json!({"table": "threads", "entities": [comment, thread]})).unwrap()
    }

    fn query() -> serde_json::Value {
        json!({"entityComments": {"query": {"pk": "THREAD#{thread}", "sk": {"prefix": "COMMENT#"}}}})
    }

    fn comment(thread: &str) -> Map {
        map(&json!({"sk": "COMMENT#c1", "thread": thread, "tenant": "acme", "secret": "s", "text": "Done?"}))
    }

    fn change(images: Images) -> Change {
        let at = jiff::Timestamp::UNIX_EPOCH;
        Change { stream_event_id: "1".to_owned(), sequence: "1".to_owned(), at, expired: false, images }
    }

    fn lookups(source: &Source, images: &Images) -> Result<Vec<(String, String)>, MapError> {
        let mut found = Vec::new();
        for event in source.events(change(images.clone())).unwrap() {
            let lookups = source.lookups(&event, images)?;
            found.extend(lookups.into_iter().map(|lookup| (event.entity.path(), lookup.partition.value)));
        }
        Ok(found)
    }

    #[test]
    fn an_event_is_looked_up_by_the_image_that_it_shows() {
        let source = source(&query());
        let (old, new) = (comment("t1"), comment("t2"));
        let t1 = ("threads/t1/comments/c1".to_owned(), "THREAD#t1".to_owned());
        let t2 = ("threads/t2/comments/c1".to_owned(), "THREAD#t2".to_owned());
        assert_eq!(lookups(&source, &Images::Insert(old.clone())).unwrap(), std::slice::from_ref(&t1));
        assert_eq!(lookups(&source, &Images::Remove(old.clone())).unwrap(), std::slice::from_ref(&t1));
        assert_eq!(lookups(&source, &Images::Modify(old, new)).unwrap(), [t1, t2], "it moved");
        let thread = map(&json!({"sk": "t1"}));
        assert_eq!(lookups(&source, &Images::Insert(thread)).unwrap(), [], "another kind has no query");
    }

    #[test]
    fn a_template_without_its_attribute_fails() {
        let related = json!({"notes": {"query": {"pk": "{author}"}}});
        let error = lookups(&source(&related), &Images::Insert(comment("t1"))).unwrap_err().to_string();
        assert_eq!(error, "the item has no attribute \"author\", which the source names for its related items");
    }

    #[test]
    fn the_list_is_empty_until_it_is_queried() {
        let event = source(&query()).events(change(Images::Insert(comment("t1")))).unwrap().remove(0);
        assert_eq!(event.entity.related, map(&json!({"entityComments": []})));
    }

    fn related(source: &Source, items: &serde_json::Value, more: bool) -> Map {
        let images = Images::Insert(comment("t1"));
        let event = source.events(change(images.clone())).unwrap().remove(0);
        let lookup = source.lookups(&event, &images).unwrap().remove(0);
        let items = items.as_array().unwrap().iter().map(|item| Ok::<_, ()>(map(item)));
        let answer = source.shown(&event, &lookup, items, more).unwrap();
        super::related([(lookup.name.as_str(), &answer)]).0
    }

    #[rstest]
    #[case::redacted(
        json!([{"sk": "COMMENT#c2", "thread": "t1", "tenant": "acme", "secret": "s"}]),
        false,
        json!({"entityComments": [{"sk": "COMMENT#c2", "thread": "t1", "tenant": "acme"}]})
    )]
    #[case::of_another_tenant(json!([{"sk": "COMMENT#c2", "thread": "t1", "tenant": "globex"}]), false, json!({"entityComments": []}))]
    #[case::of_no_tenant(json!([{"sk": "COMMENT#c2", "thread": "t1"}]), false, json!({"entityComments": []}))]
    #[case::of_another_kind(json!([{"sk": "t1", "secret": "s"}]), false, json!({"entityComments": [{"sk": "t1"}]}))]
    #[case::none(json!([]), false, json!({"entityComments": []}))]
    #[case::more(json!([{"sk": "a"}]), true, json!({"entityComments": [{"sk": "a"}], "entityCommentsMore": true}))]
    fn items_are_redacted_and_of_the_same_tenant(
        #[case] items: serde_json::Value,
        #[case] more: bool,
        #[case] expected: serde_json::Value,
    ) {
        assert_eq!(related(&source(&query()), &items, more), map(&expected));
    }

    /// Without a kind, nothing says whose the item is.
    #[test]
    fn an_item_that_matches_no_kind_is_left_out() {
        let mut source = source(&query());
        source.entities.truncate(1);
        let items = json!([
            {"sk": "COMMENT#c2", "thread": "t1", "tenant": "acme"},
            {"sk": "SECRET#1", "thread": "t1", "tenant": "globex"},
            {"sk": "NOTE#1", "thread": "t1", "tenant": "acme"},
        ]);
        let shown = json!({"entityComments": [{"sk": "COMMENT#c2", "thread": "t1", "tenant": "acme"}]});
        assert_eq!(related(&source, &items, false), map(&shown));
    }

    #[test]
    fn only_named_attributes_are_shown_and_numbers_keep_their_digits() {
        let mut related_query = query();
        related_query["entityComments"]["attributes"] = json!(["n", "secret"]);
        let source = source(&related_query);
        let images = Images::Insert(comment("t1"));
        let event = source.events(change(images.clone())).unwrap().remove(0);
        let lookup = source.lookups(&event, &images).unwrap().remove(0);
        let item = crate::source::image::item(
            r#"{"sk": {"S": "COMMENT#c2"}, "thread": {"S": "t1"}, "tenant": {"S": "acme"}, "n": {"N": "1234567890123456789012345678.50"}, "secret": {"S": "s"}}"#,
        );
        let answer = source.shown(&event, &lookup, std::iter::once(item), false).unwrap();
        let json = serde_json::to_string(&super::related([(lookup.name.as_str(), &answer)]).0).unwrap();
        assert_eq!(json, r#"{"entityComments":[{"n":1234567890123456789012345678.50}]}"#);
    }

    #[test]
    fn what_is_too_large_is_left_out() {
        let large = "x".repeat(MAX_BYTES / 2);
        let found = related(&source(&query()), &json!([{"sk": "a", "text": large}, {"sk": "b", "text": large}]), false);
        assert_eq!((found["entityComments"].get("0"), &found["entityCommentsMore"]), (None, &Value::Bool(true)));
        assert!(matches!(&found["entityComments"], Value::List(shown) if shown.len() == 1));
    }

    /// A page of 1 MB would take much memory.
    #[test]
    fn no_item_is_read_after_one_that_does_not_fit() {
        let (source, images) = (source(&query()), Images::Insert(comment("t1")));
        let event = source.events(change(images.clone())).unwrap().remove(0);
        let lookup = source.lookups(&event, &images).unwrap().remove(0);
        let large = map(&json!({"sk": "a", "text": "x".repeat(MAX_BYTES / 2)}));
        let mut read = 0;
        let items = std::iter::repeat_with(|| {
            read += 1;
            Ok::<_, ()>(large.clone())
        });
        let answer = source.shown(&event, &lookup, items.take(10), false).unwrap();
        assert_eq!((answer.items.len(), answer.more, read), (1, true, 2));
        let fails = source.shown(&event, &lookup, std::iter::once(Err("no item")), false);
        assert_eq!(fails, Err("no item"));
    }

    #[test]
    fn the_last_query_gives_way_to_the_first() {
        let answer = |bytes: usize| Answer { items: vec![map(&json!({"text": "x".repeat(bytes)}))], more: false };
        let (found, bytes) = super::related([("first", &answer(MAX_BYTES / 2)), ("last", &answer(MAX_BYTES / 2))]);
        assert!(matches!(&found["first"], Value::List(shown) if shown.len() == 1));
        assert_eq!((&found["last"], &found["lastMore"]), (&Value::List(Vec::new()), &Value::Bool(true)));
        assert_eq!((bytes, found.contains_key("firstMore")), (MAX_BYTES / 2 + r#"{"text":""}"#.len(), false));
    }

    #[test]
    fn a_kept_list_that_is_no_longer_queried_is_not_shown() {
        let images = Images::Insert(comment("t1"));
        let source = source(&query());
        let event = source.events(change(images.clone())).unwrap().remove(0);
        let lookups = source.lookups(&event, &images).unwrap();
        let mut kept = map(&json!({"entityComments": [], "entityCommentsMore": true, "notes": [], "notesMore": true}));
        retain_queried(&mut kept, &lookups);
        assert_eq!(kept, map(&json!({"entityComments": [], "entityCommentsMore": true})));
        retain_queried(&mut kept, &[]);
        assert_eq!(kept, Map::new());
    }

    #[rstest]
    #[case::no_partition_key(json!({"query": {"sk": {"prefix": "a"}}}), &["/related/list/query"])]
    #[case::two_partition_keys(json!({"query": {"a": "a", "b": "b"}}), &["/related/list/query"])]
    #[case::three_keys(json!({"query": {"a": "a", "b": {"prefix": "b"}, "c": {"prefix": "c"}}}), &["/related/list/query"])]
    #[case::nothing(json!({"query": {}}), &["/related/list/query"])]
    #[case::all_at_once(
        json!({"query": {"": "a"}, "index": "a b", "attributes": ["a", ""], "limit": 101}),
        &["/related/list/query/", "/related/list/index", "/related/list/attributes/1", "/related/list/limit"]
    )]
    #[case::no_items(json!({"query": {"pk": "a"}, "limit": 0}), &["/related/list/limit"])]
    fn names_the_invalid_field(#[case] query: serde_json::Value, #[case] pointers: &[&str]) {
        let faults = source(&json!({"list": query})).check();
        let found: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(found, pointers.iter().map(|pointer| format!("/entities/0{pointer}")).collect::<Vec<_>>());
    }

    #[rstest]
    #[case::too_many(json!({"a": {"query": {"pk": "a"}}, "b": {"query": {"pk": "a"}}, "c": {"query": {"pk": "a"}}, "d": {"query": {"pk": "a"}}}), "/entities/0/related")]
    #[case::reserved(json!({"data": {"query": {"pk": "a"}}}), "/entities/0/related/data")]
    #[case::name_of_the_mark(json!({"list": {"query": {"pk": "a"}}, "listMore": "more"}), "/entities/0/related/list")]
    fn names_of_queries_are_checked(#[case] related: serde_json::Value, #[case] pointer: &str) {
        let faults = source(&related).check();
        assert_eq!(faults.iter().map(|fault| fault.pointer.as_str()).collect::<Vec<_>>(), [pointer]);
    }

    #[rstest]
    #[case::no_template(json!({"query": {"pk": 1}}))]
    #[case::unknown_field(json!({"query": {"pk": "a"}, "order": "down"}))]
    #[case::unknown_condition(json!({"query": {"pk": {"suffix": "a"}}}))]
    #[case::not_a_template(json!({"query": {"pk": "{"}}))]
    #[case::without_a_query(json!({"index": "by_thread"}))]
    fn what_is_no_query_is_refused(#[case] query: serde_json::Value) {
        assert!(serde_json::from_value::<Related>(query).is_err());
    }

    #[test]
    fn a_mapping_is_read_as_it_was_written() {
        for related in [
            query(),
            json!({"entityComments": "thread", "list": {"query": {"pk": "{a}"}, "index": "abc", "attributes": ["x"], "limit": 7}}),
        ] {
            let source = source(&related);
            let text = serde_json::to_string(&source).unwrap();
            assert_eq!(serde_json::from_str::<Source>(&text).unwrap(), source);
        }
    }

    proptest! {
        /// Whatever is found, the result fits, and says when it is not everything.
        #[test]
        fn a_result_fits_and_is_complete_or_says_so(sizes in prop::collection::vec(0..40_000_usize, 0..12), more: bool) {
            let items: Vec<_> = sizes.iter().map(|size| json!({"sk": "a", "text": "x".repeat(*size)})).collect();
            let found = related(&source(&query()), &json!(items), more);
            let Value::List(shown) = &found["entityComments"] else { panic!("it is a list") };
            let bytes: usize = shown.iter().map(|item| serde_json::to_string(item).unwrap().len()).sum();
            prop_assert!(bytes <= MAX_BYTES);
            prop_assert_eq!(found.contains_key("entityCommentsMore"), more || shown.len() < items.len());
        }
    }
}
