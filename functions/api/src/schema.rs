//! JSON Schemas that tenants bring: what they are, and whether an event keeps to its.

use domain::catalog::check_schema;
use domain::value::Map;
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::problem::Fault;

/// How much a compiled regular expression may take, in bytes. The engine has no backtracking: its time grows with the text alone.
const MAX_PATTERN_BYTES: usize = 256 * 1024;

/// How many violations are named.
const MAX_FAULTS: usize = 10;

/// A schema that data can be checked by.
pub(crate) struct Schema(Validator);

impl Schema {
    /// Compiles a schema; says why it is none, or none that is taken.
    pub(crate) fn compile(text: &str) -> Result<Self, String> {
        let schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        check_schema(&schema).map_err(|fault| fault.to_string())?;
        let options = jsonschema::options().offline();
        let options = options.with_pattern_options(PatternOptions::regex().size_limit(MAX_PATTERN_BYTES));
        let compiled = options.build(&schema).map_err(|error| {
            let place = error.instance_path().as_str().to_owned();
            let at = if place.is_empty() { String::new() } else { format!("{place}: ") };
            format!("{at}{}", error.masked())
        });
        compiled.map(Self)
    }

    /// Names what of the data is not as the schema says, below the pointer.
    pub(crate) fn faults(&self, data: &Map, pointer: &str) -> Vec<Fault> {
        let data = serde_json::to_string(data).and_then(|text| serde_json::from_str::<Value>(&text));
        let Ok(data) = data else {
            return vec![Fault::field(pointer, "has a number that is too large to be checked by the type's schema")];
        };
        let faults = self.0.iter_errors(&data).take(MAX_FAULTS);
        faults.map(|error| Fault::field(&format!("{pointer}{}", error.instance_path()), error.masked())).collect()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn faults(schema: &Value, data: &str) -> Vec<(String, String)> {
        let Ok(domain::value::Value::Map(data)) = data.parse() else { panic!("{data} is no object") };
        let faults = Schema::compile(&schema.to_string()).unwrap().faults(&data, "/data");
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
        ("#/data", "has a number that is too large to be checked by the type's schema"),
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
    fn is_none(#[case] schema: Value) {
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
}
