use jiff::Timestamp;
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::id::WebhookId;

const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn event(random: u128) -> EventId {
    EventId::from_parts(Timestamp::from_second(1_795_255_200).unwrap(), random)
}

#[rstest]
#[case::sampled(VALID, Some(VALID))]
#[case::not_sampled(
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
    Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")
)]
#[case::unknown_flags_are_dropped("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0b", Some(VALID))]
#[case::a_later_version("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Some(VALID))]
#[case::a_later_version_with_more("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what", Some(VALID))]
#[case::more_than_this_version_has("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what", None)]
#[case::the_forbidden_version("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None)]
#[case::upper_case("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", None)]
#[case::no_trace("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None)]
#[case::no_span("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", None)]
#[case::a_sign("00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None)]
#[case::a_long_version("0-04bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None)]
#[case::too_short("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01", None)]
#[case::no_flags("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", None)]
#[case::empty("", None)]
fn reads_a_context(#[case] text: &str, #[case] read: Option<&str>) {
    assert_eq!(text.parse::<TraceParent>().ok().map(|parent| parent.to_string()).as_deref(), read);
    assert_eq!(TraceParent::read([Some(text)].into_iter()), text.parse().ok());
}

#[test]
fn a_header_that_is_absent_twice_there_or_not_text_is_ignored() {
    assert_eq!(TraceParent::read([].into_iter()), None);
    assert_eq!(TraceParent::read([None].into_iter()), None);
    assert_eq!(TraceParent::read([Some(VALID), Some(VALID)].into_iter()), None);
    assert!(
        TraceParent::read([Some(" 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\t")].into_iter()).is_some()
    );
}

/// Deployed versions next to each other derive the same ids, so these never change.
#[test]
fn derived_ids_stay() {
    let delivery = DeliveryId::first(event(1), WebhookId::from_parts(Timestamp::UNIX_EPOCH, 2));
    let parent = |span| TraceParent { trace: TraceId::of(event(1)), span, sampled: true }.to_string();
    insta::assert_snapshot!(
        [parent(SpanId::of_event(event(1))), parent(SpanId::of_attempt(delivery, 0, 1))].join("\n"),
        @r"
    00-6b016ba0c956c3b0d6c28031f24186fd-3d4aa38d536383db-01
    00-6b016ba0c956c3b0d6c28031f24186fd-c5365640eb31b32f-01
    "
    );
}

#[test]
fn an_id_starts_with_the_time_of_the_event_as_x_ray_wants_it() {
    let trace = TraceId::of(event(7));
    assert_eq!(u32::from_be_bytes(trace.to_bytes()[..4].try_into().unwrap()), 1_795_255_200);
    assert_ne!(trace, TraceId::of(event(8)));
    let (second, later) = (SpanId::of_attempt(delivery(), 0, 2), SpanId::of_attempt(delivery(), 2, 0));
    assert_ne!(second, later);
}

fn delivery() -> DeliveryId {
    DeliveryId::from_parts(Timestamp::UNIX_EPOCH, 1)
}

#[rstest]
#[case("0", 0, 0)]
#[case("1", 10_000, 10_000)]
#[case("0.05", 400, 600)]
#[case("0.5", 4_700, 5_300)]
fn takes_its_part_of_all_events(#[case] part: &str, #[case] least: usize, #[case] most: usize) {
    let sampling: Sampling = part.parse().unwrap();
    let taken = (0..10_000).filter(|number| sampling.of_event(event(*number), None).sampled).count();
    assert!((least..=most).contains(&taken), "{taken}");
}

#[rstest]
#[case("1.01")]
#[case("-0.1")]
#[case("NaN")]
#[case("half")]
#[case("")]
fn a_part_is_a_number_from_0_to_1(#[case] text: &str) {
    assert_eq!(text.parse::<Sampling>(), Err(SamplingError));
}

proptest! {
    #[test]
    fn a_context_survives_its_text(trace in 1_u128.., span in 1_u64.., sampled: bool) {
        let parent = TraceParent { trace: TraceId(trace), span: SpanId(span), sampled };
        prop_assert_eq!(parent.to_string().parse(), Ok(parent));
        let json = serde_json::to_string(&parent).unwrap();
        prop_assert_eq!(serde_json::from_str::<TraceParent>(&json).unwrap(), parent);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}|[0-9a-f-]{50,60}") {
        if let Ok(parent) = text.parse::<TraceParent>() {
            prop_assert_eq!(&parent.to_string()[3..52], &text[3..52]);
        }
    }

    /// The publisher has decided.
    #[test]
    fn a_given_context_decides(number: u128, trace in 1_u128.., span in 1_u64.., sampled: bool, part in 0.0..=1.0_f64) {
        let sampling: Sampling = part.to_string().parse().unwrap();
        let given = TraceParent { trace: TraceId(trace), span: SpanId(span), sampled };
        let of_event = sampling.of_event(event(number), Some(given));
        prop_assert_eq!(of_event, EventTrace { trace: given.trace, parent: Some(given.span), sampled });
    }

    /// With a larger part, the same traces are exported, and more.
    #[test]
    fn a_larger_part_takes_more(random: u128, a in 0.0..=1.0_f64, b in 0.0..=1.0_f64) {
        let takes = |part: f64| part.to_string().parse::<Sampling>().unwrap().takes(TraceId::new(1, random));
        prop_assert!(!takes(a.min(b)) || takes(a.max(b)));
    }
}
