//! The keys that subscriptions are indexed under.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};

use crate::access::tenant::AppId;
use crate::event::pattern::EventPattern;
use crate::event::types::Operation;
use crate::matching::filter::Filter;
use crate::matching::subscription::{Subscription, Transition, TypedEvent};
use crate::value::{Map, Value};

/// A property of an event. A subscription is indexed under keys such that every event that it wants has at least one of
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Key<'a> {
    Type(&'a str),
    Collection(&'a str),
    Source(&'a str),
    Operation(Operation),
    Application(&'a AppId),
    /// An attribute that changed.
    Changed(&'a str),
    /// A text in the field whose path has this hash.
    Text(u64, &'a str),
}

/// The hash of a key. The index stores hashes because texts and paths may be long and very many. A collision only adds
/// a candidate.
pub(super) type Hashed = u64;

pub(super) fn hashed(of: &impl Hash) -> Hashed {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// The hash of the names that lead to a field in a filter.
#[derive(Debug, Clone)]
struct Path(DefaultHasher);

impl Path {
    fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        names.into_iter().fold(Self(DefaultHasher::new()), |path, name| path.to(name))
    }

    fn to(&self, name: &str) -> Self {
        let mut path = self.clone();
        name.hash(&mut path.0);
        path
    }

    fn hash(&self) -> u64 {
        self.0.finish()
    }
}

/// Returns the keys of each condition, the most selective ones first. There is always at least one condition: the
/// types.
pub(super) fn conditions(subscription: &Subscription) -> Vec<Vec<Key<'_>>> {
    let Subscription {
        event_types, sources, collections, operations, applications, changed, transitions, filter, ..
    } = subscription;
    let mut conditions: Vec<Vec<Key<'_>>> = Vec::new();
    for (names, texts) in filter.iter().flat_map(Filter::exact_texts) {
        let path = Path::of(names).hash();
        conditions.push(texts.into_iter().map(|text| Key::Text(path, text)).collect());
    }
    conditions.push(transitions.iter().map(transition_key).collect());
    conditions.push(event_types.iter().map(|pattern| Key::Type(pattern.as_str())).collect());
    conditions.push(collections.iter().map(|path| Key::Collection(path)).collect());
    conditions.push(changed.iter().map(|field| Key::Changed(&field.names()[0])).collect());
    conditions.push(applications.iter().map(Key::Application).collect());
    conditions.push(sources.iter().map(|source| Key::Source(source)).collect());
    conditions.push(operations.iter().copied().map(Key::Operation).collect());
    conditions.retain(|keys| !keys.is_empty());
    if conditions.is_empty() {
        conditions.push(vec![Key::Type("*")]);
    }
    conditions
}

fn transition_key(transition: &Transition) -> Key<'_> {
    let text = |state, end: &'_ Option<Value>| {
        end.as_ref()?.as_str()?;
        let names = std::iter::once(state).chain(transition.field.names().iter().map(String::as_str));
        Some(Path::of(names).hash())
    };
    let to = text("value", &transition.to).zip(transition.to.as_ref());
    let end = to.or_else(|| text("oldValue", &transition.from).zip(transition.from.as_ref()));
    match end {
        Some((path, Value::String(end))) => Key::Text(path, end),
        _ => Key::Changed(&transition.field.names()[0]),
    }
}

/// Calls `key` with all keys of the event, some possibly twice.
pub(super) fn for_each_key(seen: &TypedEvent<'_>, texts: &HashMap<u64, usize>, mut key: impl FnMut(Key<'_>)) {
    let event = seen.event;
    EventPattern::texts_matching(&event.event_type).for_each(|text| key(Key::Type(&text)));
    for derived in &seen.derived {
        EventPattern::texts_matching(derived).filter(|text| text != "*").for_each(|text| key(Key::Type(&text)));
    }
    key(Key::Collection(&event.entity.collection));
    event.entity.collection_template.iter().for_each(|template| key(Key::Collection(template)));
    seen.changed.iter().for_each(|name| key(Key::Changed(name)));
    event.app.iter().for_each(|app| key(Key::Application(app)));
    key(Key::Source(&event.source));
    key(Key::Operation(event.operation));
    if texts.is_empty() {
        return;
    }
    let mut text = |path: &Path, text: &str| {
        let path = path.hash();
        if texts.contains_key(&path) {
            key(Key::Text(path, text));
        }
    };
    for (name, value) in [
        ("eventType", event.event_type.as_str()),
        ("operationType", event.operation.as_str()),
        ("source", &event.source),
        ("collectionPath", &event.entity.collection),
        ("entityPath", &event.entity.path()),
        ("entityId", &event.entity.id),
        ("entityKey", &event.entity.key),
    ] {
        text(&Path::of([name]), value);
    }
    if let Some(app) = &event.app {
        text(&Path::of(["applicationId"]), app.as_str());
    }
    for changed in event.update_mask.iter().flatten() {
        text(&Path::of(["updateMask"]), changed);
    }
    for (name, state) in [("value", &event.new), ("oldValue", &event.old)] {
        if let Some(state) = state {
            texts_in(&Path::of([name]), &state.properties, &mut text);
        }
    }
}

fn texts_in(path: &Path, map: &Map, found: &mut impl FnMut(&Path, &str)) {
    for (name, value) in map {
        texts_of(&path.to(name), value, found);
    }
}

fn texts_of(path: &Path, value: &Value, found: &mut impl FnMut(&Path, &str)) {
    match value {
        Value::String(text) => found(path, text),
        Value::List(values) => values.iter().for_each(|value| texts_of(path, value, found)),
        Value::Map(map) => texts_in(path, map, found),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
