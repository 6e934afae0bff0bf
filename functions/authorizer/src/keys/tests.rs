use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU16, AtomicUsize, Ordering};

use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const DAY: SignedDuration = SignedDuration::from_hours(24);
const SECOND: i64 = 1;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_888_486 + second).unwrap()
}

/// Returns a history of keys that were fetched, and last attempted, this many seconds ago.
fn history(fetched: Option<i64>, attempted: Option<i64>) -> History {
    History { fetched_at: fetched.map(|ago| at(-ago)), attempted_at: attempted.map(|ago| at(-ago)) }
}

#[rstest]
#[case::first_request(None, None, false, Step::Fetch)]
#[case::never_fetched_and_just_failed(None, Some(59), false, Step::Fail)]
#[case::never_fetched_and_failed_a_minute_ago(None, Some(MINUTE), false, Step::Fetch)]
#[case::fresh(Some(59 * MINUTE), Some(59 * MINUTE), true, Step::Answer)]
#[case::due(Some(HOUR), Some(HOUR), true, Step::AnswerThenFetch)]
#[case::due_and_just_failed(Some(2 * HOUR), Some(59), true, Step::Answer)]
#[case::due_and_failed_a_minute_ago(Some(2 * HOUR), Some(MINUTE), true, Step::AnswerThenFetch)]
#[case::in_a_long_outage(Some(24 * HOUR - SECOND), Some(MINUTE), true, Step::AnswerThenFetch)]
#[case::too_old(Some(24 * HOUR), Some(MINUTE), true, Step::Fetch)]
#[case::too_old_and_just_failed(Some(24 * HOUR), Some(59), true, Step::Fail)]
#[case::unknown_key(Some(MINUTE), Some(MINUTE), false, Step::Fetch)]
#[case::unknown_key_just_after_a_fetch(Some(59), Some(59), false, Step::Answer)]
#[case::unknown_key_just_after_a_failure(Some(2 * HOUR), Some(59), false, Step::Answer)]
#[case::the_clock_was_set_back(Some(-HOUR), Some(-HOUR), true, Step::AnswerThenFetch)]
fn a_step_follows_from_what_was_fetched_when(
    #[case] fetched: Option<i64>,
    #[case] attempted: Option<i64>,
    #[case] has_key: bool,
    #[case] step: Step,
) {
    assert_eq!(history(fetched, attempted).step(at(0), has_key, DAY), step);
}

#[test]
fn how_long_keys_outlive_an_outage_is_configured() {
    let old = history(Some(3 * HOUR), Some(HOUR));
    assert_eq!(old.step(at(0), true, SignedDuration::from_hours(3)), Step::Fetch);
    assert_eq!(old.step(at(0), true, SignedDuration::from_hours(4)), Step::AnswerThenFetch);
}

proptest! {
    /// Requests at random times, some for unknown keys, while the issuer sometimes answers.
    #[test]
    fn no_outage_fetches_too_often_or_takes_known_keys_away(
        requests in prop::collection::vec((0..3 * HOUR, any::<bool>(), prop::bool::weighted(0.3)), 1..60),
    ) {
        let (mut history, mut now, mut last) = (History::default(), 0, None);
        for (gap, wants_known, issuer_answers) in requests {
            now += gap;
            let age = history.fetched_at.map(|fetched| at(now).duration_since(fetched));
            let has_key = wants_known && history.fetched_at.is_some();
            let step = history.step(at(now), has_key, DAY);
            if age.is_some_and(|age| age < DAY) {
                prop_assert!(step != Step::Fail, "known keys answer every request");
                prop_assert!(!has_key || step != Step::Fetch, "no request that they can serve waits");
            }
            if matches!(step, Step::Fetch | Step::AnswerThenFetch) {
                prop_assert!(last.is_none_or(|last| now - last >= MINUTE), "two fetches within a minute");
                last = Some(now);
                history.attempted_at = Some(at(now));
                if issuer_answers {
                    history.fetched_at = Some(at(now));
                }
            } else {
                prop_assert!(last.is_some_and(|last| now - last < MINUTE) || age.is_some_and(|age| age < FRESH), "a fetch is due");
            }
        }
    }
}

/// A clock that a test moves forward.
#[derive(Default)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        at(self.0.load(Ordering::Relaxed))
    }
}

impl Hand {
    fn forward(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

/// Serves a key set, or fails if the test tells it to.
struct Issuer {
    url: String,
    status: Arc<AtomicU16>,
    fetches: Arc<AtomicUsize>,
}

impl Issuer {
    async fn serve(kids: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let (status, fetches) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicUsize::new(0)));
        let (says, counts) = (Arc::clone(&status), Arc::clone(&fetches));
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && connection.read_buf(&mut head).await.unwrap() > 0 {}
                counts.fetch_add(1, Ordering::Relaxed);
                let keys: Vec<_> =
                    kids.iter().map(|kid| json!({"kty": "RSA", "kid": kid, "n": "u1SU", "e": "AQAB"})).collect();
                let (status, body) = (says.load(Ordering::Relaxed), json!({"keys": keys}).to_string());
                let answer =
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
                connection.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { url, status, fetches }
    }

    fn fails(&self) {
        self.status.store(503, Ordering::Relaxed);
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::Relaxed)
    }

    fn keys(&self) -> Keys {
        Keys::new(KeySource::Url(self.url.clone()), DAY)
    }
}

async fn has(keys: &Keys, kid: &str, clock: &Hand) -> Result<bool, KeysError> {
    Ok(keys.containing(|keys| keys.find(kid).is_some(), clock).await?.find(kid).is_some())
}

/// The key set is served once, then the issuer answers 503: a token at once, one 61 minutes later, and one after a day.
#[tokio::test]
async fn known_keys_outlive_an_outage_of_the_issuer() {
    let (issuer, clock) = (Issuer::serve(&["good"]).await, Hand::default());
    let keys = issuer.keys();
    assert!(has(&keys, "good", &clock).await.unwrap());
    keys.refresh(&clock).await;
    assert_eq!(issuer.fetches(), 1, "fresh keys are not fetched again");
    issuer.fails();

    clock.forward(61 * MINUTE);
    assert!(has(&keys, "good", &clock).await.unwrap());
    assert_eq!(issuer.fetches(), 1, "the answer waits for nothing");
    keys.refresh(&clock).await;
    assert_eq!(issuer.fetches(), 2);
    for _ in 0..58 {
        clock.forward(SECOND);
        assert!(has(&keys, "good", &clock).await.unwrap());
        assert!(!has(&keys, "unknown", &clock).await.unwrap(), "a 401 and no fault");
        keys.refresh(&clock).await;
    }
    assert_eq!(issuer.fetches(), 2, "a failure counts as a fetch");
    clock.forward(2 * SECOND);
    assert!(!has(&keys, "unknown", &clock).await.unwrap());
    assert_eq!(issuer.fetches(), 3, "an unknown key is looked for, once a minute");

    clock.forward(23 * HOUR);
    let error = has(&keys, "good", &clock).await.unwrap_err();
    assert!(matches!(error, KeysError::Fetch(_)), "{error}");
    let error = has(&keys, "good", &clock).await.unwrap_err();
    assert!(matches!(error, KeysError::Pause), "{error}");
    issuer.status.store(200, Ordering::Relaxed);
    clock.forward(MINUTE);
    assert!(has(&keys, "good", &clock).await.unwrap());
}

/// A process that starts while the issuer is down fetches once a minute, however many tokens arrive, and has keys once
/// the issuer is back.
#[tokio::test]
async fn keys_that_were_never_fetched_are_asked_for_once_a_minute() {
    let (issuer, clock) = (Issuer::serve(&["good"]).await, Hand::default());
    let keys = issuer.keys();
    issuer.fails();
    for minute in 1..=3 {
        let error = has(&keys, "good", &clock).await.unwrap_err();
        assert!(matches!(error, KeysError::Fetch(_)), "{error}");
        for _ in 0..59 {
            clock.forward(SECOND);
            let error = has(&keys, "good", &clock).await.unwrap_err();
            assert!(matches!(error, KeysError::Pause), "{error}");
            keys.refresh(&clock).await;
        }
        assert_eq!(issuer.fetches(), minute);
        clock.forward(SECOND);
    }
    issuer.status.store(200, Ordering::Relaxed);
    assert!(has(&keys, "good", &clock).await.unwrap());
}

#[tokio::test]
async fn due_keys_are_fetched_after_the_answer() {
    let (issuer, clock) = (Issuer::serve(&["good"]).await, Hand::default());
    let keys = issuer.keys();
    keys.refresh(&clock).await;
    assert_eq!(issuer.fetches(), 0, "before a token needs keys there is nothing to refresh");
    for hour in 1..=3 {
        assert!(has(&keys, "good", &clock).await.unwrap());
        keys.refresh(&clock).await;
        assert_eq!(issuer.fetches(), hour);
        clock.forward(HOUR);
    }
}

#[tokio::test]
async fn a_set_without_a_key_to_use_leaves_the_known_ones() {
    let (issuer, clock) = (Issuer::serve(&["good"]).await, Hand::default());
    let (empty, keys) = (Issuer::serve(&[]).await, issuer.keys());
    assert!(matches!(has(&empty.keys(), "good", &clock).await, Err(KeysError::Empty)));
    assert!(has(&keys, "good", &clock).await.unwrap());
    let keys = Keys { source: KeySource::Url(empty.url.clone()), ..keys };
    clock.forward(HOUR);
    keys.refresh(&clock).await;
    assert_eq!(empty.fetches(), 2);
    assert!(has(&keys, "good", &clock).await.unwrap());
}
