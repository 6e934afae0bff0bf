//! Which webhooks of a tenant want an event.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::event::{Event, Operation};
use crate::filter::FilterSet;
use crate::id::WebhookId;
use crate::pattern::EventPattern;
use crate::subscription::{Subscription, Transition};
use crate::tenant::AppId;
use crate::value::{Map, Value};

/// What became of a subscription since a reader last looked.
#[derive(Debug, Clone, PartialEq)]
pub enum SubscriptionChange {
    /// It wants events, as it says now.
    Wants(Box<Subscription>),
    /// It wants nothing any more: disabled or deleted.
    Ended(WebhookId),
}

/// Something that an event has. A subscription stands in the index under keys one of which every event has that it wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Type(String),
    Collection(String),
    Source(String),
    Operation(Operation),
    Application(AppId),
    /// An attribute that changed.
    Changed(String),
    /// A text in a field.
    Text(Path, String),
}

/// The names that lead to a field that filters look at, each with [`END`] after it.
type Path = String;

/// Stands in no name of a field that a filter asks for texts of, or at worst makes two fields one, which is no more than a
/// candidate too many.
const END: char = '\0';

fn path<'a>(names: impl IntoIterator<Item = &'a str>) -> Path {
    names.into_iter().flat_map(|name| name.chars().chain([END])).collect()
}

/// From how many filters under one key on they are looked through at once, and not one by one.
const MANY: usize = 32;

/// Finds the webhooks of one tenant that want an event.
///
/// A subscription stands under the keys of one of its conditions, that which fewest others stand under: so an event is
/// compared with few webhooks that do not want it, however many there are. Where many filters share a key, because none asks
/// for a text that the others do not, an automaton of them all names the few that may hold.
#[derive(Debug, Default)]
pub struct Matcher {
    subscriptions: HashMap<WebhookId, Kept>,
    index: HashMap<Key, Bucket>,
    /// The fields whose texts are keys, and of how many subscriptions: no other field of an event is looked at.
    texts: HashMap<Path, usize>,
    /// What all of it takes, by estimate.
    bytes: usize,
}

/// A subscription, the keys that it stands under, and what it takes.
#[derive(Debug)]
struct Kept {
    subscription: Arc<Subscription>,
    keys: Vec<Key>,
    bytes: usize,
}

/// The subscriptions under one key.
#[derive(Debug, Default)]
struct Bucket {
    plain: HashSet<WebhookId>,
    filtered: HashSet<WebhookId>,
    /// The filters of the second, if they are many; made when it is first needed.
    automaton: Option<Box<FilterSet<WebhookId>>>,
}

impl Bucket {
    fn len(&self) -> usize {
        self.plain.len() + self.filtered.len()
    }
}

impl Matcher {
    /// Brings the matcher up to date.
    pub fn apply(&mut self, change: SubscriptionChange) {
        match change {
            SubscriptionChange::Wants(subscription) => {
                self.remove(subscription.webhook);
                self.insert(*subscription);
            }
            SubscriptionChange::Ended(webhook) => self.remove(webhook),
        }
    }

    /// Returns how many subscriptions it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.subscriptions.len()
    }

    /// Returns about how many bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Says whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    fn remove(&mut self, webhook: WebhookId) {
        let Some(Kept { keys, bytes, .. }) = self.subscriptions.remove(&webhook) else { return };
        self.bytes -= bytes;
        for key in keys {
            if let Key::Text(path, _) = &key
                && let Some(count) = self.texts.get_mut(path)
            {
                *count -= 1;
                if *count == 0 {
                    self.texts.remove(path);
                }
            }
            if let Some(bucket) = self.index.get_mut(&key) {
                bucket.plain.remove(&webhook);
                if bucket.filtered.remove(&webhook) {
                    bucket.automaton = None;
                }
                if bucket.len() == 0 {
                    self.index.remove(&key);
                }
            }
        }
    }

    fn insert(&mut self, subscription: Subscription) {
        let crowd = |keys: &Vec<Key>| keys.iter().map(|key| self.index.get(key).map_or(0, Bucket::len)).sum::<usize>();
        let keys = conditions(&subscription).into_iter().min_by_key(crowd).unwrap_or_default();
        for key in &keys {
            if let Key::Text(path, _) = key {
                *self.texts.entry(path.clone()).or_default() += 1;
            }
            let bucket = self.index.entry(key.clone()).or_default();
            if subscription.filter.is_some() {
                bucket.filtered.insert(subscription.webhook);
                bucket.automaton = None;
            } else {
                bucket.plain.insert(subscription.webhook);
            }
        }
        let bytes = estimate(&subscription, keys.len());
        self.bytes += bytes;
        let kept = Kept { subscription: Arc::new(subscription), keys, bytes };
        self.subscriptions.insert(kept.subscription.webhook, kept);
    }

    /// Returns the webhooks that want the event, each once and in the order of their ids.
    pub fn matching(&mut self, event: &Event) -> Vec<Arc<Subscription>> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut candidates = BTreeSet::new();
        for key in keys_of(event, &self.texts) {
            let Some(bucket) = self.index.get_mut(&key) else { continue };
            candidates.extend(&bucket.plain);
            if bucket.filtered.len() < MANY {
                candidates.extend(&bucket.filtered);
                continue;
            }
            let subscriptions = &self.subscriptions;
            let automaton = bucket.automaton.get_or_insert_with(|| {
                let filters = bucket
                    .filtered
                    .iter()
                    .filter_map(|webhook| Some((*webhook, subscriptions.get(webhook)?.subscription.filter.as_ref()?)));
                Box::new(FilterSet::new(filters))
            });
            candidates.extend(automaton.candidates(event));
        }
        let found = candidates.iter().filter_map(|webhook| Some(&self.subscriptions.get(webhook)?.subscription));
        found.filter(|subscription| subscription.wants(event)).cloned().collect()
    }
}

/// What a subscription takes with nothing in it, and what each key of it adds.
const BYTES_EACH: usize = 768;
const BYTES_A_KEY: usize = 160;

/// What a byte of its JSON takes when it is read, and once more when a filter stands in an automaton.
const BYTES_A_BYTE: usize = 2;
const BYTES_A_BYTE_OF_FILTER: usize = 4;

/// Returns about how many bytes a subscription takes: its size as JSON says what it has that can be long.
fn estimate(subscription: &Subscription, keys: usize) -> usize {
    let filter = subscription.filter.as_ref().map_or(0, json_bytes);
    BYTES_EACH + keys * BYTES_A_KEY + json_bytes(subscription) * BYTES_A_BYTE + filter * BYTES_A_BYTE_OF_FILTER
}

fn json_bytes(value: &impl serde::Serialize) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // What cannot be written takes nothing; a subscription was read from JSON.
    serde_json::to_writer(&mut count, value).map_or(0, |()| count.0)
}

/// Returns the keys of each condition, the more telling ones first. There is at least one: the types.
fn conditions(subscription: &Subscription) -> Vec<Vec<Key>> {
    let Subscription {
        event_types, sources, collections, operations, applications, changed, transitions, filter, ..
    } = subscription;
    let mut conditions: Vec<Vec<Key>> = Vec::new();
    for (names, texts) in filter.iter().flat_map(crate::filter::Filter::exact_texts) {
        let path = path(names);
        conditions.push(texts.into_iter().map(|text| Key::Text(path.clone(), text.to_owned())).collect());
    }
    conditions.push(transitions.iter().map(transition_key).collect());
    let types = |patterns: &[EventPattern]| patterns.iter().map(|pattern| Key::Type(pattern.to_string())).collect();
    conditions.push(types(event_types));
    conditions.push(collections.iter().cloned().map(Key::Collection).collect());
    conditions.push(changed.iter().map(|field| Key::Changed(field.names()[0].clone())).collect());
    conditions.push(applications.iter().cloned().map(Key::Application).collect());
    conditions.push(sources.iter().cloned().map(Key::Source).collect());
    conditions.push(operations.iter().copied().map(Key::Operation).collect());
    conditions.retain(|keys| !keys.is_empty());
    if conditions.is_empty() {
        conditions.push(vec![Key::Type("*".to_owned())]);
    }
    conditions.iter_mut().for_each(dedup);
    conditions
}

/// A value that is named twice is wanted once.
fn dedup(keys: &mut Vec<Key>) {
    let mut seen = HashSet::new();
    keys.retain(|key| seen.insert(key.clone()));
}

fn transition_key(transition: &Transition) -> Key {
    let text = |state: &str, end: &Option<serde_json::Value>| {
        let text = end.as_ref()?.as_str()?.to_owned();
        let names = std::iter::once(state).chain(transition.field.names().iter().map(String::as_str));
        Some(Key::Text(path(names), text))
    };
    let to = text("value", &transition.to);
    to.or_else(|| text("oldValue", &transition.from))
        .unwrap_or_else(|| Key::Changed(transition.field.names()[0].clone()))
}

/// Returns all keys that the event has. Some may come twice.
fn keys_of(event: &Event, texts: &HashMap<Path, usize>) -> Vec<Key> {
    let mut keys: Vec<Key> = EventPattern::texts_matching(&event.event_type).map(Key::Type).collect();
    for derived in event.derived_types() {
        keys.extend(EventPattern::texts_matching(&derived).filter(|text| text != "*").map(Key::Type));
    }
    keys.push(Key::Collection(event.entity.collection.clone()));
    keys.extend(event.entity.collection_template.clone().map(Key::Collection));
    keys.extend(event.changed_attributes().map(|name| Key::Changed(name.to_owned())));
    keys.extend(event.app.clone().map(Key::Application));
    keys.push(Key::Source(event.source.clone()));
    keys.push(Key::Operation(event.operation));
    if !texts.is_empty() {
        let mut text = |path: &str, text: &str| {
            if texts.contains_key(path) {
                keys.push(Key::Text(path.to_owned(), text.to_owned()));
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
            text(&path([name]), value);
        }
        if let Some(app) = &event.app {
            text(&path(["applicationId"]), app.as_str());
        }
        for changed in event.update_mask.iter().flatten() {
            text(&path(["updateMask"]), changed);
        }
        for (name, state) in [("value", &event.new), ("oldValue", &event.old)] {
            if let Some(state) = state {
                texts_in(&mut path([name]), &state.properties, &mut text);
            }
        }
    }
    keys
}

fn texts_in(path: &mut Path, map: &Map, found: &mut impl FnMut(&str, &str)) {
    for (name, value) in map {
        let length = path.len();
        path.push_str(name);
        path.push(END);
        texts_of(path, value, found);
        path.truncate(length);
    }
}

fn texts_of(path: &mut Path, value: &Value, found: &mut impl FnMut(&str, &str)) {
    match value {
        Value::String(text) => found(path, text),
        Value::List(values) => values.iter().for_each(|value| texts_of(path, value, found)),
        Value::Map(map) => texts_in(path, map, found),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests;
