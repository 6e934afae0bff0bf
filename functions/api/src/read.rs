//! Reads callers' JSON into types. All faults are reported at once, each with its JSON pointer. No fault quotes a
//! value, because it may be a secret in the wrong field.

mod deserializer;
mod document;
mod mismatch;

use std::collections::BTreeMap;

use domain::fault::{FieldError, step};
use domain::value::{Map, Value};
use serde::de::DeserializeOwned;

use crate::problem::Problem;
use deserializer::Reader;
pub(crate) use document::{document, raw};
use mismatch::{Mismatch, What, pointer};

/// The largest number of passes over a body. Each pass finds one fault.
const MAX_READINGS: usize = 60;

/// A value that was read, and its faults.
#[derive(Debug)]
pub(crate) struct Reading<T> {
    /// The value without its invalid parts, or `None` if too little is left. With faults it may only be used for
    /// further checks.
    value: Option<T>,
    faults: Vec<FieldError>,
    /// The indices of list items that were left out because they are invalid, by the list's JSON pointer.
    left_out: BTreeMap<String, Vec<usize>>,
}

/// Reads a type from JSON.
pub(crate) fn read<T: DeserializeOwned>(value: Value) -> Reading<T> {
    read_from(value, false)
}

/// Reads a type from query parameters, whose values are all strings. Pointers are `/` and the name of the parameter.
pub(crate) fn read_query<T: DeserializeOwned>(parameters: Vec<(String, String)>) -> Reading<T> {
    let mut twice = Vec::new();
    let mut map = Map::new();
    for (name, text) in parameters {
        let pointer = step(&name);
        if map.insert(name, Value::String(with_plus(text))).is_some() {
            twice.push(FieldError::new(&pointer, "is given twice; send it once"));
        }
    }
    read_from(Value::Map(map), true).with(twice)
}

/// Restores the plus sign of a time's offset: in a query, `+01:00` is read as ` 01:00` unless the plus is escaped.
fn with_plus(text: String) -> String {
    let is_offset = |offset: &str| offset.len() == 5 && offset.as_bytes()[2] == b':';
    match text.rsplit_once(' ') {
        Some((time, offset)) if time.as_bytes().get(10) == Some(&b'T') && is_offset(offset) => {
            format!("{time}+{offset}")
        }
        _ => text,
    }
}

/// Reads a value in passes. Each pass records one part that does not fit, and leaves it out of the next pass.
fn read_from<T: DeserializeOwned>(mut value: Value, from_text: bool) -> Reading<T> {
    let mut reading = Reading { value: None, faults: Vec::new(), left_out: BTreeMap::new() };
    let mut stand_ins = StandIns::default();
    for _ in 0..MAX_READINGS {
        match T::deserialize(Reader { value: &value, from_text }) {
            Ok(read) => {
                reading.value = Some(read);
                break;
            }
            Err(mismatch) if stand_ins.replace(&mut value, &mismatch) => {}
            Err(mismatch) => {
                reading.note(&mismatch);
                let mended = match &mismatch.what {
                    What::Missing(field) if stand_ins.insert(&mut value, &mismatch.path, field) => true,
                    // An object that cannot be read without the field is left out as a whole.
                    What::Missing(_) | What::Wrong(_) => {
                        stand_ins.forget(&mismatch.path);
                        reading.leave_out(&mut value, &mismatch.path)
                    }
                };
                if !mended {
                    break;
                }
            }
        }
    }
    reading
}

impl<T> Reading<T> {
    fn note(&mut self, mismatch: &Mismatch) {
        let (path, detail) = match &mismatch.what {
            What::Missing(field) => (mismatch::below(&mismatch.path, field), "is required"),
            What::Wrong(detail) => (mismatch.path.clone(), detail.as_str()),
        };
        self.add(FieldError::new(&pointer(&path), detail));
    }

    /// Adds a fault, unless its part, or a part that contains it, already has one.
    fn add(&mut self, fault: FieldError) {
        let pointer = self.as_sent(&fault.pointer);
        let is_within =
            |outer: &str| pointer.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if !self.faults.iter().any(|known| is_within(&known.pointer)) {
            self.faults.push(FieldError { pointer, ..fault });
        }
    }

    /// Changes the value before further checks.
    #[must_use]
    pub(crate) fn change(mut self, change: impl FnOnce(&mut T)) -> Self {
        self.value.as_mut().map(change);
        self
    }

    /// Adds the faults that a further check finds in the value.
    #[must_use]
    pub(crate) fn and(mut self, check: impl FnOnce(&T) -> Vec<FieldError>) -> Self {
        for fault in self.value.as_ref().map(check).unwrap_or_default() {
            self.add(fault);
        }
        self
    }

    /// Adds faults that were found elsewhere in the same body.
    #[must_use]
    pub(crate) fn with(mut self, faults: impl IntoIterator<Item = FieldError>) -> Self {
        self.faults.splice(0..0, faults);
        self
    }

    /// Changes every fault, before the reading is finished.
    #[must_use]
    pub(crate) fn map_faults(mut self, change: impl FnMut(FieldError) -> FieldError) -> Self {
        self.faults = self.faults.into_iter().map(change).collect();
        self
    }

    /// Returns the value, or all faults in the order of their discovery.
    pub(crate) fn finish(self) -> Result<T, Problem> {
        match self.value {
            Some(value) if self.faults.is_empty() => Ok(value),
            _ => Err(self.faults.into()),
        }
    }

    /// Returns the value as far as it could be read, and all faults.
    pub(crate) fn into_parts(self) -> (Option<T>, Vec<FieldError>) {
        (self.value, self.faults)
    }

    fn leave_out(&mut self, value: &mut Value, path: &[String]) -> bool {
        let Some((last, above)) = path.split_last() else { return false };
        match find(value, above) {
            Some(Value::Map(map)) => map.remove(last).is_some(),
            Some(Value::List(items)) => {
                let Some(index) = last.parse().ok().filter(|index| *index < items.len()) else { return false };
                items.remove(index);
                let sent = self.as_sent(&pointer(path));
                if let Some((list, Ok(index))) = sent.rsplit_once('/').map(|(list, index)| (list, index.parse())) {
                    let left_out = self.left_out.entry(list.to_owned()).or_default();
                    left_out.push(index);
                    left_out.sort_unstable();
                }
                true
            }
            _ => false,
        }
    }

    /// Translates a pointer into the remaining body to a pointer into the body as it was sent.
    fn as_sent(&self, pointer: &str) -> String {
        let mut sent = String::new();
        for step in pointer.split('/').skip(1) {
            let step = match (self.left_out.get(&sent), step.parse::<usize>()) {
                (Some(left_out), Ok(index)) => {
                    left_out.iter().fold(index, |index, gone| index + usize::from(*gone <= index)).to_string()
                }
                _ => step.to_owned(),
            };
            sent = format!("{sent}/{step}");
        }
        sent
    }
}

/// Placeholders for required fields that are missing, so that the rest can be read: the path of each, and which kind of
/// value it has.
#[derive(Debug, Default)]
struct StandIns(Vec<(Vec<String>, usize)>);

impl StandIns {
    fn value(kind: usize) -> Option<Value> {
        let values = ["\"a\"", "1", "true", "[]", "{}"];
        values.get(kind).and_then(|text| text.parse().ok())
    }

    fn insert(&mut self, value: &mut Value, path: &[String], field: &str) -> bool {
        let place = mismatch::below(path, field);
        let (Some(Value::Map(map)), Some(stand_in)) = (find(value, path), Self::value(0)) else { return false };
        // Every kind of value was tried for this field, and none fits.
        if self.0.iter().any(|(tried, _)| *tried == place) {
            return false;
        }
        map.insert(field.to_owned(), stand_in);
        self.0.push((place, 0));
        true
    }

    /// Forgets the placeholders within a part that is left out. If the part is an item of a list, the indices of later
    /// items decrease by one.
    fn forget(&mut self, gone: &[String]) {
        // A placeholder that is itself left out is remembered, so that it is not tried again.
        self.0.retain(|(place, _)| place == gone || !place.starts_with(gone));
        let Some((Ok(gone), list)) = gone.split_last().map(|(last, list)| (last.parse::<usize>(), list)) else {
            return;
        };
        for (place, _) in self.0.iter_mut().filter(|(place, _)| place.starts_with(list)) {
            if let Some(step) = place.get_mut(list.len())
                && let Ok(index) = step.parse::<usize>()
                && index > gone
            {
                *step = (index - 1).to_string();
            }
        }
    }

    /// Tries the next kind of value if the part that does not fit is a placeholder.
    fn replace(&mut self, value: &mut Value, mismatch: &Mismatch) -> bool {
        let Some((path, kind)) = self.0.iter_mut().find(|(path, _)| mismatch.path.starts_with(path)) else {
            return false;
        };
        *kind += 1;
        match (find(value, path), Self::value(*kind)) {
            (Some(place), Some(next)) => {
                *place = next;
                true
            }
            _ => false,
        }
    }
}

/// Returns the value at a path.
fn find<'a>(value: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, step| match value {
        Value::Map(map) => map.get_mut(step),
        Value::List(list) => list.get_mut(step.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

#[cfg(test)]
mod tests;
