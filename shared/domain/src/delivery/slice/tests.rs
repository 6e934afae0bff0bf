use std::collections::BTreeSet;

use jiff::Timestamp;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;

fn event() -> Event {
    crate::matching::subscription::tests::event(&json!({"status": "open"}), &json!({"status": "paid"}))
}

fn webhook(number: usize) -> WebhookId {
    WebhookId::from_parts(Timestamp::UNIX_EPOCH, number as u128)
}

/// A webhook with the given settings. Those below ten are templates.
fn subscription(number: usize, settings: usize, ordered: bool) -> Arc<Subscription> {
    let rendering = if settings < 10 {
        json!({"format": "template", "template": format!("[{settings}{}]", " ".repeat(settings * 1_000))})
    } else {
        json!({"properties": {"number": settings}})
    };
    let webhook = webhook(number).to_string();
    Arc::new(serde_json::from_value(json!({"webhook": webhook, "rendering": rendering, "ordered": ordered})).unwrap())
}

fn part(settings: usize, ordered: bool) -> Part {
    parts(&event(), &[subscription(1, settings, ordered)]).remove(0)
}

const NOTHING: Work = Work::new(0);

#[rstest]
#[case::a_template(1, false, EVENT_WORK, BATCH_WORK, Placement::Here)]
#[case::as_long_as_anything_is_left(1, false, Work::new(10_000), BATCH_WORK, Placement::Here)]
#[case::less_than_it_takes_at_least(1, false, Work::new(10), BATCH_WORK, Placement::InASlice)]
#[case::nothing_of_the_event(1, false, NOTHING, BATCH_WORK, Placement::InASlice)]
#[case::nothing_of_the_batch(1, false, EVENT_WORK, NOTHING, Placement::InASlice)]
#[case::without_a_template(10, false, NOTHING, BATCH_WORK, Placement::InASlice)]
#[case::in_order(1, true, NOTHING, NOTHING, Placement::Here)]
#[case::in_order_without_a_template(10, true, NOTHING, NOTHING, Placement::Here)]
fn a_rendering_goes_where_there_is_room(
    #[case] settings: usize,
    #[case] ordered: bool,
    #[case] left: Work,
    #[case] batch: Work,
    #[case] verdict: Placement,
) {
    let mut budget = EventBudget { event: left, is_first: false, ..EventBudget::default() };
    assert_eq!(budget.decide(&part(settings, ordered), &event(), batch), verdict);
    budget.ordered = NOTHING;
    let verdict = if ordered { Placement::Never } else { verdict };
    assert_eq!(budget.decide(&part(settings, ordered), &event(), batch), verdict, "order has a share of its own");
}

#[test]
fn the_first_without_a_template_is_always_made_here() {
    let mut budget = EventBudget { event: NOTHING, ..EventBudget::default() };
    assert_eq!(budget.decide(&part(1, false), &event(), NOTHING), Placement::InASlice);
    assert_eq!(budget.decide(&part(10, false), &event(), NOTHING), Placement::Here);
    budget.spend(&part(10, false), Work::new(1), &mut Work::new(1));
    assert_eq!(budget.decide(&part(11, false), &event(), NOTHING), Placement::InASlice);
}

#[test]
fn what_a_rendering_takes_is_taken_off_its_share() {
    let (mut budget, mut batch) = (EventBudget::default(), Work::new(1_000));
    budget.spend(&part(1, true), Work::new(100), &mut batch);
    assert_eq!(
        (budget.event, budget.ordered, batch),
        (EVENT_WORK, ORDERED_WORK.less(Work::new(100)), Work::new(1_000))
    );
    budget.spend(&part(1, false), Work::new(2_000), &mut batch);
    assert_eq!((budget.event, batch), (EVENT_WORK.less(Work::new(2_000)), NOTHING));
}

#[test]
fn equal_settings_are_one_rendering_and_templates_come_last() {
    let wanted = [(1, 3, false), (2, 12, false), (3, 3, false), (4, 12, true), (5, 4, true)];
    let wanted = wanted.map(|(number, settings, ordered)| subscription(number, settings, ordered));
    let parts = parts(&event(), &wanted);
    let numbers = |part: &Part| part.webhooks.iter().map(|wanting| wanting.webhook).collect::<Vec<_>>();
    let expected = [[2, 4].map(webhook).to_vec(), vec![webhook(5)], [1, 3].map(webhook).to_vec()];
    assert_eq!(parts.iter().map(numbers).collect::<Vec<_>>(), expected);
}

#[test]
fn the_messages_of_a_slice_are_those_of_the_shard() {
    let event = event();
    let part = part(3, true);
    let read: Part = serde_json::from_str(&serde_json::to_string(&part).unwrap()).unwrap();
    let body = Body::Inline("1".to_owned());
    assert_eq!(read.messages(&event, &body), part.messages(&event, &body));
    assert!(part.messages(&event, &body)[0].group().is_some());
}

/// A tenant's events take up what there is in a batch; the rest of its webhooks goes into lists, but those that keep an
/// order.
#[test]
fn what_has_no_room_goes_into_lists() {
    let (small, large) = (subscription(1, 20, false), subscription(2, 9, false));
    let (ordered, plain) = (subscription(3, 9, true), |number| subscription(number, 1_000, false));
    let mut room = Room::default();
    let first = |wanted: &[Arc<Subscription>], room: &mut Room| {
        let (mut lists, mut wanted) = (Lists::default(), wanted.to_vec());
        lists.take_from(&mut wanted, room);
        (wanted.len(), lists.into_lists().iter().map(Vec::len).collect::<Vec<_>>())
    };
    assert_eq!(first(&[small.clone(), large.clone(), ordered.clone()], &mut room), (3, vec![]));
    // 15 of 9 KB are more than one event may have.
    let many: Vec<_> = (10..25).map(|number| subscription(number, 9, false)).collect();
    assert_eq!(first(&[&many[..], std::slice::from_ref(&ordered)].concat(), &mut room), (1, vec![10, 5]));
    room.settings = 1_000;
    assert_eq!(first(&[large, ordered.clone()], &mut room), (1, vec![1]));
    room.messages = 100;
    let many: Vec<_> = (0..100).map(plain).chain([ordered.clone()]).collect();
    assert_eq!(first(&many, &mut Room { settings: usize::MAX, ..room }), (101, vec![]));
    let none = || Room { settings: usize::MAX, messages: 99, work: BATCH_WORK };
    assert_eq!(first(&many, &mut none()), (1, vec![100]));
    let more: Vec<_> = (0..130).map(plain).chain([ordered]).collect();
    assert_eq!(first(&more, &mut none()), (1, vec![100, 30]));
}

#[test]
fn a_slice_of_the_version_before_is_read() {
    let text = r#"{"event":{"inline":"{}"},"parts":{"stored":"k"}}"#;
    let slice: SliceMessage = serde_json::from_str(text).unwrap();
    let parts = Some(Body::Stored("k".to_owned()));
    assert_eq!(slice, SliceMessage { event: Body::Inline("{}".to_owned()), parts, webhooks: Vec::new() });
    assert_eq!(serde_json::to_string(&slice).unwrap(), text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Every webhook is in exactly one slice, with its own settings, and every slice is within its limits.
    #[test]
    fn slices_have_all_and_not_too_much(wanted in prop::collection::vec((0_usize..30, 1_usize..900), 0..16)) {
        let event = event();
        let mut number = 0;
        let subscriptions: Vec<_> = wanted.iter().flat_map(|(settings, count)| {
            let from = number;
            number += count;
            (from..number).map(|number| subscription(number, *settings, false))
        }).collect();
        let settings = |part: &Part| serde_json::to_string(&part.rendering).unwrap();
        let mut seen = BTreeSet::new();
        for slice in slices(&event, parts(&event, &subscriptions)) {
            prop_assert!(!slice.is_empty());
            let work: Work = slice.iter().map(|part| Work::most(&part.rendering, &event)).sum();
            prop_assert!(slice.len() == 1 || work <= SLICE_WORK);
            prop_assert!(slice.iter().map(|part| part.webhooks.len()).sum::<usize>() <= SLICE_WEBHOOKS);
            for part in &slice {
                for wanting in &part.webhooks {
                    prop_assert!(seen.insert((wanting.webhook, settings(part))));
                }
            }
        }
        let all: BTreeSet<_> = subscriptions
            .iter()
            .map(|subscription| (subscription.webhook, serde_json::to_string(&subscription.rendering).unwrap()))
            .collect();
        prop_assert_eq!(seen, all);
    }

    /// Whatever templates a tenant has, the work that an event takes in its shard is bounded by its budget, one more
    /// rendering, and the renderings without a template.
    #[test]
    fn an_event_takes_no_more_than_its_share(works in prop::collection::vec(0_u64..8_000_000, 0..300)) {
        let (event, mut budget, mut batch) = (event(), EventBudget::default(), BATCH_WORK);
        let (mut spent, part) = (Work::default(), part(1, false));
        for work in works {
            if budget.decide(&part, &event, batch) == Placement::Here {
                budget.spend(&part, Work::new(work), &mut batch);
                spent += Work::new(work);
            }
        }
        prop_assert!(spent <= EVENT_WORK + Work::new(8_000_000));
    }
}
