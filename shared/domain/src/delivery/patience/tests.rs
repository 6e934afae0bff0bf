use proptest::prelude::*;
use rstest::rstest;

use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A patience that is kept for so many percent of [`PATIENT_FOR`].
#[expect(clippy::unnecessary_wraps, reason = "as the functions take it")]
fn learned(wait: u64, percent: i32) -> Option<Patience> {
    let kept = jiff::SignedDuration::try_from(PATIENT_FOR).unwrap() * percent / 100;
    Some(Patience { wait: ms(wait), until: NOW + kept })
}

/// A mark that ends in so many seconds.
#[expect(clippy::unnecessary_wraps, reason = "as the functions take it")]
fn marked(seconds: i64) -> Option<Timestamp> {
    Some(NOW + jiff::SignedDuration::from_secs(seconds))
}

#[rstest]
#[case::unknown(None, 250)]
#[case::learned(learned(800, 1), 800)]
#[case::forgotten(learned(800, 0), 250)]
#[case::too_short(learned(10, 1), 250)]
#[case::too_long(learned(60_000, 1), 5000)]
fn is_patient(#[case] learned: Option<Patience>, #[case] expected: u64) {
    assert_eq!(patience(learned, NOW), ms(expected));
}

#[rstest]
#[case::marked_by_another(None, marked(30), 250, Refused::Wait(ms(1000)))]
#[case::still_marked(None, marked(30), 1000, Refused::Leave)]
#[case::marked_for_long(None, marked(600), 15_000, Refused::Leave)]
#[case::answered_meanwhile(learned(3000, 60), None, 1000, Refused::Wait(ms(3000)))]
#[case::answered_and_marked_again(learned(3000, 60), marked(30), 1000, Refused::Wait(ms(3750)))]
#[case::marked_with_much_patience(learned(3000, 60), marked(30), 3750, Refused::Leave)]
#[case::the_mark_has_ended(None, marked(0), 1000, Refused::Wait(ms(1750)))]
#[case::for_no_visible_reason(None, None, 1000, Refused::Wait(ms(1750)))]
fn a_refused_mark_says_how_to_go_on(
    #[case] learned: Option<Patience>,
    #[case] slow_until: Option<Timestamp>,
    #[case] waited: u64,
    #[case] expected: Refused,
) {
    assert_eq!(after_refusal(learned, slow_until, ms(waited), NOW), expected);
}

#[rstest]
#[case::twice_the_answer(None, 300, 600)]
#[case::a_single_slow_answer(None, 4000, 1000)]
#[case::another_one(learned(1000, 60), 4000, 4000)]
#[case::the_limit(learned(4000, 60), 4900, 5000)]
#[case::no_answer(None, 0, 250)]
#[case::shorter_than_before(learned(3000, 60), 400, 3000)]
#[case::forgotten(learned(3000, 0), 400, 800)]
fn learns(#[case] before: Option<Patience>, #[case] took: u64, #[case] expected: u64) {
    assert_eq!(Some(learn(before, ms(took), NOW)), learned(expected, 100));
}

#[rstest]
#[case::ends_later(learned(800, 51), 400, None)]
#[case::still_needed(learned(800, 50), 400, Some(800))]
#[case::half_of_it_is_needed(learned(3000, 50), 800, Some(1600))]
#[case::more_is_needed(learned(800, 1), 700, Some(800))]
#[case::too_much(learned(5000, 97), 20, Some(2500))]
#[case::too_much_and_new(learned(5000, 98), 20, None)]
#[case::a_little_too_much(learned(300, 50), 20, Some(250))]
#[case::the_least(learned(250, 50), 20, None)]
#[case::not_needed(learned(800, 1), 249, None)]
#[case::ended(learned(800, 0), 400, None)]
#[case::never_learned(None, 400, None)]
fn renews(#[case] before: Option<Patience>, #[case] took: u64, #[case] expected: Option<u64>) {
    assert_eq!(renew(before, ms(took), NOW), expected.and_then(|wait| learned(wait, 100)));
}

fn any_patience() -> impl Strategy<Value = Option<Patience>> {
    proptest::option::of((0_u64..20_000, -10_i32..110).prop_map(|(wait, percent)| learned(wait, percent).unwrap()))
}

proptest! {
    /// A request that is never answered leaves in the end while the mark of another process is there, and never early.
    #[test]
    fn a_request_leaves_after_its_patience_and_the_grace(learned in any_patience()) {
        let mut waited = patience(learned, NOW);
        let mut tries = 0;
        while let Refused::Wait(until) = after_refusal(learned, marked(60), waited, NOW) {
            prop_assert!(until > waited);
            (waited, tries) = (until, tries + 1);
        }
        prop_assert_eq!((waited, tries), (patience(learned, NOW) + GRACE, 1));
    }

    /// A refused process never leaves a receiver that no process has marked, and always waits longer before it tries again.
    #[test]
    fn only_a_mark_makes_a_request_leave(learned in any_patience(), waited in 0_u64..40_000) {
        let waited = ms(waited);
        prop_assert!(matches!(after_refusal(learned, None, waited, NOW), Refused::Wait(until) if until > waited));
    }

    /// A receiver that always takes the same time is marked a few times at most, unless it is slow.
    #[test]
    fn a_usual_answer_is_soon_no_reason_for_a_mark(took in 0_u64..5000) {
        let (mut known, mut marks) = (None, 0);
        while ms(took) >= patience(known, NOW) {
            known = Some(learn(known, ms(took), NOW));
            marks += 1;
        }
        prop_assert!(marks <= 3, "{marks} marks");
    }

    /// Learning never makes a process less patient, and keeps within the limits.
    #[test]
    fn learning_adds_patience(before in any_patience(), took in 0_u64..60_000) {
        let after = patience(Some(learn(before, ms(took), NOW)), NOW);
        prop_assert!(after >= patience(before, NOW) && after <= patience(before, NOW) * GROWTH && after <= SLOW);
    }

    /// A receiver that has become faster soon has less patience, and one that has not keeps what it needs.
    #[test]
    fn patience_that_is_renewed_follows_the_answers(before in 250_u64..5000, took in 250_u64..5000) {
        let renewed = renew(learned(before, 1), ms(took), NOW).unwrap();
        prop_assert!(renewed.wait <= ms(before) && renewed.wait >= ms(before) / 2);
        prop_assert!(renewed.wait >= ms(took).saturating_mul(2).min(ms(before)));
    }
}
