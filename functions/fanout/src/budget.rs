//! What a batch costs its tenants: events and deliveries are counted as they are made, and written once for each batch and tenant.
//!
//! A change of a table cannot be refused. Deliveries that are over the budget of their day carry the time of their turn, and `deliver`
//! lets them wait until then.

use std::collections::HashSet;
use std::io;

use aws::Usage;
use domain::budget::{Counts, EVENT_TYPE};
use domain::delivery::slice::Part;
use domain::event::Event;
use domain::event::operational::{OPERATIONAL, PUBLISHED};
use jiff::Timestamp;

use crate::App;

/// Reads the budgets of the tenants of a batch.
pub(crate) async fn begin<'a>(app: &App, events: impl Iterator<Item = &'a Event>, now: Timestamp) {
    let tenants: HashSet<_> = events.map(|event| &event.tenant).collect();
    app.usage.prepare(tenants, now).await;
}

/// Counts an event of a table when its turn comes: those that are published were counted when they were. What comes again is counted again.
pub(crate) fn count(app: &App, event: &Event, archives: bool) {
    if event.source != PUBLISHED && event.source != OPERATIONAL {
        let archived_bytes = if archives { bytes(event) } else { 0 };
        app.usage.count(&event.tenant, Counts { events: 1, archived_bytes, ..Counts::default() });
    }
}

/// Counts the deliveries of a rendering, those that are made in a slice too, and says of each when its turn comes if it is over the budget.
/// The event that a part of a budget is used is counted and does not wait.
pub(crate) fn take_turns(usage: &Usage, event: &Event, part: &mut Part) {
    // Not all operational events: each delivery that is given up makes one, and the budget would bound nothing.
    let waits = event.source != OPERATIONAL || event.event_type.as_str() != EVENT_TYPE;
    for wanting in &mut part.webhooks {
        wanting.deferral = usage.deliver(&event.tenant).filter(|_| waits);
    }
}

/// Returns how long an event is as JSON, without making the text.
fn bytes(event: &Event) -> u64 {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, event).map_or(0, |()| length.0)
}

struct Length(u64);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
