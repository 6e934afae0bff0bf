//! The format `template`: what a webhook's owner makes of an event, in a small part of Jinja.
//!
//! The template is the tenant's and runs beside everybody's events, so it is bounded in what it may say ([`policy`]), in
//! steps, and in what it makes. What it prints is JSON, with the exact digits of every number.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::{Object, ObjectRepr, Value as Shown, ValueKind};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, filters, tests};

use super::RenderError;
use super::view::{FieldChange, View};
use crate::event::Removal;
use crate::text::clip;
use crate::value::{Map, Value};

pub(super) mod policy;

/// The longest template.
pub const MAX_TEMPLATE_BYTES: usize = 16 * 1024;

/// The most that a template may make.
const MAX_OUTPUT_BYTES: usize = 256 * 1024;

/// How many steps it may take, and how many bytes they may look at if each looks at all that there is: of a large event there
/// may be fewer steps.
const MAX_STEPS: u64 = 50_000;
const MAX_STEPS_BYTES: u64 = 512 * 1024 * 1024;

/// How much of what is wrong with it is told, in bytes: it may quote the template.
const MAX_REASON_BYTES: usize = 500;

/// How many bytes its filters may read and make.
const MAX_FILTERED_BYTES: usize = 16 * 1024 * 1024;

/// What a template may cost, for the event that it is rendered for.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    /// How many bytes there are to look at.
    seen: usize,
    /// How many steps are left for that.
    steps: u64,
}

impl Allowance {
    /// The template's own texts are to look at, too.
    fn of(source: &str, seen: usize) -> Self {
        let each = u64::try_from(source.len() + seen).unwrap_or(u64::MAX).max(1);
        Self { seen, steps: MAX_STEPS.min(MAX_STEPS_BYTES / each) }
    }
}

/// How many bytes filters may still read and make. It is at zero once there were not enough.
#[derive(Debug, Clone)]
struct Budget(Arc<AtomicUsize>);

impl Budget {
    fn spend(&self, bytes: usize) -> Result<(), Error> {
        let left = self.0.load(Ordering::Relaxed).saturating_sub(bytes.max(1));
        self.0.store(left, Ordering::Relaxed);
        if left == 0 { Err(ErrorKind::OutOfFuel.into()) } else { Ok(()) }
    }

    fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// Renders the template. What it makes is JSON.
pub(super) fn render(source: &str, view: &View<'_>) -> Result<String, RenderError> {
    let text = run(source, context(view), UndefinedBehavior::SemiStrict, Allowance::of(source, view.bytes()))?;
    check_json(&text)?;
    Ok(text)
}

/// Two looks, as the first says where but not into strings: there an escape can write half of a surrogate pair.
fn check_json(text: &str) -> Result<(), RenderError> {
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map_err(|error| RenderError::NotJson { line: error.line(), column: error.column() })?;
    text.parse::<Value>().map_err(|_| RenderError::HardToRead)?;
    Ok(())
}

/// Says what is wrong with a template, if anything is.
///
/// What it makes is not known before there is an event. But if whatever it makes of events without attributes is not JSON, no
/// event is likely to mend that: a quote is missing, or a comma.
pub(super) fn fault(source: &str) -> Option<String> {
    if source.len() > MAX_TEMPLATE_BYTES {
        return Some(format!("must be at most {MAX_TEMPLATE_BYTES} bytes"));
    }
    if let Err(error) = policy::check(source) {
        return Some(error.to_string());
    }
    let results = ["created", "updated", "deleted"].map(|operation| {
        let context = BTreeMap::from([("operationType", Shown::from(operation))]);
        run(source, context, UndefinedBehavior::Chainable, Allowance::of(source, 0))
    });
    // What is too much where there is nothing to look at is too much for every event.
    if let Some(error) = results.iter().filter_map(|result| result.as_ref().err()).find(|error| error.is_excess()) {
        return Some(error.to_string());
    }
    let made: Vec<_> = results.iter().flatten().map(|text| check_json(text)).collect();
    let last = made.iter().filter_map(|made| made.as_ref().err()).next_back();
    last.filter(|_| made.iter().all(Result::is_err))
        .map(|error| format!("must make JSON, and of no operation does: {error}"))
}

fn run(
    source: &str,
    context: BTreeMap<&'static str, Shown>,
    undefined: UndefinedBehavior,
    allowance: Allowance,
) -> Result<String, RenderError> {
    policy::check(source)?;
    let budget = Budget(Arc::new(AtomicUsize::new(MAX_FILTERED_BYTES)));
    let mut environment = environment(&budget);
    environment.set_fuel(Some(allowance.steps));
    environment.set_undefined_behavior(undefined);
    let template = environment.template_from_str(source).map_err(|error| told(&error, None))?;
    let mut text = Limited(Vec::new());
    let excess =
        |error: &Error| told(error, Some(if budget.is_spent() { Excess::Filters } else { Excess::Steps(allowance) }));
    template.render_captured_to(Shown::from_pairs(context), &mut text).map_err(|error| excess(&error))?;
    String::from_utf8(text.0).map_err(|_| RenderError::NotJson { line: 1, column: 1 })
}

/// Knows no filter, test or function but those here: each takes and makes little.
fn environment(budget: &Budget) -> Environment<'static> {
    let mut environment = Environment::empty();
    // So that an error names the variable that is absent; of the rest of such an error nothing is told.
    environment.set_debug(true);
    environment.set_formatter(|out, _, value| {
        if value.is_undefined() {
            return out.write_str("null").map_err(Error::from);
        }
        out.write_str(&json(value)?).map_err(Error::from)
    });
    environment.add_filter("abs", filters::abs);
    environment.add_filter("default", filters::default);
    environment.add_filter("first", filters::first);
    environment.add_filter("float", |value: &Shown| match value.downcast_object_ref::<Exact>() {
        Some(Exact(digits)) => digits.parse::<f64>().map_err(|_| Error::from(ErrorKind::InvalidOperation)),
        None => f64::try_from(value.clone()),
    });
    environment.add_filter("int", filters::int);
    environment.add_filter("items", filters::items);
    let made = budget.clone();
    environment.add_filter("join", move |values: &Shown, between: Option<&str>| {
        join(values, between).and_then(|text| made.spend(text.len()).map(|()| text))
    });
    environment.add_filter("last", filters::last);
    let read = budget.clone();
    environment.add_filter("length", move |value: &Shown| {
        read.spend(value.as_str().map_or(1, str::len))?;
        filters::length(value)
    });
    environment.add_filter("lower", of_text(budget, str::to_lowercase));
    environment.add_filter("round", filters::round);
    let made = budget.clone();
    environment.add_filter("tojson", move |value: &Shown| {
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

/// Returns a filter that makes about as much as it reads.
fn of_text(
    budget: &Budget,
    make: fn(&str) -> String,
) -> impl Fn(&str) -> Result<String, Error> + Send + Sync + 'static {
    let budget = budget.clone();
    move |text: &str| budget.spend(text.len()).map(|()| make(text))
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

/// What there was too much of, should a template have been stopped.
#[derive(Clone, Copy)]
enum Excess {
    Steps(Allowance),
    Filters,
}

/// Tells of an error what the template says, and nothing that the event says.
fn told(error: &Error, excess: Option<Excess>) -> RenderError {
    use ErrorKind::{
        MissingArgument, OutOfFuel, SyntaxError, TooManyArguments, UndefinedError, UnknownFilter, UnknownTest,
        WriteFailure,
    };
    let kind = error.kind();
    if kind == WriteFailure {
        return RenderError::TooLarge { limit: MAX_OUTPUT_BYTES };
    }
    let line = error.line().unwrap_or(1);
    if kind == OutOfFuel {
        return match excess {
            Some(Excess::Filters) => RenderError::TooMuch { line, limit: MAX_FILTERED_BYTES },
            Some(Excess::Steps(Allowance { seen, steps })) if steps < MAX_STEPS => {
                RenderError::TooLong { line, steps, seen }
            }
            Some(Excess::Steps(_)) | None => RenderError::TooLong { line, steps: MAX_STEPS, seen: 0 },
        };
    }
    let of_the_template =
        matches!(kind, MissingArgument | SyntaxError | TooManyArguments | UndefinedError | UnknownFilter | UnknownTest);
    let reason = match error.detail() {
        Some(detail) if of_the_template => detail,
        _ => &kind.to_string(),
    };
    refused(line, reason)
}

fn refused(line: usize, reason: &str) -> RenderError {
    RenderError::Template { line, reason: clip(reason, MAX_REASON_BYTES) }
}

/// Takes no more than may be made.
struct Limited(Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A number that the template's language cannot hold: it is written to the letter, and not computed with.
#[derive(Debug)]
struct Exact(String);

impl Object for Exact {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The names of the format `change`, and `value` and `oldValue` as the attributes themselves.
fn context(view: &View<'_>) -> BTreeMap<&'static str, Shown> {
    let event = view.event;
    let removal = |removal| (event.removal == Some(removal)).then(|| Shown::from(true));
    let names = |mask: &[String]| mask.iter().map(Shown::from).collect::<Vec<_>>().into();
    let entries = [
        ("eventTimestamp", Some(Shown::from(&view.at))),
        ("operationType", Some(event.operation.to_string().into())),
        ("entityPath", Some(Shown::from(&view.path))),
        ("entityId", Some(Shown::from(&event.entity.id))),
        ("entityKey", Some(Shown::from(&event.entity.key))),
        ("collectionPath", Some(Shown::from(&event.entity.collection))),
        ("organizationId", Some(event.tenant.as_str().into())),
        ("eventId", Some(event.id.to_string().into())),
        ("eventType", Some(view.event_type.as_str().into())),
        ("sequence", Some(Shown::from(&event.sequence))),
        ("state", view.state().map(Shown::from)),
        ("previous", view.previous().map(Shown::from)),
        ("softRemoved", removal(Removal::Soft)),
        ("expired", removal(Removal::Expired)),
        ("related", Some(shown_map(&view.related))),
        ("value", view.value().map(shown_map)),
        ("oldValue", view.old_value().map(shown_map)),
        ("changes", view.changes().map(|changes| changes.iter().map(shown_change).collect::<Vec<_>>().into())),
        ("updateMask", view.update_mask.as_deref().map(names)),
        ("properties", Some(shown_json(view.properties))),
    ];
    entries.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn shown_json(properties: &super::Properties) -> Shown {
    let text = super::json::text(properties);
    text.parse::<Value>().map_or(Shown::UNDEFINED, |value| shown(&value))
}

fn shown_change(change: &FieldChange<'_>) -> Shown {
    let field = ("field", Some(Shown::from(&change.field)));
    let entries = [field, ("old", change.old.map(shown)), ("new", change.new.map(shown))];
    Shown::from_pairs(entries.into_iter().filter_map(|(name, value)| Some((name, value?))))
}

fn shown_map(map: &Map) -> Shown {
    Shown::from(map.iter().map(|(key, value)| (key.clone(), shown(value))).collect::<BTreeMap<String, Shown>>())
}

fn shown(value: &Value) -> Shown {
    match value {
        Value::Null => Shown::from(()),
        Value::Bool(value) => Shown::from(*value),
        Value::Number(_) => number(value.as_text().unwrap_or_default()),
        Value::String(text) => Shown::from(text),
        Value::List(values) => values.iter().map(shown).collect::<Vec<_>>().into(),
        Value::Map(map) => shown_map(map),
    }
}

/// An integer of 128 bits or a number of 64 bits, if that is exactly the number; its digits otherwise.
fn number(digits: &str) -> Shown {
    let integer = digits.parse::<i128>().ok().filter(|integer| integer.to_string() == digits);
    let float = digits.parse::<f64>().ok().filter(|float| decimal(&format!("{float:e}")) == decimal(digits));
    integer
        .map(Shown::from)
        .or_else(|| float.map(Shown::from))
        .unwrap_or_else(|| Shown::from_object(Exact(digits.to_owned())))
}

/// Returns the sign, the digits and the power of ten of a decimal number: the same for every spelling of it.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all = format!("{}{fraction}", whole.trim_start_matches('-'));
    let digits = all.trim_start_matches('0').trim_end_matches('0');
    let zeros = all.len() - all.trim_end_matches('0').len();
    let places = i64::try_from(fraction.len()).ok()? - i64::try_from(zeros).ok()?;
    let power = if digits.is_empty() { 0 } else { exponent.parse::<i64>().ok()?.checked_sub(places)? };
    Some((text.starts_with('-'), digits.to_owned(), power))
}

/// Writes a value as JSON.
fn json(value: &Shown) -> Result<String, Error> {
    let mut text = String::new();
    write_json(value, &mut text)?;
    Ok(text)
}

fn write_json(value: &Shown, text: &mut String) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => text.push_str("null"),
        ValueKind::Bool => text.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number if value.is_integer() => text.push_str(&value.to_string()),
        ValueKind::Number => {
            let float = f64::try_from(value.clone()).ok().and_then(serde_json::Number::from_f64);
            text.push_str(&float.ok_or(ErrorKind::BadSerialization)?.to_string());
        }
        ValueKind::String if value.is_safe() => text.push_str(value.as_str().unwrap_or_default()),
        ValueKind::String => text.push_str(&super::json::text(&value.as_str())),
        ValueKind::Seq | ValueKind::Iterable => write_list(value, text)?,
        ValueKind::Map => write_map(value, text)?,
        ValueKind::Plain | ValueKind::Undefined | ValueKind::Bytes | ValueKind::Invalid | _ => {
            let Some(Exact(digits)) = value.downcast_object_ref() else {
                return Err(ErrorKind::BadSerialization.into());
            };
            text.push_str(digits);
        }
    }
    // At every level, so that a list of the same long list is not made to the end.
    if text.len() > MAX_OUTPUT_BYTES { Err(ErrorKind::WriteFailure.into()) } else { Ok(()) }
}

fn write_list(values: &Shown, text: &mut String) -> Result<(), Error> {
    text.push('[');
    for (index, value) in values.try_iter()?.enumerate() {
        if index > 0 {
            text.push(',');
        }
        write_json(&value, text)?;
    }
    text.push(']');
    Ok(())
}

fn write_map(map: &Shown, text: &mut String) -> Result<(), Error> {
    text.push('{');
    for (index, key) in map.try_iter()?.enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&super::json::text(&key.as_str().ok_or(ErrorKind::NonKey)?));
        text.push(':');
        write_json(&map.get_item(&key)?, text)?;
    }
    text.push('}');
    Ok(())
}
