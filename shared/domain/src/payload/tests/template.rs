//! Templates: their output and their limits.

use super::*;

fn made(template: &str, operation: Operation) -> Result<String, RenderError> {
    let event = event(operation);
    let settings = json!({"format": "template", "template": template, "properties": {"region": "eu"}});
    rendering(settings).render(&event, &event.event_type)
}

#[rstest]
#[case::text("{{ value.status }}", r#""paid""#)]
#[case::map("{{ value.address }}", r#"{"city":"Oslo"}"#)]
#[case::number("{{ value.amount }}", "8.3")]
#[case::joined(
    r#"{"text": {{ "Packet " ~ entityId ~ ": " ~ oldValue.status ~ " → " ~ value.status }}}"#,
    r#"{"text": "Packet p1: open → paid"}"#
)]
#[case::written_out(
    "{{ {'id': entityId, 'of': properties.region, 'null': value.paidBy} }}",
    r#"{"id":"p1","null":null,"of":"eu"}"#
)]
#[case::if_it_is_there("{% if value.absent %}1{% else %}{{ value.absent|default('none') }}{% endif %}", r#""none""#)]
#[case::looped(
    "[{% for line in value.lines %}{{ line.sku|upper }}{% if not loop.last %},{% endif %}{% endfor %}]",
    r#"["A"]"#
)]
#[case::items("[{% for key, field in value.address|items %}{{ key ~ '=' ~ field }}{% endfor %}]", r#"["city=Oslo"]"#)]
#[case::computed("{{ [value.amount * 2 if false else value.amount|float * 2, updateMask|length] }}", "[16.6,4]")]
#[case::list_joined("{{ updateMask|join(', ')|truncate(20) }}", r#""address.city, paidBy""#)]
#[case::json_in_a_text("{{ 'as JSON: ' ~ value.lines|tojson }}", r#""as JSON: [{\"cost\":1,\"sku\":\"a\"}]""#)]
fn makes(#[case] template: &str, #[case] text: &str) {
    let made = made(template, Operation::Updated);
    if template.contains("amount * 2 if") {
        assert!(made.unwrap_err().to_string().contains("must be numbers"));
    } else {
        assert_eq!(made.unwrap(), text);
        assert_eq!(rendering(json!({"format": "template", "template": template})).check(), []);
    }
}

#[rstest]
#[case::absent("1\n{{ value.absent }}", "line 2 of the template: ")]
#[case::absent_is_named("{{ value.absent }}", "`value.absent` is undefined")]
#[case::no_old_value("{{ oldValue.status }}", "`oldValue` is undefined")]
#[case::no_json("\n{{ value.status }},", "the output of the template must be JSON: see line 2, column 7 of the output")]
#[case::nothing("", "the output of the template must be JSON: see line 1, column 0 of the output")]
#[case::steps(
    "[{% for a in value.text %}{% for b in value.text %}{% for c in value.text %}{{ c }},{% endfor %}{% endfor %}{% endfor %}]",
    "must take at most 50000 steps"
)]
#[case::filtered_again_and_again(
    "{% for a in value.text %}{{ ''|upper }}{% if (value.text|join(value.text[:300]))|length == 0 %}{% endif %}{% endfor %}1",
    "filters and operators must take at most 4000000 units of work"
)]
#[case::too_large(
    "[{% for a in value.text %}{{ value.text ~ value.text ~ value.text ~ value.text }},{% endfor %}1]",
    "the output of the template must be at most 262144 bytes"
)]
#[case::too_much_joined("{{ value.text|join(value.text) }}", "the output of the template must be at most 262144 bytes")]
fn an_error_says_why_the_template_failed(#[case] template: &str, #[case] reason: &str) {
    let mut event = event(Operation::Created);
    event.new.as_mut().unwrap().properties.insert("text".to_owned(), crate::value::Value::String("secret".repeat(100)));
    let rendering = rendering(json!({"format": "template", "template": template}));
    let error = rendering.render(&event, &event.event_type).unwrap_err().to_string();
    assert!(error.contains(reason) && !error.contains("secret"), "{error}");
}

/// The work of operators is counted independently of the size of the event: a large event leaves as many steps as a
/// small one.
#[rstest]
#[case::a_literal(100_000, 5_000, "value.big == 'x'", true)]
#[case::a_short_text(100, 3_000, "value.big == value.same", true)]
#[case::a_long_text(100_000, 300, "value.big == value.same", false)]
#[case::seldom(100_000, 30, "value.big == value.same", true)]
#[case::a_part(100_000, 300, "value.big[1:] == 'x'", false)]
#[case::what_is_in_it(100_000, 300, "'y' in value.big", false)]
#[case::joined(100_000, 300, "(value.big ~ 'y')|length == 0", false)]
#[case::in_a_list(100_000, 300, "[value.big] == [value.same]", false)]
#[case::a_key(100_000, 300, "value[value.big] is defined", false)]
#[case::of_a_negation(100, 3_000, "value.big == -5", true)]
fn operators_are_charged_for_what_they_look_at(
    #[case] bytes: usize,
    #[case] rounds: usize,
    #[case] condition: &str,
    #[case] is_made: bool,
) {
    let mut event = event(Operation::Created);
    let text = |bytes: usize| crate::value::Value::String("x".repeat(bytes));
    let fields = [("big", text(bytes)), ("same", text(bytes)), ("n", text(rounds))];
    event.new.as_mut().unwrap().properties = Map::from(fields.map(|(name, value)| (name.to_owned(), value))).into();
    let template = format!("[{{% for a in value.n %}}{{% if {condition} %}}{{% endif %}}{{% endfor %}}1]");
    let rendering = rendering(json!({"format": "template", "template": template}));
    let result = rendering.render(&event, &event.event_type);
    assert_eq!(result.is_ok(), is_made, "{result:?}");
    assert!(is_made || matches!(result, Err(RenderError::TooMuch { .. })), "{result:?}");
}

#[test]
fn every_filter_and_test_that_is_named_is_there() {
    use crate::payload::template::policy::{FILTERS, TESTS};
    let filters = FILTERS.map(|name| format!("{{{{ 1|{name} }}}}"));
    let tests = TESTS.map(|name| format!("{{{{ 1 is {name} }}}}"));
    for template in filters.iter().chain(&tests) {
        let error = made(template, Operation::Created).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(!error.contains("unknown"), "{error}");
    }
}

#[test]
fn an_error_quotes_no_more_of_a_template_than_a_log_keeps() {
    for template in
        [format!("{{{{ value['{}'] }}}}", "\u{1}".repeat(5_000)), format!("{{{{ 1|{} }}}}", "f".repeat(5_000))]
    {
        let error = made(&template, Operation::Updated).unwrap_err().to_string();
        assert!((500..600).contains(&error.len()), "{error}");
    }
}

/// The engine's own messages for these errors quote values.
#[rstest]
#[case::not_a_number("{{ value.status|int }}")]
#[case::not_an_operand("{{ value.status - 1 }}")]
#[case::not_a_map("{{ value.status|items }}")]
#[case::unknown_key("{{ value[value.status] }}")]
fn an_error_shows_no_value(#[case] template: &str) {
    let error = made(template, Operation::Updated).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("paid"), "{error}");
}

#[rstest]
#[case::syntax("{{ value. }}", "line 1")]
#[case::open("{\n{% if value %}", "line 2")]
#[case::never_json("{\"a\": {{ value.b }}", "must result in JSON")]
#[case::half_a_character(r#"{"n\ud800": 1.5}"#, "surrogate")]
#[case::too_deep(&format!("{}{}", "[".repeat(101), "]".repeat(101)), "99 levels")]
#[case::unknown_filter("{{ value.a|shout }}", "shout")]
#[case::kept("{% set a = value.text ~ value.text %}{{ a }}", "only `for`, `if`")]
#[case::captured("{% set a %}{{ value }}{% endset %}1", "only `for`, `if`")]
#[case::with("{% with a = 1 %}{{ a }}{% endwith %}", "only `for`, `if`")]
#[case::filtered("{% filter upper %}a{% endfilter %}", "only `for`, `if`")]
#[case::doubled("{% for a in [value.text ~ value.text] %}{{ a }}{% endfor %}", "loops must iterate over a field")]
#[case::recursive("{% for a in value.b recursive %}{{ loop(a) }}{% endfor %}", "recursive")]
#[case::repeated("{{ 'x' * 100000000 }}", "must be numbers")]
#[case::repeated_default("{{ value.a|int('x') * 100000000 }}", "must be numbers")]
#[case::repeated_joined("{{ (1 ~ 1) * 100000000 }}", "must be numbers")]
#[case::many_joins(&format!("{{{{ value.a{} }}}}", " ~ value.a".repeat(33)), "at most 32")]
#[case::many_slices(&format!("{{{{ value.a{} }}}}", "[1:]".repeat(33)), "at most 32")]
#[case::step("{{ value.a[64:1232:-40] }}", "must not have a step")]
#[case::step_in_a_loop("[{% for a in value.b[::2] %}{{ a }}{% endfor %}1]", "must not have a step")]
#[case::always_too_long(&format!("{}1{}", "{% for a in 'abcdefghijklmnopqrstuvwxyz' %}".repeat(4), "{% endfor %}".repeat(4)), "steps")]
#[case::always_too_large(
    "{% for a in '0123456789abcdef0123456789abcdef0123456789abcdef' %}{% for b in '0123456789abcdef0123456789abcdef' %}{{ '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' }}{% endfor %}{% endfor %}",
    "must be at most"
)]
#[case::quoted_again_and_again("{{ [[value.a] ~ ''] ~ '' }}", "must not be list or map literals")]
#[case::called("{{ range(1000000) }}", "calls are not allowed")]
#[case::unknown_test("{{ value.a is lovely }}", "lovely")]
#[case::included("{% include 'a' %}", "line 1")]
#[case::defined("{% macro a() %}{% endmacro %}", "line 1")]
fn refuses(#[case] template: &str, #[case] detail: &str) {
    let faults = rendering(json!({"format": "template", "template": template})).check();
    let [fault] = &faults[..] else { panic!("{faults:?}") };
    assert_eq!(fault.pointer, "/template");
    assert!(fault.detail.contains(detail), "{}", fault.detail);
    // A template that is refused when the webhook is written also fails when it is rendered, in case it was stored by
    // another way.
    assert!(made(template, Operation::Updated).is_err());
}

/// Equal numbers compare as equal however they are written. A number that cannot be represented is printed as written.
#[rstest]
#[case::plain("8.3", "8.3", "true")]
#[case::spelled_otherwise("8.30E0", "8.3", "true")]
#[case::whole("830e-2", "8.3", "true")]
#[case::too_fine("8.30000000000000000001", "8.30000000000000000001", "false")]
fn numbers_are_compared_by_value(#[case] digits: &str, #[case] shown: &str, #[case] equal: &str) {
    let mut event = event(Operation::Created);
    event.new.as_mut().unwrap().properties = Map::from([("n".to_owned(), digits.parse().unwrap())]).into();
    let rendering = rendering(json!({"format": "template", "template": "[{{ value.n }},{{ value.n == 8.3 }}]"}));
    assert_eq!(render(&rendering, &event), format!("[{shown},{equal}]"));
}
