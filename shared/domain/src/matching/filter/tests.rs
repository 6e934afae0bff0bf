use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value as Json, json};

use super::sieve::Sieve;
use super::*;
use crate::event::Event;
use crate::matching::effort::Effort;
use crate::source::Images;
use crate::source::tests::{change, films};
use crate::value::tests::map;

fn filter(pattern: &Json) -> Result<Filter, String> {
    serde_json::from_value(pattern.clone()).map_err(|error| error.to_string())
}

fn updated(old: &Json, new: &Json) -> Event {
    let image = |more: &Json| {
        let mut image = json!({"studio": "acme", "film_id": 7});
        image.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        map(&image)
    };
    films().events(change(Images::Modify(image(old), image(new)))).unwrap().remove(0)
}

#[rstest]
#[case::text(json!({"value": {"status": ["paid", "open"]}}), true)]
#[case::other_text(json!({"value": {"status": ["void"]}}), false)]
#[case::two_fields(json!({"value": {"status": ["paid"], "n": [2]}}), true)]
#[case::one_of_two_fields(json!({"value": {"status": ["paid"], "n": [3]}}), false)]
#[case::before_and_after(json!({"value": {"status": ["paid"]}, "oldValue": {"status": ["open"]}}), true)]
#[case::number_in_another_form(json!({"value": {"n": [2.0]}}), true)]
#[case::null(json!({"value": {"none": [null]}}), true)]
#[case::truth(json!({"value": {"yes": [true]}}), true)]
#[case::member_of_a_list(json!({"value": {"tags": ["b"]}}), true)]
#[case::nested(json!({"value": {"address": {"city": [{"prefix": "Par"}]}}}), true)]
#[case::suffix(json!({"value": {"address": {"city": [{"suffix": "is"}]}}}), true)]
#[case::case(json!({"value": {"status": [{"equals-ignore-case": "PAID"}]}}), true)]
#[case::wildcard(json!({"value": {"status": [{"wildcard": "p*d"}]}}), true)]
#[case::anything_but(json!({"value": {"status": [{"anything-but": ["open", "void"]}]}}), true)]
#[case::not_anything_but(json!({"value": {"status": [{"anything-but": "paid"}]}}), false)]
#[case::greater(json!({"value": {"n": [{"numeric": [">", 1]}]}}), true)]
#[case::range(json!({"value": {"n": [{"numeric": [">", 2, "<=", 5]}]}}), false)]
#[case::exists(json!({"value": {"status": [{"exists": true}]}}), true)]
#[case::exists_not(json!({"value": {"status": [{"exists": false}]}}), false)]
#[case::network(json!({"value": {"ip": [{"cidr": "10.0.0.0/8"}]}}), true)]
#[case::mask(json!({"updateMask": ["status"]}), true)]
#[case::event(json!({"eventType": [{"prefix": "film."}], "operationType": ["updated"], "collectionPath": ["films"], "entityId": ["7"]}), true)]
#[case::quotes(json!({"value": {"quoted": ["a \"b\" \\ é\n"]}}), true)]
#[case::not_a_range(json!({"value": {"n": [{"numeric": [">", 2, "<", 5]}]}}), false)]
#[case::null_is_no_number(json!({"value": {"none": [{"numeric": ["<", 5]}]}}), false)]
#[case::same_member(json!({"value": {"lines": {"a": [1], "b": [2]}}}), false)]
#[case::one_member(json!({"value": {"lines": {"a": [1], "b": [1]}}}), true)]
#[case::escaped_star(json!({"value": {"status": [{"wildcard": "p\\*d"}]}}), false)]
fn looks_into_an_event(#[case] pattern: Json, #[case] passes: bool) {
    let old = json!({"status": "open", "n": 1});
    let new = json!({"status": "paid", "n": 2, "none": null, "yes": true, "tags": ["a", "b"], "address": {"city": "Paris"},
        "ip": "10.1.2.3", "lines": [{"a": 1, "b": 1}, {"a": 2, "b": 2}], "quoted": "a \"b\" \\ é\n"});
    assert_eq!(filter(&pattern).unwrap().matches(&updated(&old, &new)), passes);
}

#[rstest]
#[case::empty(json!({}), " must name a field")]
#[case::unknown(json!({"detail": {}}), "/detail must be a field of an event: eventType")]
#[case::or(json!({"$or": []}), "/$or must not be used; register another webhook for the alternative")]
#[case::bare(json!({"value": {"a": "b"}}), r#"/value/a must be a list of values, such as ["paid"], or an object of fields"#)]
#[case::nothing(json!({"value": {"a": []}}), "/value/a must list at least one value")]
#[case::no_fields(json!({"value": {"a": {}}}), "/value/a must name a field")]
#[case::nested_list(json!({"value": {"a": [["b"]]}}), "/value/a/0 must be a string, a number, true, false, null or an operator")]
#[case::operator(json!({"value": {"a": [{"regex": "b"}]}}), "/value/a/0 must be a supported operator: prefix")]
#[case::two_operators(json!({"value": {"a": [{"prefix": "b", "suffix": "c"}]}}), "/value/a/0 must have one operator; list two operators as two alternatives")]
#[case::operand(json!({"value": {"a": [{"prefix": 1}]}}), "/value/a/0 must have a string after prefix")]
#[case::operator_in_operator(json!({"value": {"a": [{"anything-but": {"prefix": "b"}}]}}), "/value/a/0 must have a string, a number, or a list")]
#[case::mixed(json!({"value": {"a": [{"anything-but": ["b", 1]}]}}), "/value/a/0 must have a string, a number, or a list of only")]
#[case::half_a_comparison(json!({"value": {"a": [{"numeric": [">"]}]}}), "/value/a/0 must have one comparison or a lower and an upper bound after numeric, such as")]
#[case::two_lower_bounds(json!({"value": {"a": [{"numeric": [">", 1, ">=", 2]}]}}), "/value/a/0 must have one comparison")]
#[case::empty_range(json!({"value": {"a": [{"numeric": [">", 5, "<", 3]}]}}), "/value/a/0 must be a range that contains a number")]
#[case::open_point(json!({"value": {"a": [{"numeric": ["<=", 5, ">", 5.0]}]}}), "/value/a/0 must be a range that contains a number")]
#[case::exists_and(json!({"value": {"a": [{"exists": true}, "b"]}}), "/value/a/0 must be the only alternative, because it uses exists")]
#[case::network(json!({"value": {"a": [{"cidr": "10.0.0.0/99"}]}}), "/value/a/0 must have an IP network after cidr, such as")]
#[case::stars(json!({"value": {"a": [{"wildcard": "a**b"}]}}), "/value/a/0 must be a wildcard without two stars in a row")]
#[case::escape(json!({"value": {"a": [{"wildcard": "a\\b"}]}}), "/value/a/0 must be a wildcard without two stars in a row, and with each backslash")]
#[case::many(json!({"value": {"a": (0..201).collect::<Vec<_>>()}}), " must list at most 200 alternatives")]
#[case::large(json!({"value": {"a": ["x".repeat(5000)]}}), " must be at most 4096 bytes of JSON")]
fn names_unsupported_patterns(#[case] pattern: Json, #[case] detail: &str) {
    let error = filter(&pattern).unwrap_err();
    assert!(error.starts_with(detail), "{error}");
}

#[test]
fn names_everything_unsupported() {
    let pattern = json!({"$or": [], "value": {"a": "b", "c": ["d", {"regex": 1}, {"prefix": 1}], "e~/f": []}});
    let faults = Filter::try_from(map(&pattern)).unwrap_err().0;
    let pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
    assert_eq!(pointers, ["/$or", "/value/a", "/value/c/1", "/value/c/2", "/value/e~0~1f"]);
}

/// From a public report: three other accounts' events came too, because ids were compared as 64-bit floats.
#[rstest]
#[case::itself("3804086584686624768", true)]
#[case::next("3804086584686624769", false)]
#[case::same_float("3804086584686625000", false)]
#[case::same_float_below("3804086584686624512", false)]
#[case::spelled_otherwise("3804086584686624768.0", true)]
fn ids_of_64_bits_are_compared_exactly(#[case] account: &str, #[case] passes: bool) {
    let read = |text: &str| serde_json::from_str::<Filter>(text).unwrap();
    let event = |text: &str| {
        let Ok(Value::Map(value)) = text.parse() else { panic!() };
        let mut event = updated(&json!({"account": 0}), &json!({"account": 1}));
        event.new.as_mut().unwrap().properties.extend(value);
        event
    };
    let event = event(&format!(r#"{{"account": {account}}}"#));
    let equal = read(r#"{"value": {"account": [3804086584686624768]}}"#);
    assert_eq!(equal.matches(&event), passes);
    let other = read(r#"{"value": {"account": [{"anything-but": 3804086584686624768}]}}"#);
    assert_eq!(other.matches(&event), !passes);
    let range =
        read(r#"{"value": {"account": [{"numeric": [">=", 3804086584686624768, "<=", 3804086584686624768]}]}}"#);
    assert_eq!(range.matches(&event), passes);
    for filter in [equal, range] {
        let selected = candidates(&Sieve::new([(0, &filter)].into_iter()), &event);
        assert!(!passes || !selected.is_empty(), "{filter:?}");
    }
}

#[test]
fn numbers_are_stored_with_their_digits() {
    let pattern = r#"{"value":{"a":[0.10,12345678901234567890123,{"numeric":[">",1.50]}]}}"#;
    assert_eq!(serde_json::to_string(&serde_json::from_str::<Filter>(pattern).unwrap()).unwrap(), pattern);
}

#[test]
fn an_operator_without_brackets_is_in_doubt() {
    let doubts = filter(&json!({"value": {"a": {"numeric": [">", 5]}, "prefix": ["x"]}})).unwrap().doubts();
    let pointers: Vec<_> = doubts.iter().map(|doubt| doubt.pointer.as_str()).collect();
    assert_eq!(pointers, ["/value/a/numeric"]);
}

#[test]
fn has_a_part_for_each_field() {
    let pattern = json!({"value": {"a": ["b"], "c": {"d": [1]}}, "source": ["s"]});
    let parts: Vec<_> =
        filter(&pattern).unwrap().parts().iter().map(|(names, part)| (place(names), part.clone())).collect();
    let expected = [
        ("source", json!({"source": ["s"]})),
        ("value.a", json!({"value": {"a": ["b"]}})),
        ("value.c.d", json!({"value": {"c": {"d": [1]}}})),
    ];
    assert_eq!(parts, expected.map(|(place, part)| (place.to_owned(), filter(&part).unwrap())));
}

/// Texts with several forms.
const ODD_TEXTS: [&str; 9] = ["k", "\u{212a}", "ß", "ẞ", "μ", "Μ", "10.1.2.3", "2001:db8::1", "2001:0DB8::1"];

/// Entities with few names and values, so that patterns often match.
fn entity() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        "[ab\"\\\\é]{0,2}".prop_map(Json::from),
        (-2..3_i32).prop_map(Json::from),
        prop::sample::select(vec!["-0.0", "0.0", "1.5", "1e300"])
            .prop_map(|digits| digits.parse::<f64>().unwrap().into()),
        prop::sample::select(ODD_TEXTS.to_vec()).prop_map(Json::from),
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
    ];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
            prop::collection::btree_map("[xy]", inner, 0..3).prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[xy]", value, 0..3).prop_map(|map| Json::Object(map.into_iter().collect()))
}

fn alternatives() -> impl Strategy<Value = Json> {
    let text = "[ab\"\\\\é]{0,2}";
    let one = prop_oneof![
        text.prop_map(Json::from),
        (-2..3_i32).prop_map(Json::from),
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        text.prop_map(|text| json!({"prefix": text})),
        text.prop_map(|text| json!({"suffix": text})),
        "[ab]{0,2}".prop_map(|text| json!({"equals-ignore-case": text})),
        prop::sample::select(ODD_TEXTS.to_vec()).prop_map(|text| json!({"equals-ignore-case": text})),
        prop::sample::select(vec!["10.0.0.0/8", "10.1.2.3/32", "2001:db8::/32", "::/0"])
            .prop_map(|network| json!({"cidr": network})),
        prop::collection::vec(-2..3_i32, 1..3).prop_map(|numbers| json!({"anything-but": numbers})),
        "[ab]?\\*[ab]?".prop_map(|text| json!({"wildcard": text})),
        prop::collection::vec(text, 1..3).prop_map(|texts| json!({"anything-but": texts})),
        comparison(["<", "<=", "=", ">", ">="], -2..3).prop_map(|one| json!({"numeric": one})),
        (comparison([">", ">="], -2..0), comparison(["<", "<="], 0..3)).prop_map(|(lower, upper)| {
            let range = [lower, upper].concat();
            json!({"numeric": range})
        }),
    ];
    prop_oneof![
        3 => prop::collection::vec(one, 1..3).prop_map(Json::from),
        1 => any::<bool>().prop_map(|exists| json!([{"exists": exists}])),
    ]
}

fn comparison<const N: usize>(
    operators: [&'static str; N],
    numbers: std::ops::Range<i32>,
) -> impl Strategy<Value = Vec<Json>> {
    (prop::sample::select(operators.to_vec()), numbers)
        .prop_map(|(operator, number)| vec![operator.into(), number.into()])
}

fn pattern() -> impl Strategy<Value = Json> {
    let fields = alternatives().prop_recursive(2, 6, 2, |inner| {
        prop::collection::btree_map("[xy]", inner, 1..3).prop_map(|map| Json::Object(map.into_iter().collect()))
    });
    prop::collection::btree_map("[xy]", fields, 1..3).prop_map(|map| Json::Object(map.into_iter().collect()))
}

proptest! {
    /// Filters that the sieve does not select are not evaluated, so it must select all that match.
    #[test]
    fn the_sieve_misses_nothing(entity in entity(), patterns in prop::collection::vec(pattern(), 1..4)) {
        let event = updated(&json!({"changed": 1}), &entity);
        let mut filters = Vec::new();
        let mut expected = Vec::new();
        for (number, pattern) in patterns.iter().enumerate() {
            let filter = filter(&json!({"value": pattern})).unwrap();
            expected.extend(filter.matches(&event).then_some(number));
            filters.push((number, filter));
        }
        let all = Sieve::new(filters.iter().map(|(number, filter)| (*number, filter)));
        let found = candidates(&all, &event);
        let missed: Vec<_> = expected.iter().filter(|number| !found.contains(number)).collect();
        prop_assert!(missed.is_empty(), "{:?} of {:?}", missed, patterns);
    }
}

fn candidates(sieve: &Sieve<usize>, event: &Event) -> Vec<usize> {
    let mut found = Vec::new();
    sieve.candidates(event, &Effort::unlimited(), |id| found.push(id));
    found
}

/// Of very many different filters only those are selected that may match.
#[rstest]
#[case::prefix(|n| json!({"value": {"n": [{"prefix": format!("{n:04}")}]}}), json!({"n": "0007"}), &[7])]
#[case::suffix(|n| json!({"value": {"n": [{"suffix": format!("{n:04}")}]}}), json!({"n": "0007"}), &[7])]
#[case::start_of_a_wildcard(|n| json!({"value": {"n": [{"wildcard": format!("{n:04}*")}]}}), json!({"n": "0007"}), &[7])]
#[case::end_of_a_wildcard(|n| json!({"value": {"n": [{"wildcard": format!("*{n:04}")}]}}), json!({"n": "0007"}), &[7])]
#[case::range(|n| json!({"value": {"n": [{"numeric": [">=", n, "<", n + 1]}]}}), json!({"n": 7.5}), &[7])]
#[case::number(|n| json!({"value": {"n": [n]}}), json!({"n": 7.0}), &[7])]
#[case::the_field_that_differs(
    |n| json!({"eventType": [{"prefix": "film."}], "value": {"n": [{"numeric": [">", 990 + n]}]}}), json!({"n": 992}), &[0, 1, 2])]
#[case::another_field(|n| json!({"value": {"m": [{"prefix": format!("{n:04}")}]}}), json!({"n": "0007"}), &[])]
fn names_few_of_many(#[case] shape: fn(usize) -> Json, #[case] entity: Json, #[case] named: &[usize]) {
    let filters: Vec<_> = (0..1000).map(|n| filter(&shape(n)).unwrap()).collect();
    let all = Sieve::new(filters.iter().enumerate());
    let mut found = candidates(&all, &updated(&json!({}), &entity));
    found.sort_unstable();
    assert_eq!(found, named);
}

/// Searching for a wildcard takes time in proportion to the sum of its length and the text's, not their product.
#[test]
fn the_work_of_a_filter_is_counted_and_bounded() {
    let wildcard = filter(&json!({"value": {"a": [{"wildcard": format!("{}b", "a*".repeat(1000))}]}})).unwrap();
    let event = updated(&json!({}), &json!({"a": "a".repeat(300_000)}));
    let effort = Effort::new(1_000_000);
    assert!(!wildcard.matches_within(&event, &effort));
    assert!(!effort.is_spent() && effort.left() < 970_000, "{effort:?}");
    let started = std::time::Instant::now();
    assert!(!wildcard.matches(&event));
    assert!(started.elapsed().as_millis() < 500, "{:?}", started.elapsed());
    let effort = Effort::new(1_000);
    _ = wildcard.matches_within(&event, &effort);
    assert!(effort.is_spent());
}
