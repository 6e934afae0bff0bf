//! Lists of a tenant's events, newest or oldest first.

use domain::access::tenant::TenantId;
use domain::event::Event;
use domain::id::EventId;
use jiff::Timestamp;

use super::Events;
use super::merge::{Merge, Order, Walk};
use crate::StoreError;

/// How many events are read for a page at most. A page may therefore be short or empty without being the last one.
const MAX_LOOKED_AT: usize = 1000;

/// How many bytes the events of a page have as JSON at most; a single event may be larger. Lambda limits a response to
/// 6 MB, in which the body is a JSON string, so quotation marks and backslashes take twice as much.
const MAX_PAGE_BYTES: usize = 5 * 1024 * 1024 / 2;

/// Some of a tenant's events.
#[derive(Debug)]
pub struct EventPage {
    /// In the requested order.
    pub events: Vec<Event>,
    /// How many events were read.
    pub looked_at: usize,
    /// The id beyond which the next page starts, if there is one.
    pub next: Option<EventId>,
}

/// The events to list.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// The earliest time, inclusive.
    pub from: Timestamp,
    /// The latest time, exclusive.
    pub to: Timestamp,
    /// Only events with lower ids.
    pub below: Option<EventId>,
    /// The current time; events that have expired by then are not listed.
    pub now: Timestamp,
}

impl Events {
    /// Lists the tenant's events that match `wanted`, newest first: at most `limit`, and at most as many bytes as a
    /// response can contain.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn list(
        &self,
        tenant: &TenantId,
        range: Range,
        limit: usize,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<EventPage, StoreError> {
        let below = match range.below {
            Some(below) if below.timestamp() < range.to => below,
            _ => EventId::from_parts(range.to, 0),
        };
        let from = EventId::from_parts(range.from, 0).to_string();
        let (days, ids) = ((range.from, below.timestamp()), (from, just_below(below)));
        let walk = Walk { days, ids, order: Order::NewestFirst, now: range.now };
        self.walk(tenant, walk, limit, wanted).await
    }

    /// Lists the tenant's events that match `wanted`, oldest first: after the id `after`, from `from` (inclusive) to
    /// `to` (exclusive).
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn list_oldest_first(
        &self,
        tenant: &TenantId,
        (from, to): (Timestamp, Timestamp),
        after: Option<EventId>,
        limit: usize,
        now: Timestamp,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<EventPage, StoreError> {
        let (start, first) = match after {
            Some(after) if after.timestamp() >= from => (after.timestamp(), just_above(after)),
            _ => (from, EventId::from_parts(from, 0).to_string()),
        };
        let last = just_below(EventId::from_parts(to, 0));
        let walk = Walk { days: (start, to), ids: (first, last), order: Order::OldestFirst, now };
        self.walk(tenant, walk, limit, wanted).await
    }

    async fn walk(
        &self,
        tenant: &TenantId,
        walk: Walk,
        limit: usize,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<EventPage, StoreError> {
        let (mut events, mut looked_at) = (Vec::new(), 0);
        let (mut room, mut before) = (Room(MAX_PAGE_BYTES), None);
        // DynamoDB rejects a range whose end is before its start.
        if walk.ids.1 < walk.ids.0 {
            return Ok(EventPage { events, looked_at, next: None });
        }
        let mut all = Merge::new(self, tenant, &walk);
        while let Some((event, bytes)) = all.next().await? {
            let id = event.id;
            if wanted(&event) {
                if !room.take(bytes) {
                    return Ok(EventPage { events, looked_at, next: before });
                }
                events.push(event);
            }
            looked_at += 1;
            before = Some(id);
            if events.len() >= limit || looked_at >= MAX_LOOKED_AT {
                return Ok(EventPage { events, looked_at, next: Some(id) });
            }
        }
        Ok(EventPage { events, looked_at, next: None })
    }
}

/// How many bytes fit the rest of a page.
struct Room(usize);

impl Room {
    /// Reserves `bytes` if they fit. The first event of a page always fits.
    fn take(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.0 || self.0 == MAX_PAGE_BYTES;
        if fits {
            self.0 = self.0.saturating_sub(bytes.max(1));
        }
        fits
    }
}

/// Returns a text that sorts between the id and all earlier ids. `BETWEEN` includes both ends, so an id itself would be
/// included.
fn just_below(id: EventId) -> String {
    let mut text = id.to_string();
    // Replace the last character by the one before it. If it is the first one of the alphabet, the id without it sorts
    // before.
    match text.pop() {
        Some(last) if last > '0' => {
            text.push(char::from_u32(u32::from(last) - 1).unwrap_or('0'));
            text.push('~');
        }
        _ => {}
    }
    text
}

/// Returns a text that sorts between the id and all later ids.
fn just_above(id: EventId) -> String {
    format!("{id}~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_takes_what_an_answer_can_hold_and_one_event_whatever_it_is() {
        let takes = |sizes: &[usize]| {
            let mut room = Room(MAX_PAGE_BYTES);
            sizes.iter().map(|bytes| room.take(*bytes)).collect::<Vec<_>>()
        };
        assert_eq!(takes(&[MAX_PAGE_BYTES - 1, 1, 1]), [true, true, false]);
        assert_eq!(takes(&[MAX_PAGE_BYTES * 2, 0]), [true, true]);
        assert_eq!(takes(&[0, MAX_PAGE_BYTES]), [true, false]);
    }

    #[test]
    fn the_bounds_of_an_id_sort_between_its_neighbours_and_it() {
        let at = Timestamp::from_millisecond(1_795_246_444_000).unwrap();
        for number in [0_u128, 1, 31, 32, 1000] {
            let id = EventId::from_parts(at, number);
            let after = EventId::from_parts(at, number + 1);
            assert!(just_below(id) < id.to_string());
            assert!((id.to_string()..after.to_string()).contains(&just_above(id)));
            if let Some(before) = number.checked_sub(1) {
                assert!(EventId::from_parts(at, before).to_string() < just_below(id));
            }
        }
    }
}
