use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::webhook::Webhook;
use crate::webhook::sample::Sample;
use crate::webhook::tests::webhook;

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn job(rate: u32) -> Job {
    Job {
        id: JobId::from_parts(now(), 1),
        tenant: "acme".parse().unwrap(),
        app: None,
        kind: JobKind::Redrive,
        scope: JobScope { webhook: None, event_types: Vec::new(), from: None, to: now() },
        rate,
        dry_run: false,
        state: JobState::Running,
        reason: None,
        progress: JobProgress { cursor: None, looked_at: 0, sent: 0, next_at: now() },
        created_at: now(),
        created_by: "ada".to_owned(),
        updated_at: now(),
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[rstest]
#[case::fresh(10, 0, 750)]
#[case::one_a_second(1, 0, 75)]
#[case::as_fast_as_may_be(100, 0, 7_500)]
#[case::a_minute_later(10, 15, 600)]
#[case::up_to_the_horizon(10, 75, 0)]
#[case::beyond_it(10, 100, 0)]
#[case::long_due(10, -500, 750)]
fn budgets(#[case] rate: u32, #[case] next_in: i64, #[case] expected: usize) {
    let mut job = job(rate);
    job.progress.next_at = now() + jiff::SignedDuration::from_secs(next_in);
    assert_eq!(job.budget(now()), expected);
}

#[test]
fn spreads_what_it_sends() {
    let mut job = job(2);
    let halves: Vec<_> = [0, 500, 1000, 1500, 2000].map(Duration::from_millis).into();
    assert_eq!(job.take_turns(5, now()), halves);
    assert_eq!(job.progress.next_at, now() + Duration::from_millis(2500));
    assert_eq!(job.take_turns(1, now() + seconds(2)), [Duration::from_millis(500)]);
    // Turns that were not used in time are not made up for in a burst.
    assert_eq!(job.take_turns(1, now() + seconds(60)), [Duration::ZERO]);
    assert_eq!(job.progress.next_at, now() + Duration::from_millis(60_500));
}

#[test]
fn a_dry_run_takes_no_turns() {
    let mut job = Job { dry_run: true, ..job(1) };
    assert_eq!(job.take_turns(2, now()), [Duration::ZERO; 2]);
    assert_eq!((job.progress.next_at, job.budget(now())), (now(), usize::MAX));
}

#[rstest]
#[case(JobState::Running, Action::Pause, Ok(JobState::Paused))]
#[case(JobState::Running, Action::Resume, Ok(JobState::Running))]
#[case(JobState::Running, Action::Cancel, Ok(JobState::Cancelled))]
#[case(JobState::Paused, Action::Pause, Ok(JobState::Paused))]
#[case(JobState::Paused, Action::Resume, Ok(JobState::Running))]
#[case(JobState::Paused, Action::Cancel, Ok(JobState::Cancelled))]
#[case(JobState::Cancelled, Action::Cancel, Ok(JobState::Cancelled))]
#[case(JobState::Cancelled, Action::Resume, Err(Ended))]
#[case(JobState::Done, Action::Pause, Err(Ended))]
#[case(JobState::Done, Action::Cancel, Err(Ended))]
#[case(JobState::Failed, Action::Resume, Err(Ended))]
fn actions(#[case] state: JobState, #[case] action: Action, #[case] expected: Result<JobState, Ended>) {
    assert_eq!(state.after(action), expected);
}

#[rstest]
#[case(Refusal::Paused, JobState::Paused)]
#[case(Refusal::Disabled, JobState::Paused)]
#[case(Refusal::Deleted, JobState::Failed)]
#[case(Refusal::Inbound, JobState::Failed)]
fn pauses_if_the_cause_can_be_fixed(#[case] refusal: Refusal, #[case] expected: JobState) {
    let mut job = job(1);
    job.stop_for(refusal);
    assert_eq!((job.state, job.reason), (expected, Some(refusal.to_string())));
}

#[rstest]
#[case::all(None, &[], true)]
#[case::its_webhook(Some(1), &["film.*"], true)]
#[case::another_webhook(Some(2), &[], false)]
#[case::another_type(None, &["actor.created", "*.deleted"], false)]
fn takes_letters(#[case] only: Option<u128>, #[case] types: &[&str], #[case] expected: bool) {
    let webhook = |number| WebhookId::from_parts(now(), number);
    let event_types = types.iter().map(|text| text.parse().unwrap()).collect();
    let scope = JobScope { webhook: only.map(webhook), event_types, from: None, to: now() };
    let job = Job { scope, ..job(1) };
    let film: EventType = "film.created".parse().unwrap();
    assert_eq!(job.takes(None, webhook(1), &film), expected);
    let of = |app: &str| Job { app: Some(app.parse().unwrap()), ..job.clone() };
    assert_eq!(of("one").takes(Some(&"one".parse().unwrap()), webhook(1), &film), expected);
    assert!(!of("one").takes(Some(&"two".parse().unwrap()), webhook(1), &film), "another application's");
    assert!(!of("one").takes(None, webhook(1), &film), "the tenant's own");
}

fn event(event_type: &str) -> Event {
    let sample = Sample { event_type: event_type.parse().ok(), ..Sample::default() };
    sample.event(EventId::from_parts(now(), 7), "acme".parse().unwrap(), &webhook().settings, now())
}

fn asking_for(event_type: &str) -> Webhook {
    let mut webhook = webhook();
    webhook.settings.event_types = vec![event_type.parse().unwrap()];
    webhook
}

#[test]
fn a_replay_is_a_delivery_of_its_own_and_the_same_one_again() {
    let (event, subscription) = (event("film.created"), asking_for("film.*").subscription().unwrap());
    let replayed = |job: &Job| job.replays(&event, &subscription).unwrap();
    let one = replayed(&job(1));
    assert_eq!(one, replayed(&job(7)), "however often");
    assert_eq!((one.event, one.cycle, one.attempt, &one.body), (event.id, 0, 1, &None));
    let first = Message::first(
        event.id,
        event.event_type.clone(),
        one.webhook,
        event.tenant.clone(),
        Body::Inline("{}".to_owned()),
    );
    assert_ne!(one.delivery, first.delivery);
    assert_ne!(one.delivery, replayed(&Job { id: JobId::from_parts(now(), 2), ..job(1) }).delivery);
}

#[rstest]
#[case::wanted("film.created", &[], true)]
#[case::asked_for("film.created", &["film.created"], true)]
#[case::not_asked_for("film.created", &["film.deleted"], false)]
#[case::not_wanted("actor.created", &[], false)]
fn replays_wanted_events(#[case] event_type: &str, #[case] asked: &[&str], #[case] expected: bool) {
    let subscription = asking_for("film.*").subscription().unwrap();
    let event_types = asked.iter().map(|text| text.parse().unwrap()).collect();
    let scope = JobScope { webhook: Some(subscription.webhook), event_types, from: None, to: now() };
    let job = Job { kind: JobKind::Replay, scope, ..job(1) };
    assert_eq!(job.replays(&event(event_type), &subscription).is_some(), expected);
}

proptest! {
    /// However the runs fall, at most one delivery more than the rate is sent in any second, and the turns never move
    /// backwards.
    #[test]
    fn keeps_the_pace(rate in 1_u32..=MAX_RATE, runs in proptest::collection::vec((1_usize..60, 0_u64..90), 1..12)) {
        let (mut job, mut at, mut turns) = (job(rate), now(), Vec::new());
        for (count, wait) in runs {
            turns.extend(job.take_turns(count, at).into_iter().map(|wait| at + wait));
            at += seconds(wait);
        }
        prop_assert!(turns.is_sorted());
        for (first, turn) in turns.iter().enumerate() {
            let share = turns[first..].iter().take_while(|other| **other < *turn + seconds(1)).count();
            prop_assert!(share <= rate as usize + 1, "{share} in a second");
        }
    }

    /// Every turn of a run is before the horizon, and the next one is not.
    #[test]
    fn a_run_ends_at_the_horizon(rate in 1_u32..=MAX_RATE, late in 0_u64..70_000) {
        let mut job = job(rate);
        job.progress.next_at = now() + Duration::from_millis(late);
        let budget = job.budget(now());
        let last = job.take_turns(budget, now()).pop().unwrap();
        prop_assert!(last < HORIZON);
        prop_assert!(job.progress.next_at >= now() + HORIZON - Duration::from_millis(1));
    }

    #[test]
    fn cursors_round_trip(at in 0_i64..4_000_000_000_000, r: u128) {
        let time = Timestamp::from_millisecond(at).unwrap();
        for cursor in [
            Cursor::Letter(LetterPosition { at, delivery: DeliveryId::from_parts(time, r) }),
            Cursor::Event(EventId::from_parts(time, r)),
        ] {
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }
}
