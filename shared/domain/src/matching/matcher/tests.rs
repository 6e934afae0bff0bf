use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::matching::subscription::tests::{event, subscription};
use crate::source::Images;
use crate::source::tests::change;
use crate::value::Map;
use crate::value::tests::map;

fn webhook(number: u128) -> WebhookId {
    WebhookId::from_parts(jiff::Timestamp::UNIX_EPOCH, number)
}

/// Lists of few values, so that subscriptions often share them and events often match.
fn some(of: &'static [&'static str]) -> impl Strategy<Value = serde_json::Value> {
    prop::collection::vec(prop::sample::select(of), 0..3).prop_map(|picked| json!(picked))
}

prop_compose! {
    fn wanted()(
        event_types in some(&["film.created", "film.*", "*.deleted", "film.status_changed", "*.changed", "film.changed", "*"]),
        sources in some(&["films", "books"]),
        collections in some(&["films", "books"]),
        operations in some(&["created", "updated"]),
        changed in some(&["status", "address.city", "address"]),
        transitions in prop::collection::vec(
            prop::sample::select(vec![
                json!({"field": "status"}), json!({"field": "status", "to": "b"}), json!({"field": "status", "from": "a"}),
                json!({"field": "status", "from": null, "to": "a"}), json!({"field": "address.city", "to": "b"}),
            ]), 0..2),
        filter in prop::option::of(prop::sample::select(vec![
            json!({"value": {"status": ["a", "b"]}}), json!({"value": {"status": [{"prefix": "a"}]}}),
            json!({"value": {"address": {"city": ["a"]}}, "oldValue": {"status": ["a"]}}),
            json!({"value": {"n": [{"numeric": [">", 1]}]}}), json!({"value": {"status": [{"exists": false}]}}),
            json!({"eventType": ["film.updated"]}), json!({"updateMask": ["status"]}), json!({"entityId": ["7"], "value": {"n": [1]}}),
        ])),
    ) -> Subscription {
        subscription(&json!({"event_types": event_types, "sources": sources, "collections": collections,
            "operations": operations, "changed": changed, "transitions": transitions, "filter": filter}))
    }
}

prop_compose! {
    fn image()(status in prop::option::of("[ab]"), city in prop::option::of("[ab]"), n in 0..3_u8) -> Map {
        let mut image = json!({"studio": "acme", "film_id": 7, "n": n, "address": {}});
        if let Some(status) = status { image["status"] = json!(status); }
        if let Some(city) = city { image["address"]["city"] = json!(city); }
        map(&image)
    }
}

fn images() -> impl Strategy<Value = Images> {
    prop_oneof![
        image().prop_map(Images::Insert),
        (image(), image()).prop_map(|(old, new)| Images::Modify(old, new)),
        image().prop_map(Images::Remove),
    ]
}

proptest! {
    /// Whatever subscriptions were added and removed, a matcher finds exactly those that evaluating each of them would
    /// find. With many similar ones, a sieve takes part.
    #[test]
    fn finds_exactly_those_that_want_the_event(
        changes in prop::collection::vec((0_u128..8, prop::option::of(wanted())), 0..30),
        copies in prop::sample::select(vec![1_u128, 40]),
        images in prop::collection::vec(images(), 1..4),
    ) {
        let mut matcher = Matcher::default();
        let mut model = BTreeMap::new();
        for (number, subscription) in changes {
            for copy in 0..copies {
                let webhook = webhook(number * 1000 + copy);
                if let Some(subscription) = &subscription {
                    let subscription = Subscription { webhook, ..subscription.clone() };
                    model.insert(webhook, subscription.clone());
                    matcher.apply(SubscriptionChange::Wants(Box::new(subscription)));
                } else {
                    model.remove(&webhook);
                    matcher.apply(SubscriptionChange::Ended(webhook));
                }
            }
        }
        prop_assert_eq!(matcher.len(), model.len());
        for images in images {
            let Some(event) = crate::source::tests::films().events(change(images)).unwrap().pop() else { continue };
            let found: Vec<_> = matcher.matching(&event).iter().map(|subscription| subscription.webhook).collect();
            let wanted = model.values().filter(|subscription| subscription.wants(&event));
            prop_assert_eq!(found, wanted.map(|subscription| subscription.webhook).collect::<Vec<_>>());
        }
        for webhook in model.into_keys() {
            matcher.apply(SubscriptionChange::Ended(webhook));
        }
        prop_assert!(matcher.index.is_empty() && matcher.texts.is_empty() && matcher.bytes() == 0, "{:?}", matcher);
    }
}

#[test]
fn the_size_of_a_long_subscription_is_counted() {
    let bytes = |wanted: serde_json::Value| {
        let mut matcher = Matcher::default();
        matcher.apply(SubscriptionChange::Wants(Box::new(subscription(&wanted))));
        matcher.bytes()
    };
    let short = bytes(json!({"event_types": ["film.created"]}));
    assert!((500..5_000).contains(&short), "{short}");
    let long = bytes(json!({"event_types": ["film.created"], "rendering": {"template": "x".repeat(16_000)}}));
    assert!((16_000..50_000).contains(&(long - short)), "{long}");
}

/// The field named is the one to shorten.
#[test]
fn the_heaviest_field_is_named() {
    let texts: Vec<_> = (0..200).map(|n| n.to_string()).collect();
    let long = "a.".repeat(100) + "b";
    for (wanted, field) in [
        (json!({"event_types": ["film.*"], "filter": {"value": {"status": texts}}}), "/filter"),
        (json!({"rendering": {"template": "x".repeat(10_000)}}), "/template"),
        (json!({"rendering": {"properties": {"a": vec![json!({"b": 1}); 100]}}}), "/properties"),
        (json!({"rendering": {"include": vec![long.clone(); 100]}}), "/include"),
        (json!({"changed": [long]}), "/changed"),
    ] {
        assert_eq!(heaviest(&subscription(&wanted)), field);
    }
}

/// The number of webhooks that an event is compared with: those under one of its keys, or selected by a sieve.
fn candidates(matcher: &Matcher, event: &Event) -> usize {
    let mut keys = BTreeSet::new();
    for_each_key(&TypedEvent::new(event), &matcher.texts, |key| _ = keys.insert(hashed(&key)));
    let compared = |bucket: &Bucket| match bucket {
        Bucket::Many(crowd) if crowd.sieve.is_some() => {
            let mut named = 0;
            let made = crowd.sieve.as_ref().unwrap();
            made.sieve.candidates(event, &Effort::unlimited(), |_| named += 1);
            crowd.plain.len() + named
        }
        Bucket::One(_) | Bucket::Many(_) => bucket.len(),
    };
    keys.iter().filter_map(|key| matcher.index.get(key)).map(compared).sum()
}

#[test]
fn webhooks_that_want_something_else_are_not_evaluated() {
    let shapes: [fn(u128) -> serde_json::Value; 6] = [
        |n| json!({"event_types": [format!("film{n}.updated")]}),
        |n| json!({"event_types": ["film.updated"], "collections": [format!("films{n}")]}),
        |n| json!({"event_types": ["film.updated"], "filter": {"value": {"status": [format!("s{n}")]}}}),
        |n| json!({"event_types": [format!("film{n}.*")], "filter": {"value": {"status": ["new"]}}}),
        |n| json!({"event_types": ["film.updated"], "transitions": [{"field": "status", "to": format!("s{n}")}]}),
        |n| json!({"event_types": ["film.updated"], "filter": {"value": {"n": [{"numeric": [">", n + 10]}]}}}),
    ];
    let event = event(&json!({"status": "old", "n": 1}), &json!({"status": "new", "n": 2}));
    for shape in shapes {
        let mut matcher = Matcher::default();
        for number in 0..1000 {
            let subscription = Subscription { webhook: webhook(number), ..subscription(&shape(number)) };
            matcher.apply(SubscriptionChange::Wants(Box::new(subscription)));
        }
        assert!(matcher.matching(&event).is_empty());
        assert!(candidates(&matcher, &event) <= 1, "{}", shape(0));
    }
}

/// A tenant whose webhooks all have the same types, and filters that no key tells apart.
fn crowd(count: u128, filter: impl Fn(u128) -> serde_json::Value) -> Matcher {
    let mut matcher = Matcher::default();
    for number in 0..count {
        let wanted = subscription(&json!({"event_types": ["film.updated"], "filter": filter(number)}));
        let wanted = Subscription { webhook: webhook(number), ..wanted };
        matcher.apply(SubscriptionChange::Wants(Box::new(wanted)));
    }
    matcher
}

/// Without memory for a sieve, each filter is evaluated on its own, and the result is the same.
#[test]
fn filters_that_do_not_fit_are_evaluated_one_by_one() {
    let mut matcher = crowd(100, |n| json!({"value": {"n": [{"numeric": [">", n]}]}}));
    let event = event(&json!({"n": 1}), &json!({"n": 42}));
    let before = matcher.bytes();
    let limits = MatchLimits { room: 1_000, ..MatchLimits::none() };
    assert_eq!(matcher.matching_within(&event, &limits).wanted.len(), 42);
    assert_eq!(matcher.bytes(), before, "no sieve was made");
    assert_eq!(matcher.matching(&event).len(), 42);
    assert!(matcher.bytes() > before, "a sieve was made, and is counted");
    matcher.shrink();
    assert_eq!(matcher.bytes(), before);
    // A change of a webhook frees the memory of the sieves that contain it.
    matcher.matching(&event);
    matcher.apply(SubscriptionChange::Ended(webhook(0)));
    assert!(matcher.bytes() < before);
    assert_eq!(matcher.matching(&event).len(), 41);
}

/// Filters that search long texts and lists stop when the effort is spent, and the number of webhooks that were not
/// evaluated is returned.
#[test]
fn webhooks_beyond_the_effort_are_counted() {
    let stars = |n: u128| json!({"value": {"tags": (0..120).map(|m| json!({"wildcard": format!("*{n}x{m}*")})).collect::<Vec<_>>()}});
    let mut matcher = crowd(200, stars);
    let tags: Vec<_> = (0..10_000).map(|n| format!("t{n}")).collect();
    let event = event(&json!({"n": 1}), &json!({"tags": tags}));
    let started = std::time::Instant::now();
    let found =
        matcher.matching_within(&event, &MatchLimits { effort: Effort::new(20_000_000), ..MatchLimits::none() });
    let not_judged = found.not_judged.len();
    assert!(found.wanted.is_empty() && (1..200).contains(&not_judged), "{not_judged}");
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
