//! The filters of lists of deliveries.

use std::time::Duration;

use aws::ledger::Range;
use domain::attempt::outcome::Verdict;
use domain::delivery::State;
use domain::event::pattern::EventPattern;
use domain::id::{DeliveryId, EventId, WebhookId};
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

use super::conditions::{Conditions, OneOf, Statuses};
use super::search::{Cursor, Search};
use crate::events::EntityPath;
use crate::page::{Limit, Page};
use crate::problem::Problem;

/// The filters of the list of a webhook's deliveries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeliveryQuery {
    /// The `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^dlv_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    cursor: Option<String>,
    /// The maximum number of entries.
    #[param(value_type = u8, required = false, minimum = 1, maximum = 100, default = 50)]
    limit: Option<Limit>,
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
    /// Only those of events about the entity with this path: its collection and its id.
    #[param(value_type = String, required = false, min_length = 3, max_length = 512, pattern = "^.+/.+$", example = "orders/3")]
    entity: Option<EntityPath>,
    /// Only those of events at this time or later.
    #[param(value_type = String, format = DateTime, required = false)]
    from: Option<Timestamp>,
    /// Only those of events before this time.
    #[param(value_type = String, format = DateTime, required = false)]
    to: Option<Timestamp>,
}

/// The filters of the list of all webhooks' deliveries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AllDeliveriesQuery {
    /// The `next_cursor` of the previous page. Send the same filters with it.
    #[param(value_type = String, required = false, pattern = "^(dlv_[0-7][0-9A-HJKMNP-TV-Z]{25}|evt_[0-7][0-9A-HJKMNP-TV-Z]{25}(-dlv_[0-7][0-9A-HJKMNP-TV-Z]{25})?)$")]
    cursor: Option<String>,
    /// The maximum number of entries.
    #[param(value_type = u8, required = false, minimum = 1, maximum = 100, default = 50)]
    limit: Option<Limit>,
    /// Only those to this webhook, or to one of several, separated by commas. Required if there are more than 50
    /// webhooks and neither `event_id` nor `entity` is sent.
    #[param(value_type = Vec<String>, required = false, style = Form, explode = false, min_items = 1)]
    webhook_id: Option<OneOf<WebhookId>>,
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
    /// Only those of events about the entity with this path: its collection and its id.
    #[param(value_type = String, required = false, min_length = 3, max_length = 512, pattern = "^.+/.+$", example = "orders/3")]
    entity: Option<EntityPath>,
    /// Only those of events at this time or later. Default with `entity`: seven days ago.
    #[param(value_type = String, format = DateTime, required = false)]
    from: Option<Timestamp>,
    /// Only those of events before this time.
    #[param(value_type = String, format = DateTime, required = false)]
    to: Option<Timestamp>,
}

impl DeliveryQuery {
    /// Returns the range of deliveries to read, the limit of the page, and the conditions.
    pub(crate) fn read(self, now: Timestamp) -> Result<(Range, usize, Conditions), Problem> {
        let Self { cursor, limit, state, verdict, status, event_type, event_id, entity, from, to } = self;
        let (below, limit) = Page::new(cursor, limit).read::<DeliveryId>()?;
        let everything = Range { below, ..Range::all(now) };
        let mut from = from.unwrap_or(everything.from);
        let mut to = to.unwrap_or(everything.to);
        if let Some(event) = event_id {
            // The ids of an event's deliveries contain the event's time.
            let at = event.timestamp();
            (from, to) = (from.max(at), to.min(at.checked_add(Duration::from_millis(1)).unwrap_or(Timestamp::MAX)));
        }
        let conditions = Conditions { state, verdict, status, event_type, event_id, entity };
        Ok((Range { from, to, ..everything }, limit, conditions))
    }
}

impl AllDeliveriesQuery {
    /// Returns what to find.
    pub(crate) fn read(self) -> Result<Search, Problem> {
        let Self { cursor, limit, webhook_id, state, verdict, status, event_type, event_id, entity, from, to } = self;
        let (cursor, limit) = Page::new(cursor, limit).read::<Cursor>()?;
        // Deliveries that earlier versions recorded have no path, and their event is known to be about the entity.
        let by_path = entity.clone().filter(|_| event_id.is_some());
        Ok(Search {
            webhooks: webhook_id.map(|OneOf(webhooks)| webhooks).unwrap_or_default(),
            entity: entity.map(|EntityPath(path)| path),
            event: event_id,
            conditions: Conditions { state, verdict, status, event_type, event_id, entity: by_path },
            from,
            to,
            cursor,
            limit,
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::Query;
    use domain::attempt::Attempt;
    use domain::attempt::outcome::Outcome;
    use domain::attempt::redact::SentHeaders;
    use domain::delivery::{Delivery, Progress};
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
            entity_path: Some("packets/1".to_owned()),
            hops: domain::event::hops::Hops::NONE,
            traceparent: None,
            deferred_until: None,
            over_budget: false,
            test: false,
            progress: Progress { state: State::Retrying, cycle: 0, attempt: 3, next_at: None },
            lease_until: None,
            body: None,
            body_digest: None,
            last_response: None,
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
    #[case::entity("entity=packets/1", true)]
    #[case::another_entity("entity=packets/2", false)]
    #[case::all_conditions("state=retrying&status=404", false)]
    fn says_which_are_wanted(#[case] query: &str, #[case] wanted: bool) {
        let (_, _, conditions) = read(query).unwrap().read(at()).unwrap();
        assert_eq!(conditions.are_met_by(&delivery()), wanted);
    }

    #[rstest]
    #[case::state("state=lost", "state: unknown variant `lost`")]
    #[case::no_state("state=", "state: unknown variant ``")]
    #[case::status("status=5x", "status: must be a status such as 404 or a class such as 5xx")]
    #[case::no_digit("status=%2B50", "status: must be")]
    #[case::zero("status=0xx", "status: must be")]
    #[case::event("event_id=dlv_01M7YRRT800000000000000001", "event_id: must be an id of the form evt_<ULID>")]
    #[case::entity("entity=packets", "entity: must be the path of an entity, such as orders/3")]
    #[case::no_entity("entity=packets/", "entity: must be the path of an entity")]
    #[case::unknown("colour=red", "unknown field `colour`")]
    fn names_what_is_wrong(#[case] query: &str, #[case] error: &str) {
        let found = read(query).unwrap_err();
        assert!(found.contains(error), "{found}");
    }

    #[test]
    fn an_event_bounds_where_to_look() {
        let filter = read("event_id=evt_01M7YRRT800000000000000001").unwrap();
        let (range, limit, _) = filter.read(at()).unwrap();
        assert_eq!((range.from, range.to, limit), (at(), at() + Duration::from_millis(1), 50));
        let delivery = delivery();
        assert!(DeliveryId::from_parts(range.from, 0) <= delivery.id);
        assert!(delivery.id < DeliveryId::from_parts(range.to, 0));
    }
}
