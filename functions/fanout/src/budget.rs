//! Counts what a batch uses of its tenants' budgets. Events and deliveries are counted as they are made, and the counts
//! of those that were sent are written once for each batch and tenant.
//!
//! A table's change cannot be refused. A delivery that is over the budget of its day carries the time at which the
//! budget allows it, and `deliver` makes it wait until then.

use std::collections::HashSet;

use aws::Usage;
use domain::budget::{Counts, EVENT_TYPE};
use domain::delivery::slice::Part;
use domain::event::Event;
use domain::event::operational::{OPERATIONAL, PUBLISHED};
use jiff::Timestamp;

use crate::App;

/// Reads the budgets of the tenants of a batch. What an earlier one made and did not send, because of a fault or a
/// panic, is not counted.
pub(crate) async fn begin<'a>(app: &App, events: impl Iterator<Item = &'a Event>, now: Timestamp) {
    app.usage.not_sent();
    let tenants: HashSet<_> = events.map(|event| &event.tenant).collect();
    app.usage.prepare(tenants, now).await;
}

/// Counts a table's event, and the bytes that it takes in the archive. Published events were counted when they were
/// published.
pub(crate) fn count(app: &App, event: &Event, archived_bytes: u64) {
    if event.source != PUBLISHED && event.source != OPERATIONAL {
        app.usage.make(&event.tenant, Counts { events: 1, archived_bytes, ..Counts::default() });
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
