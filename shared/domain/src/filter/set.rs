//! Many filters at once.

use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};

use quamina::{Quamina, QuaminaBuilder};
use serde::Serialize;
use serde_json::{Map as JsonMap, Value as Json};

use super::Filter;
use crate::event::{Event, Operation};
use crate::tenant::AppId;
use crate::value::Map;

/// An event as filters see it.
#[derive(Debug)]
pub(crate) struct Document(String);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    event_type: &'a str,
    operation_type: Operation,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    application_id: Option<&'a str>,
    collection_path: &'a str,
    entity_path: String,
    entity_id: &'a str,
    entity_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a Map>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_value: Option<&'a Map>,
    #[serde(skip_serializing_if = "Option::is_none")]
    update_mask: Option<&'a [String]>,
}

impl Document {
    /// Writes the document of an event.
    ///
    /// # Panics
    ///
    /// Never: every key is a string, so there is nothing that could not be written.
    pub(crate) fn of(event: &Event) -> Self {
        let fields = Fields {
            event_type: event.event_type.as_str(),
            operation_type: event.operation,
            source: &event.source,
            application_id: event.app.as_ref().map(AppId::as_str),
            collection_path: &event.entity.collection,
            entity_path: event.entity.path(),
            entity_id: &event.entity.id,
            entity_key: &event.entity.key,
            value: event.new.as_ref().map(|state| &state.properties),
            old_value: event.old.as_ref().map(|state| &state.properties),
            update_mask: event.update_mask.as_deref(),
        };
        Self(serde_json::to_string(&fields).expect("an event is JSON"))
    }
}

/// Filters that are looked through at once: the time for an event does not grow with their number.
///
/// It finds what may match, not what does. quamina 0.7.0 takes `null` for a number below all others, counts the lower bound of
/// a range in when it is to be left out, and takes the quotation marks around a text for a part of it. And it misses a pattern
/// that asks for two fields not to exist: so `exists` is not asked of it.
pub(crate) struct FilterSet<X: Id> {
    /// Usually one.
    automata: Vec<Quamina<X>>,
    /// Those of whose filters nothing can be asked.
    always: Vec<X>,
}

/// What a filter is known by.
pub(crate) trait Id: Copy + Eq + Hash + Send + Sync {}

impl<X: Copy + Eq + Hash + Send + Sync> Id for X {}

/// How many alternatives an automaton can take whatever they are.
const SAFE: usize = 250;

/// The most bytes that an automaton may take for one field.
const MAX_BYTES: usize = 256 * 1024 * 1024;

impl<X: Id> FilterSet<X> {
    pub(crate) fn new<'a>(filters: impl Iterator<Item = (X, &'a Filter)>) -> Self {
        let (mut patterns, mut always) = (Vec::new(), Vec::new());
        for (id, filter) in filters {
            match askable(&filter.to_map()) {
                Some(pattern) => {
                    let alternatives = alternatives(&pattern);
                    patterns.push(Pattern { id, alternatives, text: Json::Object(pattern).to_string() });
                }
                None => always.push(id),
            }
        }
        let mut set = Self { automata: Vec::new(), always };
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

    pub(crate) fn candidates(&self, document: &Document) -> Vec<X> {
        let matching = |automaton: &Quamina<X>| automaton.matches_for_event(document.0.as_bytes());
        // A document is JSON: there is nothing to refuse.
        let found = self.automata.iter().flat_map(|automaton| matching(automaton).unwrap_or_default());
        found.chain(self.always.iter().copied()).collect()
    }
}

struct Pattern<X> {
    id: X,
    alternatives: usize,
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
    if patterns.iter().map(|pattern| pattern.alternatives).sum::<usize>() <= SAFE {
        return all();
    }
    // Nothing of it is seen when it panics half-way.
    catch_unwind(AssertUnwindSafe(all)).ok().flatten()
}

fn alternatives(pattern: &JsonMap<String, Json>) -> usize {
    let count = |asked: &Json| match asked {
        Json::Object(inner) => alternatives(inner),
        Json::Array(list) => list.len(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => 0,
    };
    pattern.values().map(count).sum()
}

/// Returns what of a pattern can be asked of the automaton, if anything.
fn askable(pattern: &JsonMap<String, Json>) -> Option<JsonMap<String, Json>> {
    let asked = pattern.iter().filter_map(|(name, asked)| match asked {
        Json::Object(inner) => Some((name.clone(), Json::Object(askable(inner)?))),
        Json::Array(alternatives) if alternatives.iter().any(|alternative| alternative.get("exists").is_some()) => None,
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
