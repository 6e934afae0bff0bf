//! Which events a caller may see, and how long events are kept.

use std::time::Duration;

use aws::events::Range;
use domain::delivery::message::MAX_PATH_BYTES;
use domain::event::Event;
use domain::id::EventId;
use jiff::Timestamp;
use serde::Deserialize;

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

/// The path of an entity.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct EntityPath(pub(crate) String);

impl TryFrom<String> for EntityPath {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_path = text.split('/').count() > 1 && text.split('/').all(|word| !word.is_empty());
        let why = "must be the path of an entity, such as orders/3: `entity.path` of its events";
        if is_path && text.len() <= MAX_PATH_BYTES { Ok(Self(text)) } else { Err(why) }
    }
}
