//! The filters and tests of templates, and the budget of their work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::{Value as Shown, ValueKind};
use minijinja::{Environment, Error, ErrorKind, filters, tests};

use super::limits::MAX_OUTPUT_BYTES;
use super::scan::{METER, METER_OUTSIDE};
use super::shown::{Exact, json};

/// The work that filters and operators may still do, in units. It is zero after a request that exceeded it.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    limit: usize,
    left: Arc<AtomicUsize>,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, left: Arc::new(AtomicUsize::new(limit)) }
    }

    fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }

    fn spend(&self, units: usize) -> Result<(), Error> {
        let left = self.left().saturating_sub(units.max(1));
        self.left.store(left, Ordering::Relaxed);
        if left == 0 { Err(ErrorKind::OutOfFuel.into()) } else { Ok(()) }
    }

    pub(super) fn is_spent(&self) -> bool {
        self.left() == 0
    }

    pub(super) fn spent(&self) -> u64 {
        u64::try_from(self.limit - self.left()).unwrap_or(u64::MAX)
    }
}

/// The cost in units of an entry of a list or map that is iterated over, and of a byte of a text whose characters are
/// iterated over. Copying or comparing four bytes costs one.
const ENTRY: usize = 40;
const CHARACTER: usize = 1;
const BYTES_COPIED: usize = 4;
/// The cost of a byte of a text that is made upper or lower case, and the factor between writing a value as JSON and
/// comparing it.
const CASE: usize = 4;
const JSON: usize = 4;

/// Returns the cost of comparing or copying a whole value. Stops a little above the limit.
fn whole(value: &Shown, limit: usize) -> usize {
    if let Some(text) = value.as_str() {
        return 1 + text.len() / BYTES_COPIED;
    }
    let mut units = 1;
    let is_map = value.kind() == ValueKind::Map;
    if !is_map && !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return units;
    }
    for part in value.try_iter().into_iter().flatten() {
        units += ENTRY;
        if units > limit {
            break;
        }
        if is_map {
            units += value.get_item(&part).map_or(0, |value| whole(&value, limit - units));
        }
        units += whole(&part, limit.saturating_sub(units));
    }
    units
}

/// Returns the cost of iterating over a text or the entries of a list or map, without their contents.
fn outside(value: &Shown) -> usize {
    match value.as_str() {
        Some(text) => 1 + text.len() * CHARACTER,
        None => 1 + value.len().unwrap_or(0) * ENTRY,
    }
}

/// Creates an environment with only the filters and tests of this module, whose input and output are bounded.
pub(super) fn environment(budget: &Budget) -> Environment<'static> {
    let mut environment = Environment::empty();
    // Makes errors name the missing variable. The rest of such an error is not shown.
    environment.set_debug(true);
    environment.set_formatter(|out, _, value| {
        if value.is_undefined() {
            return out.write_str("null").map_err(Error::from);
        }
        out.write_str(&json(value)?).map_err(Error::from)
    });
    environment.add_filter("abs", filters::abs);
    environment.add_filter("default", filters::default);
    let read = budget.clone();
    environment.add_filter("first", move |value: &Shown| read.spend(end(value)).and_then(|()| filters::first(value)));
    let read = budget.clone();
    environment.add_filter("float", move |value: &Shown| {
        read.spend(value.as_str().map_or(1, str::len))?;
        match value.downcast_object_ref::<Exact>() {
            Some(Exact(digits)) => digits.parse::<f64>().map_err(|_| Error::from(ErrorKind::InvalidOperation)),
            None => f64::try_from(value.clone()),
        }
    });
    environment.add_filter("int", filters::int);
    let read = budget.clone();
    environment
        .add_filter("items", move |value: &Shown| read.spend(outside(value)).and_then(|()| filters::items(value)));
    let made = budget.clone();
    environment.add_filter("join", move |values: &Shown, between: Option<&str>| {
        made.spend(outside(values))?;
        join(values, between).and_then(|text| made.spend(text.len()).map(|()| text))
    });
    let read = budget.clone();
    environment.add_filter("last", move |value: Shown| read.spend(end(&value)).and_then(|()| filters::last(value)));
    let read = budget.clone();
    environment.add_filter("length", move |value: &Shown| {
        read.spend(value.as_str().map_or(1, str::len))?;
        filters::length(value)
    });
    environment.add_filter("lower", of_text(budget, str::to_lowercase));
    let read = budget.clone();
    environment.add_filter(METER, move |value: Shown, times: usize| {
        let limit = read.left();
        read.spend(whole(&value, limit).saturating_mul(times)).map(|()| value)
    });
    let read = budget.clone();
    environment.add_filter(METER_OUTSIDE, move |value: Shown| read.spend(outside(&value)).map(|()| value));
    environment.add_filter("round", filters::round);
    let made = budget.clone();
    environment.add_filter("tojson", move |value: &Shown| {
        let limit = made.left();
        made.spend(whole(value, limit).saturating_mul(JSON))?;
        json(value).and_then(|text| made.spend(text.len()).map(|()| Shown::from_safe_string(text)))
    });
    environment.add_filter("trim", of_text(budget, |text| text.trim().to_owned()));
    let made = budget.clone();
    environment.add_filter("truncate", move |text: &str, characters: usize| {
        let text: String = text.chars().take(characters).collect();
        made.spend(text.len()).map(|()| text)
    });
    environment.add_filter("upper", of_text(budget, str::to_uppercase));
    environment.add_test("boolean", tests::is_boolean);
    environment.add_test("defined", tests::is_defined);
    environment.add_test("mapping", tests::is_mapping);
    environment.add_test("none", tests::is_none);
    environment.add_test("number", tests::is_number);
    environment.add_test("sequence", tests::is_sequence);
    environment.add_test("string", tests::is_string);
    environment.add_test("undefined", tests::is_undefined);
    environment
}

/// Returns the cost of taking the first or last element: nothing for a list, and the whole value for anything without
/// indices.
fn end(value: &Shown) -> usize {
    if matches!(value.kind(), ValueKind::Seq | ValueKind::String) { 1 } else { outside(value) }
}

/// Returns a filter whose output is about as large as its input.
fn of_text(
    budget: &Budget,
    make: fn(&str) -> String,
) -> impl Fn(&str) -> Result<String, Error> + Send + Sync + 'static {
    let budget = budget.clone();
    move |text: &str| budget.spend(CASE * text.len()).map(|()| make(text))
}

/// Joins texts and numbers.
fn join(values: &Shown, between: Option<&str>) -> Result<String, Error> {
    let mut text = String::new();
    for (index, value) in values.try_iter()?.enumerate() {
        if index > 0 {
            text.push_str(between.unwrap_or_default());
        }
        match value.as_str() {
            Some(part) => text.push_str(part),
            None if value.is_number() || value.downcast_object_ref::<Exact>().is_some() => {
                text.push_str(&json(&value)?);
            }
            None => return Err(ErrorKind::InvalidOperation.into()),
        }
        if text.len() > MAX_OUTPUT_BYTES {
            return Err(ErrorKind::WriteFailure.into());
        }
    }
    Ok(text)
}
