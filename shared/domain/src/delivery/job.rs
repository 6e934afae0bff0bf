//! Jobs: sending many deliveries again, at a pace, in the background.
//!
//! A job is an item that says what it is to do and how far it is. The sweep works at it, a minute's worth at a time. What it
//! sends it may send twice, if a process dies before it wrote how far it was: the second time it sends the same messages, and
//! the ledger tells them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::message::{Body, Message};
use super::redelivery::Refusal;
use crate::access::tenant::{AppId, TenantId};
use crate::event::Event;
use crate::event::pattern::EventPattern;
use crate::event::types::EventType;
use crate::id::{DeliveryId, EventId, JobId, WebhookId};
use crate::matching::subscription::Subscription;

/// How many deliveries a second a job sends unless it says otherwise.
pub const DEFAULT_RATE: u32 = 10;

/// The most that it may send a second.
pub const MAX_RATE: u32 = 100;

/// How many jobs of a tenant may run or be paused.
pub const MAX_ACTIVE: usize = 10;

/// How far ahead of now a run of the sweep sends: the time to the next run, and some more, so that the pace has no gaps.
pub const HORIZON: Duration = Duration::from_secs(75);

/// How long a run has a job for itself. Longer than the function's timeout and the time that a sweep looks ahead together, so that
/// another run that finds it has outlived this one.
pub const CLAIMED_FOR: Duration = Duration::from_mins(2);

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Sends dead letters again.
    Redrive,
    /// Sends again what failed of one webhook since a time.
    Recover,
    /// Sends events of a time to a webhook that wants them now, as new deliveries.
    Replay,
}

/// What a job is about. Nothing that is not given narrows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Only this webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookId>,
    /// Only these types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub event_types: Vec<EventPattern>,
    /// Not before: of events when they happened, of dead letters when they were exhausted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Before. A job has an end, whatever happens while it runs.
    pub to: Timestamp,
}

impl Scope {
    /// Says whether a dead letter with that webhook and type is among those that are looked for.
    #[must_use]
    pub fn takes(&self, webhook: WebhookId, event_type: &EventType) -> bool {
        self.webhook.is_none_or(|only| only == webhook) && self.takes_type(event_type)
    }

    fn takes_type(&self, event_type: &EventType) -> bool {
        self.event_types.is_empty() || self.event_types.iter().any(|pattern| pattern.matches(event_type))
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The sweep works at it.
    Running,
    /// Somebody paused it, or it waits for its webhook to be enabled or resumed.
    Paused,
    /// It looked at everything.
    Done,
    /// Somebody ended it.
    Cancelled,
    /// It cannot go on.
    Failed,
}

/// What somebody does to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Let it wait.
    Pause,
    /// Let it go on.
    Resume,
    /// End it.
    Cancel,
}

/// The job has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the job has ended; start another one")]
pub struct Ended;

impl State {
    /// Returns the name, as tables, logs and the API spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// Says whether something more may happen.
    #[must_use]
    pub fn is_active(self) -> bool {
        match self {
            Self::Running | Self::Paused => true,
            Self::Done | Self::Cancelled | Self::Failed => false,
        }
    }

    /// Returns the state after somebody did that; the same one if there is nothing to do.
    ///
    /// # Errors
    ///
    /// If the job has ended. Ending one that was cancelled is nothing to do.
    pub fn after(self, action: Action) -> Result<Self, Ended> {
        match (self, action) {
            (Self::Running | Self::Paused, Action::Pause) => Ok(Self::Paused),
            (Self::Running | Self::Paused, Action::Resume) => Ok(Self::Running),
            (Self::Running | Self::Paused | Self::Cancelled, Action::Cancel) => Ok(Self::Cancelled),
            (Self::Done | Self::Failed, Action::Cancel)
            | (Self::Done | Self::Failed | Self::Cancelled, Action::Pause | Action::Resume) => Err(Ended),
        }
    }
}

/// Where a dead letter stands in the order of a tenant's: when it was exhausted, then its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// Which.
    pub delivery: DeliveryId,
}

/// A text that is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a place of the form <milliseconds>-dlv_<ULID>")]
pub struct ParsePlaceError;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.at, self.delivery)
    }
}

impl FromStr for Place {
    type Err = ParsePlaceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (at, delivery) = text.split_once('-').ok_or(ParsePlaceError)?;
        let at: i64 = at.parse().map_err(|_| ParsePlaceError)?;
        // What is no time at all would be refused by the table.
        Timestamp::from_millisecond(at).map_err(|_| ParsePlaceError)?;
        Ok(Self { at, delivery: delivery.parse().map_err(|_| ParsePlaceError)? })
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// The last dead letter that it looked at.
    Letter(Place),
    /// The last event that it looked at.
    Event(EventId),
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Letter(place) => place.fmt(f),
            Self::Event(event) => event.fmt(f),
        }
    }
}

impl FromStr for Cursor {
    type Err = ParsePlaceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self::Event).or_else(|_| text.parse().map(Self::Letter))
    }
}

/// How far a job is, and what it did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What it looked at last.
    pub cursor: Option<Cursor>,
    /// How many dead letters or events it looked at.
    pub looked_at: u64,
    /// How many deliveries it sent; the others it skipped.
    pub sent: u64,
    /// When it may send the next one.
    pub next_at: Timestamp,
}

/// Work that goes on in the background.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The application that started it, if one did: it sends that one's deliveries and no others.
    pub app: Option<AppId>,
    /// What it does.
    pub kind: Kind,
    /// What it is about.
    pub scope: Scope,
    /// How many deliveries it sends a second.
    pub rate: u32,
    /// Whether it only counts what it would send.
    pub dry_run: bool,
    /// Where it stands.
    pub state: State,
    /// Why it is paused or failed, unless somebody did it.
    pub reason: Option<String>,
    /// How far it is.
    pub progress: Progress,
    /// When somebody started it.
    pub created_at: Timestamp,
    /// The subject of the token that did.
    pub created_by: String,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Job {
    /// Says whether it sends this dead letter, as far as the letter's own words tell.
    #[must_use]
    pub fn takes(&self, app: Option<&AppId>, webhook: WebhookId, event_type: &EventType) -> bool {
        (self.app.is_none() || self.app.as_ref() == app) && self.scope.takes(webhook, event_type)
    }

    /// Returns how many deliveries may still be sent in a run at that time: those whose turn comes before the horizon.
    #[must_use]
    pub fn budget(&self, now: Timestamp) -> usize {
        if self.dry_run {
            return usize::MAX;
        }
        let start = self.progress.next_at.max(now);
        let left = u128::try_from((now + HORIZON).duration_since(start).as_millis()).unwrap_or(0);
        // The one whose turn it is at the start is the first.
        let turns = (left * u128::from(self.rate)).div_ceil(1000);
        usize::try_from(turns).unwrap_or(usize::MAX)
    }

    /// Takes the turns of `count` deliveries, and returns how long each is to wait from now.
    pub fn take_turns(&mut self, count: usize, now: Timestamp) -> Vec<Duration> {
        if self.dry_run {
            return vec![Duration::ZERO; count];
        }
        let start = self.progress.next_at.max(now);
        let turn = |number: usize| {
            let number = u64::try_from(number).unwrap_or(u64::MAX);
            start + Duration::from_millis(number.saturating_mul(1000) / u64::from(self.rate.max(1)))
        };
        let waits = (0..count).map(|number| Duration::try_from(turn(number).duration_since(now)).unwrap_or_default());
        let waits = waits.collect();
        self.progress.next_at = turn(count);
        waits
    }

    /// Says what a job does that cannot send to its webhook: it waits until that is mended, or fails if it cannot be.
    pub fn stop_for(&mut self, refusal: Refusal) {
        self.reason = Some(refusal.to_string());
        self.state = match refusal {
            Refusal::Disabled | Refusal::Paused => State::Paused,
            Refusal::Deleted
            | Refusal::Inbound
            | Refusal::Parked
            | Refusal::Held
            | Refusal::Test
            | Refusal::Expired
            | Refusal::Unrendered => State::Failed,
        };
    }

    /// Returns the message of the delivery of an event to the webhook of a replay, without its body, or `None` if it is not to
    /// be sent: the webhook does not want it, or the job does not.
    ///
    /// A delivery of its own, whatever became of the event's others; the same one however often the job comes to the event.
    #[must_use]
    pub fn replays(&self, event: &Event, subscription: &Subscription) -> Option<Message> {
        let wanted = subscription.wants(event) && event.is_visible_to(self.app.as_ref());
        let event_type = subscription.type_for(event).filter(|_| wanted)?;
        let asked = self.scope.takes_type(&event_type) || self.scope.takes_type(&event.event_type);
        asked.then(|| {
            let webhook = subscription.webhook;
            let parts = [event.id.to_string(), webhook.to_string(), self.id.to_string()];
            let delivery = DeliveryId::derive(event.id.timestamp(), &parts.each_ref().map(String::as_str));
            // No body yet: whoever sends it puts one in.
            let first =
                Message::first(event.id, event_type, webhook, event.tenant.clone(), Body::Inline(String::new()));
            Message {
                delivery,
                app: subscription.app.clone(),
                sequence: Some(event.sequence.clone()),
                hops: event.hops,
                content_type: subscription.rendering.content_type(),
                body: None,
                ..first
            }
        })
    }
}

#[cfg(test)]
mod tests;
