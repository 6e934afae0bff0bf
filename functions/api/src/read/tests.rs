use domain::value::object::from_object;
use domain::webhook::settings::Settings;
use rstest::rstest;
use serde::Deserialize;
use serde_json::json;

use super::*;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Body {
    count: u32,
    perhaps: Option<u32>,
    list: Vec<u32>,
    yes: bool,
    #[serde(deserialize_with = "from_object")]
    inner: Inner,
    one: One,
    two: Two,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Inner {
    one: One,
    name: String,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum One {
    #[default]
    A,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Two {
    #[default]
    A,
    B,
}

fn faults<T>(reading: Reading<T>) -> Vec<String> {
    reading.faults.into_iter().map(|FieldError { pointer, detail }| format!("{pointer} {detail}")).collect()
}

#[rstest]
#[case::fraction(json!({"count": 60.0}), "/count must be a whole number from 0 to 4294967295, not a number with a fraction or an exponent")]
#[case::negative(json!({"count": -1}), "/count must be a whole number from 0 to 4294967295")]
#[case::large(json!({"count": 4_294_967_296_u64}), "/count must be a whole number from 0 to 4294967295")]
#[case::text(json!({"count": "1"}), "/count must be a whole number from 0 to 4294967295, not a string")]
#[case::nullable(json!({"perhaps": true}), "/perhaps must be a whole number from 0 to 4294967295 or null, not true or false")]
#[case::boolean(json!({"yes": "true"}), "/yes must be true or false, not a string")]
#[case::object(json!({"list": {}}), "/list must be an array, not an object")]
#[case::array(json!({"inner": [1]}), "/inner must be an object, not an array")]
#[case::text_for_an_object(json!({"inner": "4815162342"}), "/inner must be an object, not a string")]
#[case::nested(json!({"inner": {"name": 4_815_162_342_i64}}), "/inner/name must be a string, not a number")]
#[case::one_value(json!({"one": "b"}), "/one must be \"a\"")]
#[case::some_values(json!({"two": "c"}), "/two must be \"a\" or \"b\"")]
#[case::no_value(json!({"two": 1}), "/two must be \"a\" or \"b\"")]
#[case::unknown(json!({"a/b": 1}), "/a~1b is unknown; the known names are count, perhaps, list, yes, inner, one, two")]
#[case::text_as_body(json!("4815162342"), " must be an object, not a string")]
fn a_fault_names_the_field_and_what_it_must_be_and_no_value(#[case] body: serde_json::Value, #[case] fault: &str) {
    assert_eq!(faults(read::<Body>(Value::of(&body))), [fault]);
}

#[test]
fn all_faults_are_found_at_once_and_the_rest_is_read() {
    let body = json!({"count": "1", "list": [1, "two", 3, null, 5], "inner": {"one": "b", "name": "n"}, "nmae": 1, "yes": true});
    let reading = read::<Body>(Value::of(&body));
    let read =
        Body { list: vec![1, 3, 5], inner: Inner { one: One::A, name: "n".into() }, yes: true, ..Body::default() };
    assert_eq!(reading.value, Some(read));
    let pointers: Vec<_> = reading.faults.iter().map(|fault| fault.pointer.as_str()).collect();
    assert_eq!(pointers, ["/count", "/inner/one", "/list/1", "/list/3", "/nmae"]);
}

#[test]
fn further_checks_name_what_was_sent_and_repeat_no_fault() {
    let reading = read::<Body>(Value::of(&json!({"count": "1", "list": ["zero", 1, "two", 3]})));
    let check = |body: &Body| {
        let at = |index: usize| FieldError::new(&format!("/list/{index}"), format!("is {}", body.list[index]));
        vec![FieldError::new("/count", "must not be 0"), at(0), at(1)]
    };
    let expected = [
        "/count must be a whole number from 0 to 4294967295, not a string",
        "/list/0 must be a whole number from 0 to 4294967295, not a string",
        "/list/2 must be a whole number from 0 to 4294967295, not a string",
        "/list/1 is 1",
        "/list/3 is 3",
    ];
    assert_eq!(faults(reading.and(check)), expected);
}

#[test]
fn every_missing_field_is_named() {
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Needs {
        text: String,
        number: u32,
        list: Vec<bool>,
        inner: Deeper,
    }
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Deeper {
        yes: bool,
        object: BTreeMap<String, u32>,
    }
    let reading = read::<Needs>(Value::of(&json!({"number": "1", "inner": {}})));
    let expected = [
        "/inner/yes is required",
        "/inner/object is required",
        "/number must be a whole number from 0 to 4294967295, not a string",
        "/text is required",
        "/list is required",
    ];
    assert_eq!(faults(reading), expected);
}

/// A webhook has most fields of all bodies, and types of its own in them.
#[test]
fn a_webhook_is_read_in_one_go() {
    let body = json!({
        "event_types": ["order.created", "a b", "order.*", 7], "changed": ["status", ""], "retry_policy": {"maxAttempts": "3"},
        "transitions": [{"field": "status", "to": "paid"}, {"form": 1}], "applications": ["a b"], "rate_limit": -1,
        "further_signatures": [{"scheme": "md5"}], "success_statuses": ["2xx", "9xx"], "enabled": 1, "tags": ["a", 7],
    });
    let pointers: Vec<_> = read::<Settings>(Value::of(&body)).faults.into_iter().map(|fault| fault.pointer).collect();
    let expected = [
        "/applications/0",
        "/changed/1",
        "/enabled",
        "/event_types/1",
        "/event_types/3",
        "/further_signatures/0/scheme",
        "/rate_limit",
        "/retry_policy/maxAttempts",
        "/success_statuses/1",
        "/tags/1",
        "/transitions/1/form",
        "/transitions/1/field",
    ];
    assert_eq!(pointers, expected);
}

#[rstest]
#[case::number("count=7&yes=true&two=b", &[])]
#[case::digits("inner=7", &["/inner must be an object, not a string"])]
#[case::several("count=many&yes=1&colour=red", &["/colour is unknown; the known names are count, perhaps, list, yes, inner, one, two",
    "/count must be a whole number from 0 to 4294967295", "/yes must be true or false"])]
#[case::twice("count=1&count=2", &["/count is given twice; send it once"])]
#[case::nullable("perhaps=null", &["/perhaps must be a whole number from 0 to 4294967295"])]
fn a_query_is_read_from_texts(#[case] query: &str, #[case] expected: &[&str]) {
    let parameters = query.split('&').map(|part| part.split_once('=').unwrap());
    let parameters = parameters.map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    assert_eq!(faults(read_query::<Body>(parameters)), expected);
}

#[rstest]
#[case::twice(
    r#"{"a": 1, "b": [{"c": 1, "c": 2}], "a": {"x": 1, "x": 2}}"#,
    "#/b/0/c is given twice; send it once; #/a is given twice; send it once"
)]
#[case::too_deep(&format!("{}{}", "[".repeat(101), "]".repeat(101)), "the body is not JSON: it is nested more than 100 levels deep, or a string has an invalid escape sequence")]
#[case::two_values("{} {}", "the body is not JSON: trailing characters at line 1 column 4")]
fn a_document_has_one_meaning(#[case] body: &str, #[case] detail: &str) {
    assert_eq!(document(body.as_bytes()).unwrap_err().to_string(), detail);
}

#[rstest]
#[case::offset("2026-11-28T10:00:00 01:00", "2026-11-28T10:00:00+01:00")]
#[case::fraction("2026-11-28T10:00:00.5 05:30", "2026-11-28T10:00:00.5+05:30")]
#[case::utc("2026-11-28T10:00:00Z", "2026-11-28T10:00:00Z")]
#[case::words("two words", "two words")]
#[case::accents("ééééé T é1:1", "ééééé T é1:1")]
fn the_plus_of_an_offset_survives_a_query(#[case] text: &str, #[case] expected: &str) {
    let reading = read_query::<BTreeMap<String, String>>(vec![("since".to_owned(), text.to_owned())]);
    assert_eq!(reading.value.unwrap()["since"], expected);
}
