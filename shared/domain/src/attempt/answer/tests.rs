use proptest::prelude::*;
use rstest::rstest;

use super::*;

const NOW: &str = "2026-11-28T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn patterns(texts: &[&str]) -> Vec<StatusPattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[rstest]
#[case::ok(200, Verdict::Accepted)]
#[case::no_content(204, Verdict::Accepted)]
#[case::last_of_success(299, Verdict::Accepted)]
#[case::not_modified(304, Verdict::Redirected)]
#[case::moved(307, Verdict::Redirected)]
#[case::bad(400, Verdict::Refused)]
#[case::unauthorized(401, Verdict::Refused)]
#[case::conflict(409, Verdict::Refused)]
#[case::gone(410, Verdict::Gone)]
#[case::too_many(429, Verdict::Throttled)]
#[case::failed(500, Verdict::ServerFailed)]
#[case::unavailable(503, Verdict::Unavailable)]
#[case::unknown(999, Verdict::ServerFailed)]
#[case::never_ended(199, Verdict::ServerFailed)]
fn the_status_decides(#[case] status: u16, #[case] verdict: Verdict) {
    let judged = judge(Answer { status, ..Answer::default() }, &[], now());
    assert_eq!(judged.verdict, verdict);
    assert_eq!(judged.error.is_none(), verdict == Verdict::Accepted);
}

#[rstest]
#[case::class(&["2xx"], 201, Verdict::Accepted)]
#[case::code(&["2xx", "409"], 409, Verdict::Accepted)]
#[case::another_code(&["2xx", "409"], 404, Verdict::Refused)]
#[case::a_list_replaces_the_default(&["202"], 200, Verdict::ServerFailed)]
#[case::one_redirect(&["304"], 304, Verdict::Accepted)]
#[case::named_though_it_means_more(&["410"], 410, Verdict::Accepted)]
#[case::a_class_takes_all_of_it(&["4xx"], 429, Verdict::Accepted)]
fn a_webhook_says_what_success_is(#[case] success: &[&str], #[case] status: u16, #[case] verdict: Verdict) {
    assert_eq!(judge(Answer { status, ..Answer::default() }, &patterns(success), now()).verdict, verdict);
}

#[rstest]
#[case::disable(500, "disable", Verdict::Gone)]
#[case::disable_with_success(200, "disable", Verdict::Gone)]
#[case::disable_with_redirect(302, " Disable ", Verdict::Gone)]
#[case::abort(422, "abort-message", Verdict::Aborted)]
#[case::abort_with_redirect(302, "abort-message", Verdict::Aborted)]
#[case::abort_what_may_be_retried_later(429, "ABORT-MESSAGE", Verdict::Aborted)]
#[case::nothing_left_to_abort(200, "abort-message", Verdict::Accepted)]
#[case::unknown_word(500, "pause", Verdict::ServerFailed)]
#[case::empty(400, "", Verdict::Refused)]
fn the_receiver_may_end_it(#[case] status: u16, #[case] said: &str, #[case] verdict: Verdict) {
    let answer = Answer { status, webhook_delivery: Some(said), ..Answer::default() };
    assert_eq!(judge(answer, &[], now()).verdict, verdict);
}

#[rstest]
#[case::seconds("120", Some(120))]
#[case::spaces(" 7 ", Some(7))]
#[case::none("0", Some(0))]
#[case::too_long("86401", Some(86_400))]
#[case::more_digits_than_a_number("99999999999999999999999", Some(86_400))]
#[case::date("Sat, 28 Nov 2026 12:01:30 GMT", Some(90))]
#[case::obsolete_date("Saturday, 28-Nov-26 12:01:30 GMT", Some(90))]
#[case::asctime("Sat Nov 28 12:01:30 2026", Some(90))]
#[case::past("Sat, 28 Nov 2026 11:00:00 GMT", Some(0))]
#[case::in_years("Mon, 28 Nov 2033 12:00:00 GMT", Some(86_400))]
#[case::negative("-5", None)]
#[case::fraction("1.5", None)]
#[case::a_unit("30s", None)]
#[case::rfc_3339("2026-11-28T12:01:30Z", None)]
#[case::words("later", None)]
#[case::empty("", None)]
fn how_long_to_wait(#[case] text: &str, #[case] seconds: Option<u32>) {
    assert_eq!(retry_after(text, now()), seconds);
}

#[rstest]
#[case::quarter("2026-11-28T12:01:26.25Z", 4)]
#[case::almost_there("2026-11-28T12:01:29.999999999Z", 1)]
#[case::just_begun("2026-11-28T12:01:29.000000001Z", 1)]
#[case::whole("2026-11-28T12:01:29Z", 1)]
#[case::just_past("2026-11-28T12:01:30.5Z", 0)]
fn part_of_a_second_is_waited_for(#[case] now: &str, #[case] seconds: u32) {
    assert_eq!(retry_after("Sat, 28 Nov 2026 12:01:30 GMT", now.parse().unwrap()), Some(seconds));
}

#[test]
fn only_failures_have_a_retry_after() {
    let after =
        |status| judge(Answer { status, retry_after: Some("9"), ..Answer::default() }, &[], now()).retry_after_s;
    assert_eq!((after(503), after(429), after(200)), (Some(9), Some(9), None));
}

#[test]
fn a_redirect_says_where_it_points() {
    let location = "x".repeat(500);
    let to = |location| judge(Answer { status: 301, location, ..Answer::default() }, &[], now()).error.unwrap();
    assert!(to(Some("http://127.0.0.1/")).ends_with("leads to http://127.0.0.1/"));
    assert!(to(None).ends_with("leads to nowhere"));
    assert!(to(Some(&location)).len() < 300);
}

#[rstest]
#[case::class("2xx", None)]
#[case::code("599", None)]
#[case::upper_case("2XX", Some(ParseStatusPatternError::Malformed))]
#[case::informational("1xx", Some(ParseStatusPatternError::Informational))]
#[case::continues("100", Some(ParseStatusPatternError::Informational))]
#[case::redirects("3xx", Some(ParseStatusPatternError::Redirects))]
#[case::too_low("099", Some(ParseStatusPatternError::Malformed))]
#[case::too_high("600", Some(ParseStatusPatternError::Malformed))]
#[case::sign("+20", Some(ParseStatusPatternError::Malformed))]
#[case::half_a_class("20x", Some(ParseStatusPatternError::Malformed))]
#[case::empty("", Some(ParseStatusPatternError::Malformed))]
fn status_patterns(#[case] text: &str, #[case] error: Option<ParseStatusPatternError>) {
    assert_eq!(text.parse::<StatusPattern>().err(), error);
}

fn pattern() -> impl Strategy<Value = StatusPattern> {
    let classes = prop_oneof![Just("2xx"), Just("4xx"), Just("5xx")].prop_map(str::to_owned);
    prop_oneof![classes, (200_u16..600).prop_map(|code| code.to_string())].prop_map(|text| text.parse().unwrap())
}

proptest! {
    #[test]
    fn a_pattern_is_read_as_it_is_written(pattern in pattern()) {
        prop_assert_eq!(pattern.to_string().parse(), Ok(pattern));
    }

    #[test]
    fn no_text_breaks_or_escapes_the_limits(text in ".*", extra in "[0-9]{1,30}") {
        for text in [text, extra] {
            prop_assert!(retry_after(&text, now()).is_none_or(|seconds| seconds <= 86_400));
            let _ = text.parse::<StatusPattern>();
        }
    }

    /// Success is what the webhook configures, unless the receiver wants no more deliveries. Every failure has an error
    /// message.
    #[test]
    fn every_answer_has_one_meaning(
        status in 100_u16..=999,
        success in proptest::collection::vec(pattern(), 0..4),
        delivery in proptest::option::of(prop_oneof![Just("disable"), Just("abort-message"), Just("?")]),
        after in proptest::option::of("[0-9]{1,6}"),
    ) {
        let answer = Answer { status, retry_after: after.as_deref(), webhook_delivery: delivery, location: None };
        let judged = judge(answer, &success, now());
        let accepted = is_success(&success, status) && delivery != Some("disable");
        prop_assert_eq!(judged.verdict == Verdict::Accepted, accepted);
        prop_assert_eq!(judged.error.is_none(), accepted);
        prop_assert!(!accepted || judged.retry_after_s.is_none());
    }
}
