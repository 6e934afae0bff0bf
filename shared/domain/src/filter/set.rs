//! Many filters at once.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};

use quamina::{Quamina, QuaminaBuilder};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Map as JsonMap, Value as Json};

use super::Filter;
use crate::event::{Event, State};

/// An event as the automata see it: no more than what they ask for.
struct Document<'a> {
    event: &'a Event,
    asked: &'a Asks,
}

/// The fields that some filters ask for: those of the event, and of its entity before and after.
#[derive(Debug, Default)]
struct Asks {
    event: BTreeSet<String>,
    entity: BTreeSet<String>,
}

impl Asks {
    fn add(&mut self, pattern: &JsonMap<String, Json>) {
        for (name, asked) in pattern {
            self.event.insert(name.clone());
            self.entity.extend(asked.as_object().into_iter().flat_map(JsonMap::keys).cloned());
        }
    }
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { event, asked } = self;
        let mut map = serializer.serialize_map(None)?;
        for name in &asked.event {
            match name.as_str() {
                "eventType" => map.serialize_entry(name, event.event_type.as_str())?,
                "operationType" => map.serialize_entry(name, event.operation.as_str())?,
                "source" => map.serialize_entry(name, &event.source)?,
                "applicationId" if event.app.is_some() => map.serialize_entry(name, &event.app)?,
                "collectionPath" => map.serialize_entry(name, &event.entity.collection)?,
                "entityPath" => map.serialize_entry(name, &event.entity.path())?,
                "entityId" => map.serialize_entry(name, &event.entity.id)?,
                "entityKey" => map.serialize_entry(name, &event.entity.key)?,
                "value" if event.new.is_some() => {
                    map.serialize_entry(name, &Entity(event.new.as_ref(), &asked.entity))?;
                }
                "oldValue" if event.old.is_some() => {
                    map.serialize_entry(name, &Entity(event.old.as_ref(), &asked.entity))?;
                }
                "updateMask" if event.update_mask.is_some() => map.serialize_entry(name, &event.update_mask)?,
                _ => {}
            }
        }
        map.end()
    }
}

/// The attributes that are asked for.
struct Entity<'a>(Option<&'a State>, &'a BTreeSet<String>);

impl Serialize for Entity<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let properties = self.0.map(|state| &state.properties);
        let asked = self.1.iter().filter_map(|name| Some((name, properties?.get(name)?)));
        serializer.collect_map(asked)
    }
}

/// Filters that are looked through at once: the time for an event does not grow with their number.
///
/// It finds what may match, not what does. quamina 0.7.0 takes `null` for a number below all others, counts the lower bound of
/// a range in when it is to be left out, and takes the quotation marks around a text for a part of it. And it misses a pattern
/// that asks for two fields not to exist, addresses and letters in other forms than its own, and -0 for 0: so these are not asked
/// of it.
pub(crate) struct FilterSet<X: Id> {
    /// Usually one.
    automata: Vec<Quamina<X>>,
    asked: Asks,
    /// Those of whose filters nothing can be asked.
    always: Vec<X>,
}

/// What a filter is known by.
pub(crate) trait Id: Copy + Eq + Hash + Send + Sync {}

impl<X: Copy + Eq + Hash + Send + Sync> Id for X {}

/// The most bytes that an automaton may take for one field.
const MAX_BYTES: usize = 16 * 1024 * 1024;

impl<X: Id> FilterSet<X> {
    pub(crate) fn new<'a>(filters: impl Iterator<Item = (X, &'a Filter)>) -> Self {
        let (mut patterns, mut asked, mut always) = (Vec::new(), Asks::default(), Vec::new());
        for (id, filter) in filters {
            match askable(&filter.to_map()) {
                Some(pattern) => {
                    asked.add(&pattern);
                    patterns.push(Pattern { id, text: Json::Object(pattern).to_string() });
                }
                None => always.push(id),
            }
        }
        let mut set = Self { automata: Vec::new(), asked, always };
        set.add(&patterns);
        set
    }

    /// quamina 0.7.0 panics when more than 255 alternatives hold for one value. It cannot be asked before; then two automata
    /// with half of them each do.
    fn add(&mut self, patterns: &[Pattern<X>]) {
        match (build(patterns), patterns) {
            (_, []) => {}
            (Some(automaton), _) => self.automata.push(automaton),
            (None, [alone]) => self.always.push(alone.id),
            (None, _) => {
                let (half, other) = patterns.split_at(patterns.len() / 2);
                self.add(half);
                self.add(other);
            }
        }
    }

    /// Returns the filters that the event may pass.
    ///
    /// # Panics
    ///
    /// Never: every key is a string, so there is nothing that could not be written.
    pub(crate) fn candidates(&self, event: &Event) -> Vec<X> {
        let document = serde_json::to_vec(&Document { event, asked: &self.asked }).expect("an event is JSON");
        let matching = |automaton: &Quamina<X>| automaton.matches_for_event(&document);
        // A document is JSON: there is nothing to refuse.
        let found = self.automata.iter().flat_map(|automaton| matching(automaton).unwrap_or_default());
        found.chain(self.always.iter().copied()).collect()
    }
}

struct Pattern<X> {
    id: X,
    text: String,
}

/// Returns an automaton of all patterns, if they fit.
fn build<X: Id>(patterns: &[Pattern<X>]) -> Option<Quamina<X>> {
    let all = || {
        let mut automaton = QuaminaBuilder::new().with_arena_byte_budget(MAX_BYTES).build().ok()?;
        for Pattern { id, text, .. } in patterns {
            automaton.add_pattern(*id, text).ok()?;
        }
        // It is finished by the first event that it sees.
        automaton.has_matches(b"{}").ok()?;
        Some(automaton)
    };
    // Nothing of it is seen when it panics half-way.
    catch_unwind(AssertUnwindSafe(all)).ok().flatten()
}

/// Says whether the automaton may miss what our rules let through.
fn is_read_otherwise(alternative: &Json) -> bool {
    // -0 is not 0 to it.
    let zero = |value: &Json| value.as_f64() == Some(0.0);
    ["exists", "cidr", "equals-ignore-case", "numeric"].iter().any(|name| match (*name, alternative.get(name)) {
        ("numeric", Some(Json::Array(bounds))) => bounds.iter().any(zero),
        (_, found) => found.is_some(),
    }) || zero(alternative)
}

/// Returns what of a pattern can be asked of the automaton, if anything.
fn askable(pattern: &JsonMap<String, Json>) -> Option<JsonMap<String, Json>> {
    let asked = pattern.iter().filter_map(|(name, asked)| match asked {
        Json::Object(inner) => Some((name.clone(), Json::Object(askable(inner)?))),
        Json::Array(alternatives) if alternatives.iter().any(is_read_otherwise) => None,
        Json::Array(_) | Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {
            Some((name.clone(), asked.clone()))
        }
    });
    Some(asked.collect::<JsonMap<_, _>>()).filter(|asked| !asked.is_empty())
}

impl<X: Id> std::fmt::Debug for FilterSet<X> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilterSet").field("automata", &self.automata.len()).finish_non_exhaustive()
    }
}
