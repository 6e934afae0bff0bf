//! Which events a caller may see, and how long events are kept.

use std::time::Duration;

use aws::events::Range;
use domain::event::Event;
use domain::id::EventId;
use jiff::Timestamp;

use crate::App;
use crate::caller::Admin;
use crate::problem::Problem;

const DAY: Duration = Duration::from_hours(24);

/// The longest time that an event is kept, in days.
const MAX_DAYS: u32 = 90;

/// How far publishers' clocks may be ahead.
const AHEAD: Duration = Duration::from_mins(1);

/// Returns the whole period whose events may still be stored.
pub(crate) fn kept(now: Timestamp, below: Option<EventId>) -> Range {
    Range { from: now - DAY * MAX_DAYS, to: now + AHEAD, below, now }
}

/// Returns the event if the caller may see it: not an event of another tenant or application.
pub(crate) async fn visible(app: &App, admin: &Admin, id: EventId) -> Result<Option<Event>, Problem> {
    let event = app.events.event(&admin.tenant, id, app.clock.now()).await?;
    Ok(event.filter(|event| event.is_visible_to(admin.app.as_ref())))
}
