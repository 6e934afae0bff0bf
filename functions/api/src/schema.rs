//! Tenants' JSON Schemas: compiles them, and checks events against them.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use domain::event::catalog::{SchemaSize, check_schema};
use domain::value::{Map, Value as DataValue};
use jsonschema::{PatternOptions, Validator};
use lru::LruCache;
use serde_json::Value;

use crate::problem::Fault;

/// The size limit of a compiled regular expression, in bytes. The engine does not backtrack, so its time grows with the
/// size of the text and the expression. Stored schemas have a higher limit, because earlier versions accepted larger
/// expressions.
const MAX_PATTERN_BYTES: usize = 64 * 1024;
const MAX_KEPT_PATTERN_BYTES: usize = 256 * 1024;

/// The largest number of violations that are reported.
const MAX_FAULTS: usize = 10;

/// The limit of one request's work for checking, in the units of [`SchemaSize::work`]: about half a second of a whole
/// core.
const WORK: u64 = 10_000_000;

/// The limit of schema parts that one request may compile: two schemas of the largest size. Later requests find the
/// compiled schemas in the cache.
const COMPILED_PARTS: usize = 10_000;

/// The largest number of schemas in the cache, and of their parts. A regular expression counts as a hundred parts, so
/// the cache has at most a hundred of the largest ones.
const KEPT: NonZeroUsize = NonZeroUsize::new(64).unwrap();
const KEPT_PARTS: usize = 10_000;

/// A compiled schema.
#[derive(Debug)]
pub(crate) struct Schema {
    validator: Validator,
    size: SchemaSize,
}

/// What is left of the limits of one request.
#[derive(Debug)]
pub(crate) struct Budget {
    work: u64,
    parts: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { work: WORK, parts: COMPILED_PARTS }
    }
}

/// Why a stored schema cannot be used.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// The request has used up its limit of compiled parts.
    TooMany,
    /// The schema is invalid, although it was accepted when it was stored.
    Broken(String),
}

/// A cache of compiled schemas by their text. Tenants with the same schema share an entry.
#[derive(Debug)]
pub(crate) struct Compiled(Mutex<LruCache<String, Arc<Schema>>>);

impl Default for Compiled {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(KEPT)))
    }
}

impl Compiled {
    /// Returns a stored schema, compiled.
    pub(crate) fn get(&self, text: &str, budget: &mut Budget) -> Result<Arc<Schema>, Unusable> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schema) = kept.get(text) {
            return Ok(Arc::clone(schema));
        }
        let (value, size) = read(text).map_err(Unusable::Broken)?;
        budget.parts = budget.parts.checked_sub(size.parts).ok_or(Unusable::TooMany)?;
        let schema = Arc::new(Schema::build(&value, size, MAX_KEPT_PATTERN_BYTES).map_err(Unusable::Broken)?);
        kept.put(text.to_owned(), Arc::clone(&schema));
        while kept.iter().map(|(_, schema)| schema.size.parts).sum::<usize>() > KEPT_PARTS {
            kept.pop_lru();
        }
        Ok(schema)
    }
}

/// Reads a schema. The error says why it is not accepted.
fn read(text: &str) -> Result<(Value, SchemaSize), String> {
    let schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let size = check_schema(&schema).map_err(|fault| fault.to_string())?;
    Ok((schema, size))
}

impl Schema {
    /// Compiles a new schema. The error says why it is not accepted.
    pub(crate) fn compile(text: &str) -> Result<Self, String> {
        let (schema, size) = read(text)?;
        Self::build(&schema, size, MAX_PATTERN_BYTES)
    }

    fn build(schema: &Value, size: SchemaSize, pattern_bytes: usize) -> Result<Self, String> {
        let options = jsonschema::options().offline();
        let options = options.with_pattern_options(PatternOptions::regex().size_limit(pattern_bytes));
        let compiled = options.build(schema).map_err(|error| {
            let place = error.instance_path().as_str().to_owned();
            let at = if place.is_empty() { String::new() } else { format!("{place}: ") };
            format!("{at}{}", error.masked())
        });
        compiled.map(|validator| Self { validator, size })
    }

    /// Returns the violations of the schema, with pointers below the given one, or that checking exceeds the budget.
    pub(crate) fn faults(&self, data: &Map, pointer: &str, budget: &mut Budget) -> Vec<Fault> {
        let Extent { values, bytes } = Extent::of_map(data);
        let work = self.size.work(values, bytes);
        let Some(left) = budget.work.checked_sub(work) else {
            let detail = if work > WORK {
                "has too many values to check against the schema of its type; send less at once, or simplify the schema"
            } else {
                "was not checked: earlier events used up the request's schema checks; send it in another request"
            };
            return vec![Fault::field(pointer, detail)];
        };
        budget.work = left;
        let data = serde_json::to_string(data).and_then(|text| serde_json::from_str::<Value>(&text));
        let Ok(data) = data else {
            return vec![Fault::field(pointer, "has a number that is too large to check against the type's schema")];
        };
        let faults = self.validator.iter_errors(&data).take(MAX_FAULTS);
        faults.map(|error| Fault::field(&format!("{pointer}{}", error.instance_path()), error.masked())).collect()
    }
}

/// The number of values in data, and the bytes of their strings and names.
#[derive(Debug, Default)]
struct Extent {
    values: usize,
    bytes: usize,
}

impl Extent {
    fn of_map(map: &Map) -> Self {
        let mut extent = Self { values: 1, bytes: 0 };
        extent.add_map(map);
        extent
    }

    fn add_map(&mut self, map: &Map) {
        for (name, value) in map {
            self.bytes += name.len();
            self.add(value);
        }
    }

    fn add(&mut self, value: &DataValue) {
        self.values += 1;
        match value {
            DataValue::List(members) => members.iter().for_each(|member| self.add(member)),
            DataValue::Map(map) => self.add_map(map),
            DataValue::String(text) => self.bytes += text.len(),
            DataValue::Null | DataValue::Bool(_) | DataValue::Number(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn faults(schema: &Value, data: &str) -> Vec<(String, String)> {
        let Ok(domain::value::Value::Map(data)) = data.parse() else { panic!("{data} is no object") };
        let faults = Schema::compile(&schema.to_string()).unwrap();
        let faults = faults.faults(&data, "/data", &mut Budget::default());
        faults.into_iter().map(|fault| (fault.pointer, fault.detail)).collect()
    }

    #[rstest]
    #[case::good(r#"{"id": "in_1", "total": 12345678901234567890123456789012345678}"#, &[])]
    #[case::missing("{}", &[("#/data", r#""id" is a required property"#)])]
    #[case::wrong_types(r#"{"id": 7, "lines": [{"n/m": "secret"}]}"#, &[
        ("#/data/id", r#"value is not of type "string""#), ("#/data/lines/0/n~1m", r#"value is not of type "number""#),
    ])]
    #[case::pattern(r#"{"id": "secret"}"#, &[("#/data/id", r#"value does not match "^in_""#)])]
    #[case::no_number_of_ours(r#"{"id": "in_1", "total": 1E400}"#, &[
        ("#/data", "has a number that is too large to check against the type's schema"),
    ])]
    fn names_the_field_and_never_the_value(#[case] data: &str, #[case] expected: &[(&str, &str)]) {
        let schema = json!({
            "type": "object", "required": ["id"],
            "properties": {
                "id": {"type": "string", "pattern": "^in_"}, "total": {"type": "number"},
                "lines": {"items": {"properties": {"n/m": {"type": "number"}}}},
            },
        });
        let expected: Vec<_> =
            expected.iter().map(|(pointer, detail)| ((*pointer).to_owned(), (*detail).to_owned())).collect();
        assert_eq!(faults(&schema, data), expected);
    }

    #[rstest]
    #[case::wrong_keyword(json!({"type": "strnig"}))]
    #[case::backtracking(json!({"pattern": "(a)\\1"}))]
    #[case::large_pattern(json!({"pattern": "(\\w{100}){100}"}))]
    #[case::another_document(json!({"$ref": "file:///etc/passwd"}))]
    #[case::unknown_draft(json!({"$schema": "https://example.com/draft"}))]
    fn refuses_invalid_schemas(#[case] schema: Value) {
        assert!(Schema::compile(&schema.to_string()).is_err());
    }

    #[test]
    fn as_deep_as_may_be_is_not_too_deep() {
        let chain = (0..30).map(|number| (format!("d{number}"), json!({"$ref": format!("#/$defs/d{}", number + 1)})));
        let mut defs: serde_json::Map<_, _> = chain.collect();
        defs.insert("d30".to_owned(), json!({"type": "array"}));
        let schema = json!({"$defs": defs, "additionalProperties": {"$ref": "#/$defs/d0"}});
        let deep = format!(r#"{{"a": {}1{}}}"#, "[".repeat(98), "]".repeat(98));
        assert!(faults(&schema, &deep).is_empty());
        assert_eq!(faults(&schema, r#"{"a": 1}"#).len(), 1);
    }

    /// Whatever schemas and events a tenant sends, checking one request takes bounded time, and what was not checked is
    /// reported.
    #[rstest]
    #[case::many_parts_for_many_members(
        json!({"properties": {"l": {"items": {"allOf": vec![json!({"not": {"const": "x"}}); 1_200]}}}}), json!({"l": vec![1; 50_000]}))]
    #[case::patterns_over_a_text(
        json!({"properties": {"t": {"allOf": (1..40).map(|n| json!({"pattern": format!("([a-z]{{1,{n}}}x)+$")})).collect::<Vec<_>>()}}}),
        json!({"t": "w".repeat(240_000)}))]
    #[case::unevaluated_in_unevaluated(
        (0..16).fold(json!({"type": "number"}), |inner, _| json!({"allOf": [{"properties": {"a": inner}}], "unevaluatedProperties": false})),
        (0..16).fold(json!("x"), |inner, _| json!({"a": inner})))]
    #[case::alternatives_in_alternatives(
        (0..9).fold(json!({"type": "number"}), |inner, _| json!({"properties": {"a": {"anyOf": [inner, {"const": 1}, inner]}}})),
        (0..9).fold(json!("x"), |inner, _| json!({"a": inner})))]
    #[case::unique_items(json!({"properties": {"l": {"uniqueItems": true}}}), json!({"l": (0..40_000).map(|n| json!([n, {"a": n}])).collect::<Vec<_>>()}))]
    fn is_checked_in_good_time(#[case] schema: Value, #[case] data: Value) {
        let Ok(DataValue::Map(data)) = data.to_string().parse() else { panic!("no object") };
        let (compiled, mut budget) = (Compiled::default(), Budget::default());
        let started = std::time::Instant::now();
        let mut ends = Vec::new();
        for _ in 0..100 {
            match compiled.get(&schema.to_string(), &mut budget) {
                Ok(schema) => ends.push(schema.faults(&data, "/data", &mut budget)),
                Err(unusable) => panic!("{unusable:?}"),
            }
        }
        assert_eq!(ends.len(), 100);
        // This measures nothing exactly: unbounded checking takes hours, and bounded checking takes seconds on any
        // machine.
        assert!(started.elapsed().as_secs() < 120, "{:?}", started.elapsed());
    }

    #[test]
    fn what_is_too_much_is_said_and_not_checked() {
        let data = |count: usize| match json!({"l": vec![1; count]}).to_string().parse() {
            Ok(DataValue::Map(data)) => data,
            _ => panic!("no object"),
        };
        let schema = json!({"properties": {"l": {"items": {"enum": (0..1_000).collect::<Vec<_>>()}}}}).to_string();
        let schema = Schema::compile(&schema).unwrap();
        let mut budget = Budget::default();
        assert!(schema.faults(&data(5_000), "/data", &mut budget).is_empty());
        let said = |faults: Vec<Fault>| faults.into_iter().map(|fault| fault.detail).collect::<String>();
        assert!(said(schema.faults(&data(6_000), "/data", &mut budget)).starts_with("was not checked"));
        assert!(said(schema.faults(&data(20_000), "/data", &mut budget)).starts_with("has too many values"));
        assert!(schema.faults(&data(100), "/data", &mut budget).is_empty(), "what fits is still checked");
    }

    #[test]
    fn a_request_has_few_schemas_compiled_and_the_next_goes_on() {
        let text = |number: usize| {
            json!({"$comment": format!("{number}"), "enum": (0..4_000).collect::<Vec<_>>()}).to_string()
        };
        let compiled = Compiled::default();
        let mut budget = Budget::default();
        assert!(compiled.get(&text(0), &mut budget).is_ok());
        assert!(compiled.get(&text(1), &mut budget).is_ok());
        assert!(matches!(compiled.get(&text(2), &mut budget), Err(Unusable::TooMany)));
        assert!(compiled.get(&text(1), &mut budget).is_ok(), "it is compiled already");
        assert!(compiled.get(&text(2), &mut Budget::default()).is_ok());
        assert!(compiled.0.lock().unwrap().len() <= 2, "they are not kept for ever");
    }
}
