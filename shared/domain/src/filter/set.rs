//! Many filters at once.

use std::hash::Hash;

use quamina::Quamina;
use serde::Serialize;
use serde_json::{Map as JsonMap, Value as Json};

use super::{Filter, MAX_ALTERNATIVES, leaves};
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
/// that asks for two fields not to exist: so `exists` is not asked of it. And it panics when more than 255 alternatives hold for
/// one value: so one automaton gets no more than that.
pub(crate) struct FilterSet<X: Clone + Eq + Hash + Send + Sync> {
    automata: Vec<Quamina<X>>,
    /// How many alternatives the last one has.
    alternatives: usize,
    /// Those of whose filters nothing can be asked.
    always: Vec<X>,
}

impl<X: Clone + Eq + Hash + Send + Sync> Default for FilterSet<X> {
    fn default() -> Self {
        Self { automata: Vec::new(), alternatives: 0, always: Vec::new() }
    }
}

impl<X: Clone + Eq + Hash + Send + Sync> FilterSet<X> {
    pub(crate) fn add(&mut self, id: X, filter: &Filter) {
        let Some(pattern) = askable(&filter.0) else { return self.always.push(id) };
        let count = leaves(&pattern).iter().map(|(_, alternatives)| alternatives.len()).sum::<usize>();
        let pattern = Json::Object(pattern).to_string();
        self.alternatives += count;
        if self.alternatives <= MAX_ALTERNATIVES
            && let Some(last) = self.automata.last_mut()
            && last.add_pattern(id.clone(), &pattern).is_ok()
        {
            return;
        }
        let mut next = Quamina::new();
        match next.add_pattern(id.clone(), &pattern) {
            Ok(()) => {
                self.automata.push(next);
                self.alternatives = count;
            }
            Err(_) => self.always.push(id),
        }
    }

    pub(crate) fn candidates(&self, document: &Document) -> Vec<X> {
        let matching = |automaton: &Quamina<X>| automaton.matches_for_event(document.0.as_bytes());
        // A document is JSON: there is nothing to refuse.
        let found = self.automata.iter().flat_map(|automaton| matching(automaton).unwrap_or_default());
        found.chain(self.always.iter().cloned()).collect()
    }
}

/// Returns what of a pattern can be asked of the automaton, if anything.
fn askable(pattern: &JsonMap<String, Json>) -> Option<JsonMap<String, Json>> {
    let asked = pattern.iter().filter_map(|(name, asked)| match asked {
        Json::Object(inner) => Some((name.clone(), Json::Object(askable(inner)?))),
        Json::Array(alternatives) if alternatives.iter().any(|alternative| alternative.get("exists").is_some()) => None,
        _ => Some((name.clone(), asked.clone())),
    });
    Some(asked.collect::<JsonMap<_, _>>()).filter(|asked| !asked.is_empty())
}

impl<X: Clone + Eq + Hash + Send + Sync> std::fmt::Debug for FilterSet<X> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilterSet").field("automata", &self.automata.len()).finish()
    }
}
