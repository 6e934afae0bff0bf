//! JSON Merge Patch ([RFC 7396](https://www.rfc-editor.org/rfc/rfc7396)) that keeps the digits of numbers.

use super::{Map, Value};

/// Applies a patch: `null` removes a field, an object is merged, any other value replaces the field.
pub fn merge(target: &mut Map, patch: Map) {
    for (name, value) in patch {
        match value {
            Value::Null => drop(target.remove(&name)),
            Value::Map(inner) => {
                let field = target.entry(name).or_insert(Value::Null);
                if !matches!(field, Value::Map(_)) {
                    *field = Value::Map(Map::new());
                }
                if let Value::Map(field) = field {
                    merge(field, inner);
                }
            }
            value @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::List(_)) => {
                target.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// The examples of RFC 7396, appendix A, that are about objects.
    #[rstest]
    #[case::replaces(r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#)]
    #[case::adds(r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#)]
    #[case::removes(r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#)]
    #[case::list_becomes_text(r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#)]
    #[case::text_becomes_list(r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#)]
    #[case::merges(r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#)]
    #[case::replaces_lists(r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#)]
    #[case::keeps_null(r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#)]
    #[case::drops_inner_null("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#)]
    #[case::keeps_digits(
        r#"{"a":1}"#,
        r#"{"a":0.10,"b":12345678901234567890123}"#,
        r#"{"a":0.10,"b":12345678901234567890123}"#
    )]
    fn merges(#[case] target: &str, #[case] patch: &str, #[case] expected: &str) {
        let read = |text: &str| match text.parse() {
            Ok(Value::Map(map)) => map,
            other => panic!("{other:?} is no map"),
        };
        let mut target = read(target);
        merge(&mut target, read(patch));
        assert_eq!(serde_json::to_string(&target).unwrap(), expected);
    }
}
