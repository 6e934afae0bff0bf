//! The depth of templates is bounded before anything recurses, so that even a small stack does not overflow.

use super::*;
use crate::payload::template::MAX_TEMPLATE_BYTES;

/// A quarter of the stack of a thread in the API.
const STACK: usize = 512 * 1024;

fn on_a_small_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(STACK).spawn(work).unwrap().join().unwrap()
}

/// The parts of a nested template: the outer parts occur once, the inner parts are repeated around the middle.
#[rstest]
#[case::minus("{{ ", "-", "1", "", " }}")]
#[case::not("{{ ", "not ", "1", "", " }}")]
#[case::parentheses("{{ ", "(", "1", ")", " }}")]
#[case::lists("{{ ", "[", "1", "]", " }}")]
#[case::maps("{{ ", "{'a': ", "1", "}", " }}")]
#[case::signs_and_parentheses("{{ ", "-(", "1", ")", " }}")]
#[case::attributes("{{ value", ".a", "", "", " }}")]
#[case::keys("{{ value", "['a']", "", "", " }}")]
#[case::keys_in_keys("{{ ", "value[", "'a'", "]", " }}")]
#[case::slices("{{ value.a", "[1:]", "", "", " }}")]
#[case::slices_in_a_loop("[{% for x in value.a", "[1:]", "", "", " %}{% endfor %}1]")]
#[case::calls("{{ a", "(", "1", ")", " }}")]
#[case::filters("{{ 1", "|abs", "", "", " }}")]
#[case::arguments("{{ ", "1|default(", "1", ")", " }}")]
#[case::tests("{{ 1", " is number", "", "", " }}")]
#[case::tests_of_signs("{{ 1", " is number -1|abs", "", "", " }}")]
#[case::differences("{{ 1", " - 1", "", "", " }}")]
#[case::powers("{{ 1", " ** 1", "", "", " }}")]
#[case::conjunctions("{{ 1", " and 1", "", "", " }}")]
#[case::comparisons("{{ 1", " < 1", "", "", " }}")]
#[case::joins("{{ 1", " ~ 1", "", "", " }}")]
#[case::choices("{{ 1", " if 1 else 1", "", "", " }}")]
#[case::choices_without_end("{{ 1", " if 1", "", "", " }}")]
#[case::ifs("", "{% if 1 %}", "1", "{% endif %}", "")]
#[case::elifs("{% if 0 %}", "{% elif 0 %}", "", "", "{% else %}1{% endif %}")]
#[case::loops("", "{% for a in 'a' %}", "1", "{% endfor %}", "")]
#[case::withs("", "{% with a = 1 %}", "1", "{% endwith %}", "")]
#[case::captures("", "{% set a %}", "1", "{% endset %}", "")]
#[case::all_of_it("", "{% if not -(1|default([{'a': ", "1", "}])) %}1{% endif %}", "")]
fn a_template_is_as_deep_as_may_be_and_no_deeper(
    #[case] first: &'static str,
    #[case] open: &'static str,
    #[case] middle: &'static str,
    #[case] close: &'static str,
    #[case] last: &'static str,
) {
    let template = move |times: usize| format!("{first}{}{middle}{}{last}", open.repeat(times), close.repeat(times));
    let checked = move |times: usize| {
        on_a_small_stack(move || {
            let rendering = rendering(json!({"format": "template", "template": template(times)}));
            let event = event(Operation::Updated);
            drop(rendering.render(&event, &event.event_type));
            rendering.check().pop().map(|fault| fault.detail)
        })
    };
    let most = (MAX_TEMPLATE_BYTES - first.len() - middle.len() - last.len()) / (open.len() + close.len());
    assert!(template(most).len() <= MAX_TEMPLATE_BYTES);
    let fault = checked(most).unwrap();
    assert!(fault.contains("must have at most 100 levels") && fault.starts_with("line 1 of the template"), "{fault}");
    // Also test all smaller depths down to accepted ones: none of them overflows the stack.
    let mut is_taken = false;
    for times in (1..most.min(220)).rev().step_by(3) {
        is_taken |= !checked(times).is_some_and(|fault| fault.contains("levels"));
    }
    assert!(is_taken);
}
