//! Which webhooks of a tenant want an event.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::Arc;

use crate::effort::Effort;
use crate::event::{Event, Operation};
use crate::filter::{Filter, Sieve, bytes_in_sieve};
use crate::id::WebhookId;
use crate::path::FieldPath;
use crate::pattern::EventPattern;
use crate::subscription::{Seen, Subscription, Transition};
use crate::tenant::AppId;
use crate::value::{Map, Value};
use crate::weight::{entry, heap, json_map, texts};

/// What became of a subscription since a reader last looked.
#[derive(Debug, Clone, PartialEq)]
pub enum SubscriptionChange {
    /// It wants events, as it says now.
    Wants(Box<Subscription>),
    /// It wants nothing any more: disabled or deleted.
    Ended(WebhookId),
}

/// Something that an event has. A subscription stands in the index under keys one of which every event has that it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key<'a> {
    Type(&'a str),
    Collection(&'a str),
    Source(&'a str),
    Operation(Operation),
    Application(&'a AppId),
    /// An attribute that changed.
    Changed(&'a str),
    /// A text in the field whose path has that hash.
    Text(u64, &'a str),
}

/// A key as the index knows it: its hash. Texts and paths may be long and very many; two keys with one hash are no more than a
/// candidate too many.
type Hashed = u64;

fn hashed(of: &impl Hash) -> Hashed {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// The hash of the names that lead to a field that filters look at.
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

/// From how many filters under one key on they are looked through at once, and not one by one.
const MANY: usize = 32;

/// The most bytes that the subscriptions of a tenant take by [`weight`]: what needs more is refused when the webhook is written.
pub const MAX_TENANT_BYTES: usize = 32 * 1024 * 1024;

/// The most bytes that a tenant's sieves take: the filters that do not fit are judged one by one.
pub const MAX_SIEVE_BYTES: usize = 8 * 1024 * 1024;

/// What looking for the webhooks of an event may take.
#[derive(Debug)]
pub struct Limits {
    /// How much work, for all webhooks together.
    pub effort: Effort,
    /// How many bytes sieves may take more than they do now, if that is less than the tenant may have.
    pub room: usize,
}

impl Limits {
    /// Any amount of work, and all the room of a tenant.
    #[must_use]
    pub const fn none() -> Self {
        Self { effort: Effort::unlimited(), room: MAX_SIEVE_BYTES }
    }
}

/// The webhooks that want an event.
#[derive(Debug, Default)]
pub struct Found {
    /// Those that were found, each once and in the order of their ids.
    pub wanted: Vec<Arc<Subscription>>,
    /// How many may want it too, but the effort was spent before they were looked at. They follow the last one that was.
    pub not_judged: usize,
}

/// Finds the webhooks of one tenant that want an event.
///
/// A subscription stands under the keys of one of its conditions, that which fewest others stand under: so an event is
/// compared with few webhooks that do not want it, however many there are. Where many filters share a key, because none asks
/// for a text that the others do not, a sieve of them all names the few that may hold.
#[derive(Debug, Default)]
pub struct Matcher {
    subscriptions: HashMap<WebhookId, Kept>,
    index: HashMap<Hashed, Bucket>,
    /// The fields whose texts are keys, and of how many subscriptions: no other field of an event is looked at.
    texts: HashMap<u64, usize>,
    /// What the subscriptions and their places in the index take at most.
    bytes: usize,
    /// What the sieves take at most.
    sieve_bytes: usize,
}

/// A subscription, and the keys that it stands under.
#[derive(Debug)]
struct Kept {
    subscription: Arc<Subscription>,
    keys: Box<[Hashed]>,
    /// The fields that it has in `texts`.
    texts: Box<[u64]>,
}

/// The subscriptions under one key. Most keys have one.
#[derive(Debug)]
enum Bucket {
    One(WebhookId),
    Many(Box<Crowd>),
}

#[derive(Debug, Default)]
struct Crowd {
    plain: Vec<WebhookId>,
    filtered: Vec<WebhookId>,
    /// Of the filters of the second, if they are many; made when it is first needed, if there is room.
    sieve: Option<Made>,
}

#[derive(Debug)]
struct Made {
    sieve: Sieve<WebhookId>,
    bytes: usize,
}

impl Crowd {
    fn of(&mut self, is_filtered: bool) -> &mut Vec<WebhookId> {
        if is_filtered { &mut self.filtered } else { &mut self.plain }
    }
}

impl Bucket {
    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(crowd) => crowd.plain.len() + crowd.filtered.len(),
        }
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

    /// Returns at most how many bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes + self.sieve_bytes
    }

    /// Says whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    fn remove(&mut self, webhook: WebhookId) {
        let Some(Kept { subscription, keys, texts }) = self.subscriptions.remove(&webhook) else { return };
        self.bytes -= weight(&subscription);
        for path in texts {
            if let Entry::Occupied(mut count) = self.texts.entry(path) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
        let is_filtered = subscription.filter.is_some();
        for key in keys {
            let Entry::Occupied(mut bucket) = self.index.entry(key) else { continue };
            if let Bucket::Many(crowd) = bucket.get_mut() {
                let among = crowd.of(is_filtered);
                if let Some(place) = among.iter().position(|other| *other == webhook) {
                    among.swap_remove(place);
                }
                if is_filtered {
                    self.sieve_bytes -= crowd.sieve.take().map_or(0, |made| made.bytes);
                }
            }
            if matches!(bucket.get(), Bucket::One(_)) || bucket.get().len() == 0 {
                bucket.remove();
            }
        }
    }

    fn insert(&mut self, subscription: Subscription) {
        let webhook = subscription.webhook;
        let crowd = |keys: &Vec<Key<'_>>| {
            keys.iter().map(|key| self.index.get(&hashed(key)).map_or(0, Bucket::len)).sum::<usize>()
        };
        let keys = conditions(&subscription).into_iter().min_by_key(crowd).unwrap_or_default();
        let texts: BTreeSet<u64> =
            keys.iter().filter_map(|key| if let Key::Text(path, _) = key { Some(*path) } else { None }).collect();
        // Two keys with one hash are one.
        let keys: BTreeSet<Hashed> = keys.iter().map(hashed).collect();
        for path in &texts {
            *self.texts.entry(*path).or_default() += 1;
        }
        for key in &keys {
            let bucket = match self.index.entry(*key) {
                Entry::Vacant(free) => {
                    free.insert(Bucket::One(webhook));
                    continue;
                }
                Entry::Occupied(bucket) => bucket.into_mut(),
            };
            if let Bucket::One(other) = bucket {
                let mut crowd = Crowd::default();
                let is_filtered = self.subscriptions.get(other).is_some_and(|kept| kept.subscription.filter.is_some());
                crowd.of(is_filtered).push(*other);
                *bucket = Bucket::Many(Box::new(crowd));
            }
            if let Bucket::Many(crowd) = bucket {
                crowd.of(subscription.filter.is_some()).push(webhook);
                if subscription.filter.is_some() {
                    self.sieve_bytes -= crowd.sieve.take().map_or(0, |made| made.bytes);
                }
            }
        }
        self.bytes += weight(&subscription);
        let (keys, texts) = (keys.into_iter().collect(), texts.into_iter().collect());
        self.subscriptions.insert(webhook, Kept { subscription: Arc::new(subscription), keys, texts });
    }

    /// Forgets what can be made again: the sieves.
    pub fn shrink(&mut self) {
        if self.sieve_bytes > 0 {
            for bucket in self.index.values_mut() {
                if let Bucket::Many(crowd) = bucket {
                    crowd.sieve = None;
                }
            }
            self.sieve_bytes = 0;
        }
    }

    /// Returns the webhooks that want the event, each once and in the order of their ids.
    pub fn matching(&mut self, event: &Event) -> Vec<Arc<Subscription>> {
        self.matching_within(event, &Limits::none()).wanted
    }

    /// Returns the webhooks that want the event, as far as the effort goes.
    ///
    /// Those that stand under a key of the event come first, cheapest to judge or not; which ones are looked at before the effort
    /// is spent is the same every time.
    pub fn matching_within(&mut self, event: &Event, limits: &Limits) -> Found {
        if self.is_empty() {
            return Found::default();
        }
        let Limits { effort, room } = limits;
        let seen = Seen::new(event);
        let mut candidates = BTreeSet::new();
        let mut budget = (MAX_SIEVE_BYTES.saturating_sub(self.sieve_bytes)).min(*room);
        let subscriptions = &self.subscriptions;
        let mut keys = BTreeSet::new();
        for_each_key(&seen, &self.texts, |key| _ = keys.insert(hashed(&key)));
        for key in keys {
            let crowd = match self.index.get_mut(&key) {
                None => continue,
                Some(Bucket::One(webhook)) => {
                    candidates.insert(*webhook);
                    continue;
                }
                Some(Bucket::Many(crowd)) => crowd,
            };
            candidates.extend(&crowd.plain);
            if crowd.filtered.len() >= MANY && crowd.sieve.is_none() {
                let filter =
                    |webhook: &WebhookId| Some((*webhook, subscriptions.get(webhook)?.subscription.filter.as_ref()?));
                let filters = crowd.filtered.iter().filter_map(filter);
                let bytes = filters.clone().map(|(_, filter)| bytes_in_sieve::<WebhookId>(filter)).sum();
                if bytes <= budget {
                    budget -= bytes;
                    self.sieve_bytes += bytes;
                    crowd.sieve = Some(Made { sieve: Sieve::new(filters), bytes });
                }
            }
            if let Some(made) = &crowd.sieve {
                made.sieve.candidates(event, effort, |webhook| _ = candidates.insert(webhook));
            }
            // What a sieve names before the effort is spent is not all of it.
            if crowd.sieve.is_none() || effort.is_spent() {
                candidates.extend(&crowd.filtered);
            }
        }
        let mut found = Found::default();
        for webhook in candidates {
            let Some(Kept { subscription, .. }) = subscriptions.get(&webhook) else { continue };
            let wants = found.not_judged == 0 && subscription.wants_within(&seen, effort);
            if effort.is_spent() {
                found.not_judged += 1;
            } else if wants {
                found.wanted.push(Arc::clone(subscription));
            }
        }
        found
    }
}

/// What a subscription takes beside what it holds: its place, and the reference to it.
const BYTES_EACH: usize =
    entry(size_of::<(WebhookId, Kept)>() + 1) + heap(size_of::<Subscription>() + 2 * size_of::<usize>());

/// What a key takes: its place in the index, among the keys of its subscription, and the field whose text it is.
const BYTES_A_KEY: usize = entry(size_of::<(Hashed, Bucket)>() + 1)
    + size_of::<Hashed>()
    + entry(size_of::<(u64, usize)>() + 1)
    + size_of::<u64>();

/// Returns at most how many bytes a subscription takes in a matcher, whichever of its conditions it is found by; sieves have room
/// of their own.
#[must_use]
pub fn weight(subscription: &Subscription) -> usize {
    let keys = conditions(subscription).iter().map(Vec::len).max().unwrap_or(0);
    BYTES_EACH + 2 * heap(8) + keys * BYTES_A_KEY + subscription.bytes()
}

/// Returns the field of a webhook whose value takes the most of a subscription's weight, as a JSON pointer.
#[must_use]
pub fn heaviest(subscription: &Subscription) -> &'static str {
    let keys = conditions(subscription).iter().map(Vec::len).max().unwrap_or(0);
    let filter = subscription.filter.as_ref().map_or(0, |filter| filter.bytes() + keys * BYTES_A_KEY);
    let rendering = &subscription.rendering;
    let paths = |paths: &[FieldPath]| paths.iter().map(|path| texts(path.names())).sum::<usize>();
    let fields = [
        ("/filter", filter),
        ("/template", rendering.template.as_ref().map_or(0, String::len)),
        ("/properties", json_map(&rendering.properties)),
        ("/event_types", subscription.event_types.len() * BYTES_A_KEY),
        ("/transitions", subscription.transitions.len() * BYTES_A_KEY),
        ("/changed", paths(&subscription.changed)),
        ("/include", paths(&rendering.include)),
        ("/exclude", paths(&rendering.exclude)),
    ];
    fields.into_iter().max_by_key(|(_, bytes)| *bytes).map_or("/filter", |(field, _)| field)
}

/// Returns the keys of each condition, the more telling ones first. There is at least one: the types.
fn conditions(subscription: &Subscription) -> Vec<Vec<Key<'_>>> {
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
    let text = |state, end: &'_ Option<serde_json::Value>| {
        end.as_ref()?.as_str()?;
        let names = std::iter::once(state).chain(transition.field.names().iter().map(String::as_str));
        Some(Path::of(names).hash())
    };
    let to = text("value", &transition.to).zip(transition.to.as_ref());
    let end = to.or_else(|| text("oldValue", &transition.from).zip(transition.from.as_ref()));
    match end {
        Some((path, serde_json::Value::String(end))) => Key::Text(path, end),
        _ => Key::Changed(&transition.field.names()[0]),
    }
}

/// Gives all keys that the event has. Some may come twice.
fn for_each_key(seen: &Seen<'_>, texts: &HashMap<u64, usize>, mut key: impl FnMut(Key<'_>)) {
    let event = seen.event;
    EventPattern::texts_matching(&event.event_type).for_each(|text| key(Key::Type(&text)));
    for derived in &seen.derived {
        EventPattern::texts_matching(derived).filter(|text| text != "*").for_each(|text| key(Key::Type(&text)));
    }
    key(Key::Collection(&event.entity.collection));
    event.entity.collection_template.iter().for_each(|template| key(Key::Collection(template)));
    event.changed_attributes().for_each(|name| key(Key::Changed(name)));
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

#[cfg(test)]
mod tests;
