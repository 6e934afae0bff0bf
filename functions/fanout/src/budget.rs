//! Counts what a batch uses of its tenants' budgets. Events and deliveries are counted as they are made, and the counts
//! are written once for each batch and tenant.
//!
//! A table's change cannot be refused. A delivery that is over the budget of its day carries the time at which the
//! budget allows it, and `deliver` makes it wait until then.

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

/// Counts a table's event. Published events were counted when they were published. An event that is received again is
/// counted again.
pub(crate) fn count(app: &App, event: &Event, archives: bool) {
    if event.source != PUBLISHED && event.source != OPERATIONAL {
        let archived_bytes = if archives { bytes(event) } else { 0 };
        app.usage.count(&event.tenant, Counts { events: 1, archived_bytes, ..Counts::default() });
    }
}

/// Counts the deliveries of a rendering, including those made in a slice, and defers each that is over the budget.
/// Deliveries of the event that reports the use of a budget are counted but never deferred.
pub(crate) fn take_turns(usage: &Usage, event: &Event, part: &mut Part) {
    // Only this type of operational event is exempt. Each exhausted delivery makes an operational event, so exempting
    // all of them would leave their deliveries without a limit.
    let waits = event.source != OPERATIONAL || event.event_type.as_str() != EVENT_TYPE;
    for wanting in &mut part.webhooks {
        wanting.deferral = usage.deliver(&event.tenant).filter(|_| waits);
    }
}

/// Returns the length of an event as JSON, without building the text.
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
