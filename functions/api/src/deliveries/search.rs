//! Finds deliveries over all webhooks that a caller may see: those of an event, those of an entity, or the newest.
//!
//! There is no index over all deliveries, because it would cost a write for each of them. The ids of an event's
//! deliveries are derived, so their rows are read by key; an entity's events are found in the archive first. Without
//! either, the newest deliveries of a few webhooks are merged.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use aws::registry::WebhookOwner;
use aws::{events, ledger};
use domain::delivery::lookup::{Replay, possible};
use domain::delivery::{Delivery, KEPT};
use domain::event::Event;
use domain::id::{DeliveryId, EventId, ParseIdError, WebhookId};
use jiff::Timestamp;

use super::conditions::Conditions;
use crate::App;
use crate::caller::Admin;
use crate::events::{kept, visible};
use crate::problem::{Fault, Problem};

/// How many webhooks' newest deliveries are merged. Each is read in eight queries.
const MAX_MERGED: usize = 50;

/// How many rows are read by key for a page at most, unless one event needs more: one for each webhook.
const MAX_KEYS: usize = 1000;

/// How many rows one call reads.
const KEYS_A_CALL: usize = 100;

/// How many of the tenant's jobs are considered, newest first.
const MAX_JOBS: usize = 1000;

/// How far back an entity's events are searched by default.
pub(crate) const DEFAULT_PERIOD: Duration = Duration::from_hours(7 * 24);

/// The position of a page: what it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cursor {
    /// A delivery.
    Delivery(DeliveryId),
    /// In a list by entity: an event, or one of its deliveries.
    Event(EventId, Option<DeliveryId>),
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivery(delivery) => write!(f, "{delivery}"),
            Self::Event(event, None) => write!(f, "{event}"),
            Self::Event(event, Some(delivery)) => write!(f, "{event}-{delivery}"),
        }
    }
}

impl FromStr for Cursor {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('-') {
            Some((event, delivery)) => Ok(Self::Event(event.parse()?, Some(delivery.parse()?))),
            None if text.starts_with("evt_") => Ok(Self::Event(text.parse()?, None)),
            None => text.parse().map(Self::Delivery),
        }
    }
}

/// What to find.
#[derive(Debug)]
pub(crate) struct Search {
    /// Only deliveries to these webhooks, unless it is empty.
    pub(crate) webhooks: Vec<WebhookId>,
    /// Only deliveries of events about the entity with this path.
    pub(crate) entity: Option<String>,
    /// Only deliveries of this event.
    pub(crate) event: Option<EventId>,
    /// The other conditions.
    pub(crate) conditions: Conditions,
    /// The earliest time of an event, inclusive.
    pub(crate) from: Option<Timestamp>,
    /// The latest time of an event, exclusive.
    pub(crate) to: Option<Timestamp>,
    /// Where the page starts.
    pub(crate) cursor: Option<Cursor>,
    /// The largest number of deliveries.
    pub(crate) limit: usize,
}

/// A page of what was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Newest first.
    pub(crate) deliveries: Vec<Delivery>,
    /// The events of the page that have no delivery to any of the webhooks.
    pub(crate) undelivered: Vec<Event>,
    /// Where the next page starts, if there is one.
    pub(crate) next: Option<Cursor>,
}

/// Whose deliveries are searched.
struct Candidates {
    webhooks: Vec<WebhookId>,
    replays: Vec<Replay>,
}

/// Finds a page of deliveries.
pub(crate) async fn search(app: &App, admin: &Admin, search: &Search) -> Result<Found, Problem> {
    let webhooks = webhooks(app, admin, search).await?;
    match (search.event, &search.entity, search.cursor) {
        (Some(event), _, None | Some(Cursor::Delivery(_))) => of_event(app, admin, search, event, webhooks).await,
        (None, Some(entity), None | Some(Cursor::Event(..))) => of_entity(app, admin, search, entity, webhooks).await,
        (None, None, None | Some(Cursor::Delivery(_))) => newest(app, search, &webhooks).await,
        _ => Err(invalid("cursor", "must be the next_cursor of the previous page, with the same filters")),
    }
}

fn invalid(parameter: &str, detail: impl fmt::Display) -> Problem {
    Problem::Invalid(vec![Fault::parameter(parameter, detail)])
}

/// Returns the webhooks that the caller may see and that may have deliveries, also deleted ones.
async fn webhooks(app: &App, admin: &Admin, search: &Search) -> Result<Vec<WebhookId>, Problem> {
    let now = app.clock.now();
    // After a webhook was deleted, its last deliveries are cancelled and then kept.
    let is_kept = |deleted_at: Timestamp| deleted_at + 2 * KEPT > now;
    let is_searched = |owner: &WebhookOwner| {
        (admin.app.is_none() || admin.app == owner.app)
            && (search.webhooks.is_empty() || search.webhooks.contains(&owner.webhook))
            && owner.deleted_at.is_none_or(is_kept)
    };
    let owners = app.registry.owners(&admin.tenant).await?;
    Ok(owners.into_iter().filter(is_searched).map(|owner| owner.webhook).collect())
}

/// Finds the newest deliveries.
async fn newest(app: &App, search: &Search, webhooks: &[WebhookId]) -> Result<Found, Problem> {
    if webhooks.len() > MAX_MERGED {
        let count = webhooks.len();
        let detail = format!(
            "is required, because there are {count} webhooks and at most {MAX_MERGED} can be listed together; name up \
             to {MAX_MERGED}, or send event_id or entity"
        );
        return Err(invalid("webhook_id", detail));
    }
    let all = ledger::Range::all(app.clock.now());
    let below = match search.cursor {
        Some(Cursor::Delivery(delivery)) => Some(delivery),
        Some(Cursor::Event(..)) | None => None,
    };
    let range = ledger::Range { from: search.from.unwrap_or(all.from), to: search.to.unwrap_or(all.to), below, ..all };
    let wanted = |delivery: &Delivery| search.conditions.are_met_by(delivery);
    let page = app.ledger.deliveries(webhooks, range, search.limit, wanted).await?;
    Ok(Found { deliveries: page.deliveries, undelivered: Vec::new(), next: page.next.map(Cursor::Delivery) })
}

/// Finds the deliveries of an event.
async fn of_event(
    app: &App,
    admin: &Admin,
    search: &Search,
    event: EventId,
    webhooks: Vec<WebhookId>,
) -> Result<Found, Problem> {
    let at = event.timestamp();
    if search.from.is_some_and(|from| at < from) || search.to.is_some_and(|to| at >= to) {
        return Ok(Found::default());
    }
    let candidates = Candidates::of(app, admin, webhooks).await?;
    let below = match search.cursor {
        Some(Cursor::Delivery(delivery)) => Some(delivery),
        Some(Cursor::Event(..)) | None => None,
    };
    let mut page = Page::new(search);
    let keys = candidates.of_event(event, below);
    let mut rows = app.ledger.rows_of(&keys, app.clock.now()).await?;
    let has_row = !rows.is_empty();
    if let Some(last) = page.take(&keys, &mut rows) {
        page.found.next = Some(Cursor::Delivery(last));
    } else if !has_row && below.is_none() {
        page.found.undelivered.extend(visible(app, admin, event).await?);
    }
    Ok(page.found)
}

/// Finds the deliveries of an entity's events.
async fn of_entity(
    app: &App,
    admin: &Admin,
    search: &Search,
    entity: &str,
    webhooks: Vec<WebhookId>,
) -> Result<Found, Problem> {
    let candidates = Candidates::of(app, admin, webhooks).await?;
    let now = app.clock.now();
    let mut page = Page::new(search);
    let mut below = None;
    if let Some(Cursor::Event(event, delivery)) = search.cursor {
        below = Some(event);
        let keys = if delivery.is_some() { candidates.of_event(event, delivery) } else { Vec::new() };
        let mut rows = app.ledger.rows_of(&keys, now).await?;
        if let Some(next) = page.take_event(event, &keys, &mut rows) {
            return Ok(Found { next: Some(next), ..page.found });
        }
    }
    let all = kept(now, below);
    let from = search.from.unwrap_or(now - DEFAULT_PERIOD).max(all.from);
    let range = events::Range { from, to: search.to.unwrap_or(all.to).min(all.to), ..all };
    let wanted = |event: &Event| event.is_visible_to(admin.app.as_ref()) && event.entity.path() == entity;
    let count = (MAX_KEYS / candidates.count().max(1)).clamp(1, search.limit);
    let events = app.events.list(&admin.tenant, range, count, wanted).await?;
    let mut rest = events.events.into_iter().peekable();
    while rest.peek().is_some() {
        let some: Vec<_> = rest.by_ref().take((KEYS_A_CALL / candidates.count().max(1)).max(1)).collect();
        let some: Vec<_> = some.into_iter().map(|event| (candidates.of_event(event.id, None), event)).collect();
        let keys: Vec<_> = some.iter().flat_map(|(keys, _)| keys).copied().collect();
        let mut rows = app.ledger.rows_of(&keys, now).await?;
        for (keys, event) in some {
            if !keys.iter().any(|(delivery, _)| rows.contains_key(delivery)) {
                page.found.undelivered.push(event);
            } else if let Some(next) = page.take_event(event.id, &keys, &mut rows) {
                return Ok(Found { next: Some(next), ..page.found });
            }
        }
    }
    Ok(Found { next: events.next.map(|event| Cursor::Event(event, None)), ..page.found })
}

impl Candidates {
    async fn of(app: &App, admin: &Admin, webhooks: Vec<WebhookId>) -> Result<Self, Problem> {
        let replays = |job: &domain::delivery::job::Job| Replay::of(job).is_some();
        let jobs = app.ledger.jobs(&admin.tenant, None, MAX_JOBS, app.clock.now(), replays).await?;
        Ok(Self { webhooks, replays: jobs.iter().filter_map(Replay::of).collect() })
    }

    /// Returns the most deliveries that an event can have.
    fn count(&self) -> usize {
        self.webhooks.len() + self.replays.len()
    }

    fn of_event(&self, event: EventId, below: Option<DeliveryId>) -> Vec<(DeliveryId, WebhookId)> {
        let mut all = possible(event, &self.webhooks, &self.replays);
        all.retain(|(delivery, _)| below.is_none_or(|below| *delivery < below));
        all
    }
}

/// A page that is being filled.
struct Page<'a> {
    search: &'a Search,
    found: Found,
}

impl<'a> Page<'a> {
    fn new(search: &'a Search) -> Self {
        Self { search, found: Found::default() }
    }

    fn is_full(&self) -> bool {
        self.found.deliveries.len() >= self.search.limit
    }

    /// Adds the rows that meet the conditions, in the order of the keys. Returns the last one that fits if there are
    /// more.
    fn take(
        &mut self,
        keys: &[(DeliveryId, WebhookId)],
        rows: &mut HashMap<DeliveryId, Delivery>,
    ) -> Option<DeliveryId> {
        let rows = keys.iter().filter_map(|(delivery, _)| rows.remove(delivery));
        for row in rows.filter(|row| self.search.conditions.are_met_by(row)) {
            if self.is_full() {
                return self.found.deliveries.last().map(|last| last.id);
            }
            self.found.deliveries.push(row);
        }
        None
    }

    /// Adds the rows of an event like [`take`](Self::take), to a page that is not full. Returns where the next page
    /// starts if this one is full now.
    fn take_event(
        &mut self,
        event: EventId,
        keys: &[(DeliveryId, WebhookId)],
        rows: &mut HashMap<DeliveryId, Delivery>,
    ) -> Option<Cursor> {
        let last = self.take(keys, rows);
        (last.is_some() || self.is_full()).then_some(Cursor::Event(event, last))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::delivery("dlv_01JD1KXA00SRK4CNHMSET7SYG2", true)]
    #[case::event("evt_01JD1KXA00SRK4CNHMSET7SYG2", true)]
    #[case::delivery_of_an_event("evt_01JD1KXA00SRK4CNHMSET7SYG2-dlv_01JD1KXA00SRK4CNHMSET7SYG2", true)]
    #[case::webhook("whk_01JD1KXA00SRK4CNHMSET7SYG2", false)]
    #[case::half("evt_01JD1KXA00SRK4CNHMSET7SYG2-", false)]
    #[case::turned("dlv_01JD1KXA00SRK4CNHMSET7SYG2-evt_01JD1KXA00SRK4CNHMSET7SYG2", false)]
    fn a_cursor_is_read_as_it_was_shown(#[case] text: &str, #[case] valid: bool) {
        let read = text.parse::<Cursor>().map(|cursor| cursor.to_string());
        assert_eq!(read.ok().as_deref(), valid.then_some(text));
    }
}
