//! Whatever a receiver answers: the wait is limited, a request to disable the webhook is followed, and the target of a
//! redirect is shown without parts that may be secret.
//!
//! Lines: the status, the statuses that are success with spaces between them, `Retry-After`, `webhook-delivery`, `Location`.
#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use domain::attempt::answer::{Answer, LONGEST_RETRY_AFTER, StatusPattern, is_success, judge};
use domain::attempt::outcome::Verdict;
use domain::attempt::redact::redirect;

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let mut line = || lines.next();
    let Some(status) = line().and_then(|status| status.parse().ok()) else { return };
    let success: Vec<StatusPattern> = line().unwrap_or("").split(' ').filter_map(|word| word.parse().ok()).collect();
    let (retry_after, webhook_delivery, location) = (line(), line(), line());
    let now = Timestamp::from_second(1_795_244_140).unwrap();
    let judged = judge(Answer { status, retry_after, webhook_delivery, location }, &success, now);

    let wait = judged.retry_after_s.unwrap_or(0);
    assert!(i64::from(wait) <= LONGEST_RETRY_AFTER.as_secs(), "{wait} s");
    let wants_no_more = webhook_delivery.is_some_and(|said| said.trim().eq_ignore_ascii_case("disable"));
    match judged.verdict {
        Verdict::Accepted => assert!(is_success(&success, status) && !wants_no_more && wait == 0),
        Verdict::Gone => assert!(wants_no_more || status == 410),
        _ => assert!(!is_success(&success, status) && !wants_no_more),
    }
    assert_eq!(judged.verdict == Verdict::Accepted, judged.error.is_none());
    assert!(judged.error.is_none_or(|error| error.chars().count() < 300));
    let shown = redirect(location.unwrap_or(""));
    assert!(!shown.contains('#') && shown.split_once('?').is_none_or(|(_, rest)| !rest.contains(['&', '='])), "{shown}");
});
