//! The filters of a list of a webhook's deliveries.

use std::time::Duration;

use aws::ledger::Range;
use domain::attempt::outcome::Verdict;
use domain::delivery::{Delivery, State};
use domain::event::pattern::EventPattern;
use domain::id::{DeliveryId, EventId};
use jiff::Timestamp;
use serde::de::value::StringDeserializer;
use serde::{Deserialize, Deserializer};
use utoipa::IntoParams;

use crate::page::Page;
use crate::problem::Problem;

/// The filters of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveryQuery {
    /// The `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^dlv_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    cursor: Option<String>,
    /// The maximum number of entries.
    #[param(value_type = u8, required = false, minimum = 1, maximum = 100, default = 50)]
    limit: Option<usize>,
    /// Only those in this state, or in one of several, separated by commas.
    #[param(value_type = Vec<State>, required = false, style = Form, explode = false, min_items = 1)]
    state: Option<OneOf<State>>,
    /// Only those whose last attempt had this verdict, or one of several, separated by commas.
    #[param(value_type = Vec<Verdict>, required = false, style = Form, explode = false, min_items = 1)]
    verdict: Option<OneOf<Verdict>>,
    /// Only those whose last attempt got this status or a status of this class; several are separated by commas.
    #[param(value_type = String, required = false, pattern = "^[1-9]([0-9]{2}|xx)(,[1-9]([0-9]{2}|xx))*$", example = "404,5xx")]
    status: Option<OneOf<Statuses>>,
    /// Only those of events of this type or group (`packet.*`, `*.deleted`).
    #[param(value_type = String, required = false, max_length = 128, pattern = r"^(\*|\*(\.[A-Za-z0-9_-]+)+|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(\.\*)?)$")]
    event_type: Option<EventPattern>,
    /// Only those of this event.
    #[param(value_type = String, required = false, pattern = "^evt_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    event_id: Option<EventId>,
    /// Only those of events at this time or later.
    #[param(value_type = String, format = DateTime, required = false)]
    from: Option<Timestamp>,
    /// Only those of events before this time.
    #[param(value_type = String, format = DateTime, required = false)]
    to: Option<Timestamp>,
}

impl DeliveryQuery {
    /// Returns the range of deliveries to read, and the limit of the page.
    pub(super) fn range(&self, now: Timestamp) -> Result<(Range, usize), Problem> {
        let (below, limit) = Page::new(self.cursor.clone(), self.limit).read::<DeliveryId>()?;
        let everything = Range { below, ..Range::all(now) };
        let mut from = self.from.unwrap_or(everything.from);
        let mut to = self.to.unwrap_or(everything.to);
        if let Some(event) = self.event_id {
            // The ids of an event's deliveries contain the event's time.
            let at = event.timestamp();
            (from, to) = (from.max(at), to.min(at.checked_add(Duration::from_millis(1)).unwrap_or(Timestamp::MAX)));
        }
        Ok((Range { from, to, ..everything }, limit))
    }

    pub(super) fn wants(&self, delivery: &Delivery) -> bool {
        let last = delivery.attempts.last().map(|attempt| &attempt.outcome);
        let status = last.and_then(|outcome| outcome.status);
        self.state.as_ref().is_none_or(|wanted| wanted.0.contains(&delivery.progress.state))
            && self.verdict.as_ref().is_none_or(|wanted| last.is_some_and(|last| wanted.0.contains(&last.verdict)))
            && self.status.as_ref().is_none_or(|wanted| {
                status.is_some_and(|status| wanted.0.iter().any(|statuses| statuses.include(status)))
            })
            && self.event_type.as_ref().is_none_or(|pattern| pattern.asks_for(&delivery.event_type))
            && self.event_id.is_none_or(|event| event == delivery.event)
    }
}

/// A list of values, separated by commas. It matches each of them.
#[derive(Debug)]
struct OneOf<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOf<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let values = text.split(',').map(|word| T::deserialize(StringDeserializer::<D::Error>::new(word.to_owned())));
        Ok(Self(values.collect::<Result<_, _>>()?))
    }
}

/// A status, or a class of statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
enum Statuses {
    One(u16),
    Class(u16),
}

impl Statuses {
    fn include(self, status: u16) -> bool {
        match self {
            Self::One(one) => one == status,
            Self::Class(class) => class == status / 100,
        }
    }
}

impl TryFrom<String> for Statuses {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let number = |digits: &str, length| {
            let is_number = digits.len() == length && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| is_number && !digits.starts_with('0'))
        };
        let found = match text.strip_suffix("xx") {
            Some(class) => number(class, 1).map(Self::Class),
            None => number(&text, 3).map(Self::One),
        };
        found.ok_or("must be a status such as 404 or a class such as 5xx, or several, separated by commas")
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::Query;
    use domain::attempt::Attempt;
    use domain::attempt::outcome::Outcome;
    use domain::attempt::redact::SentHeaders;
    use domain::delivery::Progress;
    use domain::id::WebhookId;
    use domain::payload::ContentType;
    use rstest::rstest;

    use super::*;

    fn at() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn read(query: &str) -> Result<DeliveryQuery, String> {
        let uri = format!("http://localhost/?{query}").parse().unwrap();
        match Query::<DeliveryQuery>::try_from_uri(&uri) {
            Ok(Query(filter)) => Ok(filter),
            Err(error) => Err(std::error::Error::source(&error).unwrap().to_string()),
        }
    }

    fn delivery() -> Delivery {
        let attempt = |number, verdict, status| Attempt {
            cycle: 0,
            number,
            at: at(),
            outcome: Outcome { status, ..Outcome::unanswered(verdict, "") },
            secret_fingerprint: serde_json::from_value("f".into()).unwrap(),
            request_headers: SentHeaders::default(),
            url: None,
        };
        let event = EventId::from_parts(at(), 1);
        Delivery {
            id: DeliveryId::derive(at(), &["1"]),
            event,
            event_type: "packet.created".parse().unwrap(),
            webhook: WebhookId::from_parts(at(), 2),
            tenant: "acme".parse().unwrap(),
            app: None,
            sequence: None,
            entity: None,
            entity_path: None,
            hops: domain::event::hops::Hops::NONE,
            deferred_until: None,
            over_budget: false,
            test: false,
            progress: Progress { state: State::Retrying, cycle: 0, attempt: 3, next_at: None },
            lease_until: None,
            body: None,
            content_type: ContentType::Json,
            attempts: vec![attempt(1, Verdict::TimedOut, None), attempt(2, Verdict::ServerFailed, Some(502))],
        }
    }

    #[rstest]
    #[case::all("", true)]
    #[case::state("state=retrying", true)]
    #[case::one_of_the_states("state=exhausted,retrying", true)]
    #[case::another_state("state=delivered", false)]
    #[case::verdict("verdict=server_failed", true)]
    #[case::only_the_last_verdict("verdict=timed_out", false)]
    #[case::status("status=502", true)]
    #[case::class("status=404,5xx", true)]
    #[case::another_class("status=4xx,500", false)]
    #[case::event_type("event_type=packet.*", true)]
    #[case::another_type("event_type=*.deleted", false)]
    #[case::event("event_id=evt_01M7YRRT800000000000000001", true)]
    #[case::another_event("event_id=evt_01M7YRRT800000000000000002", false)]
    #[case::all_conditions("state=retrying&status=404", false)]
    fn says_which_are_wanted(#[case] query: &str, #[case] wanted: bool) {
        assert_eq!(read(query).unwrap().wants(&delivery()), wanted);
    }

    #[rstest]
    #[case::state("state=lost", "state: unknown variant `lost`")]
    #[case::no_state("state=", "state: unknown variant ``")]
    #[case::status("status=5x", "status: must be a status such as 404 or a class such as 5xx")]
    #[case::no_digit("status=%2B50", "status: must be")]
    #[case::zero("status=0xx", "status: must be")]
    #[case::event("event_id=dlv_01M7YRRT800000000000000001", "event_id: must be an id of the form evt_<ULID>")]
    #[case::unknown("colour=red", "unknown field `colour`")]
    fn names_what_is_wrong(#[case] query: &str, #[case] error: &str) {
        let found = read(query).unwrap_err();
        assert!(found.contains(error), "{found}");
    }

    #[test]
    fn an_event_bounds_where_to_look() {
        let filter = read("event_id=evt_01M7YRRT800000000000000001").unwrap();
        let (range, limit) = filter.range(at()).unwrap();
        assert_eq!((range.from, range.to, limit), (at(), at() + Duration::from_millis(1), 50));
        let delivery = delivery();
        assert!(DeliveryId::from_parts(range.from, 0) <= delivery.id);
        assert!(delivery.id < DeliveryId::from_parts(range.to, 0));
    }
}
