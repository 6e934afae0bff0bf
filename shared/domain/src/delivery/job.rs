//! Jobs send many deliveries again in the background, at a limited rate.
//!
//! A job is an item that records its scope and its progress. The sweep works on it, a minute's worth at a time. If a
//! process dies before it has recorded its progress, the next run sends the same messages again, and the ledger
//! recognizes them as duplicates.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::message::{Body, Message, entity_path};
use super::redelivery::Refusal;
use crate::access::tenant::{AppId, TenantId};
use crate::event::Event;
use crate::event::pattern::EventPattern;
use crate::event::types::EventType;
use crate::id::{DeliveryId, EventId, JobId, WebhookId};
use crate::matching::subscription::Subscription;

/// The default rate, in deliveries per second.
pub const DEFAULT_RATE: u32 = 10;

/// The highest rate, in deliveries per second.
pub const MAX_RATE: u32 = 100;

/// How many jobs of a tenant may be running or paused at once.
pub const MAX_ACTIVE: usize = 10;

/// How far ahead a run of the sweep sends: the time to the next run and a margin, so that the pace has no gaps.
pub const HORIZON: Duration = Duration::from_secs(75);

/// How long a run claims a job. Longer than the function's timeout plus the sweep's look-ahead, so that another run
/// that finds the claim expired knows that this one has ended.
pub const CLAIMED_FOR: Duration = Duration::from_mins(2);

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Sends dead letters again.
    Redrive,
    /// Sends a webhook's failed deliveries again, from a given time on.
    Recover,
    /// Sends past events to a webhook as new deliveries.
    Replay,
}

/// What a job covers. Missing conditions do not narrow it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobScope {
    /// Only this webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookId>,
    /// Only these event types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub event_types: Vec<EventPattern>,
    /// Start of the period, inclusive. Events are compared by when they happened, dead letters by when they were
    /// exhausted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// End of the period, exclusive. Always set, so that a job ends whatever happens while it runs.
    pub to: Timestamp,
}

impl JobScope {
    /// Returns whether the scope covers a dead letter of this webhook and type.
    #[must_use]
    pub fn takes(&self, webhook: WebhookId, event_type: &EventType) -> bool {
        self.webhook.is_none_or(|only| only == webhook) && self.takes_type(event_type)
    }

    fn takes_type(&self, event_type: &EventType) -> bool {
        self.event_types.is_empty() || self.event_types.iter().any(|pattern| pattern.asks_for(event_type))
    }
}

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// The sweep is working on it.
    Running,
    /// Paused by a user, or waiting for its webhook to be enabled or resumed.
    Paused,
    /// It has looked at everything in its scope.
    Done,
    /// Cancelled by a user.
    Cancelled,
    /// It cannot continue.
    Failed,
}

/// What a user can do to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Pause it.
    Pause,
    /// Resume it.
    Resume,
    /// Cancel it.
    Cancel,
}

/// The job has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the job has ended; start another one")]
pub struct Ended;

impl JobState {
    /// Returns the name used in tables, logs and the API.
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

    /// Returns whether the job can still send deliveries.
    #[must_use]
    pub fn is_active(self) -> bool {
        match self {
            Self::Running | Self::Paused => true,
            Self::Done | Self::Cancelled | Self::Failed => false,
        }
    }

    /// Returns the state after the action, which is the same state if the action changes nothing.
    ///
    /// # Errors
    ///
    /// If the job has ended. Cancelling a cancelled job is not an error.
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

/// The position of a dead letter in the tenant's order: when it was exhausted, then its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterPosition {
    /// When it was exhausted, in milliseconds since 1970.
    pub at: i64,
    /// Its delivery.
    pub delivery: DeliveryId,
}

/// The text is not a valid position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have the form <milliseconds>-dlv_<ULID>")]
pub struct ParsePositionError;

impl fmt::Display for LetterPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.at, self.delivery)
    }
}

impl FromStr for LetterPosition {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (at, delivery) = text.split_once('-').ok_or(ParsePositionError)?;
        let at: i64 = at.parse().map_err(|_| ParsePositionError)?;
        // The table would refuse a number that is not a valid time.
        Timestamp::from_millisecond(at).map_err(|_| ParsePositionError)?;
        Ok(Self { at, delivery: delivery.parse().map_err(|_| ParsePositionError)? })
    }
}

/// How far a job has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// The last dead letter that it looked at.
    Letter(LetterPosition),
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
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self::Event).or_else(|_| text.parse().map(Self::Letter))
    }
}

/// How far a job has got, and what it has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobProgress {
    /// The position of what it looked at last.
    pub cursor: Option<Cursor>,
    /// How many dead letters or events it looked at.
    pub looked_at: u64,
    /// How many deliveries it sent. It skipped the others.
    pub sent: u64,
    /// When it may send the next one.
    pub next_at: Timestamp,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The job's id.
    pub id: JobId,
    /// The tenant that it belongs to.
    pub tenant: TenantId,
    /// The application that started it, if any. The job sends only deliveries of this application.
    pub app: Option<AppId>,
    /// What it does.
    pub kind: JobKind,
    /// What it covers.
    pub scope: JobScope,
    /// Its rate, in deliveries per second.
    pub rate: u32,
    /// Whether it only counts what it would send.
    pub dry_run: bool,
    /// The state.
    pub state: JobState,
    /// Why it is paused or failed, unless a user paused it.
    pub reason: Option<String>,
    /// How far it has got.
    pub progress: JobProgress,
    /// When it was started.
    pub created_at: Timestamp,
    /// The subject of the token that started it.
    pub created_by: String,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Job {
    /// Returns whether the job sends a dead letter with these attributes.
    #[must_use]
    pub fn takes(&self, app: Option<&AppId>, webhook: WebhookId, event_type: &EventType) -> bool {
        (self.app.is_none() || self.app.as_ref() == app) && self.scope.takes(webhook, event_type)
    }

    /// Returns how many deliveries a run at that time may still send: those whose turn comes before the [`HORIZON`].
    #[must_use]
    pub fn budget(&self, now: Timestamp) -> usize {
        if self.dry_run {
            return usize::MAX;
        }
        let start = self.progress.next_at.max(now);
        let left = u128::try_from((now + HORIZON).duration_since(start).as_millis()).unwrap_or(0);
        // The turn at `next_at` itself counts, so round up.
        let turns = (left * u128::from(self.rate)).div_ceil(1000);
        usize::try_from(turns).unwrap_or(usize::MAX)
    }

    /// Takes the turns of `count` deliveries and returns each one's delay from now. A dry run sends none, and only goes
    /// behind the jobs that have waited longer.
    pub fn take_turns(&mut self, count: usize, now: Timestamp) -> Vec<Duration> {
        if self.dry_run {
            self.progress.next_at = now;
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

    /// Pauses or fails a job whose webhook refuses deliveries: it pauses if the cause can be fixed and fails otherwise.
    pub fn stop_for(&mut self, refusal: Refusal) {
        self.reason = Some(refusal.to_string());
        self.state = match refusal {
            Refusal::Disabled | Refusal::Paused => JobState::Paused,
            Refusal::Deleted
            | Refusal::Inbound
            | Refusal::Held
            | Refusal::Test
            | Refusal::Expired
            | Refusal::Unrendered => JobState::Failed,
        };
    }

    /// Returns the message of a replay's delivery, without its body, or `None` if the webhook or the job does not want
    /// the event.
    ///
    /// The delivery is separate from the event's other deliveries. Its id is derived, so coming to the event twice
    /// gives the same one.
    #[must_use]
    pub fn replays(&self, event: &Event, subscription: &Subscription) -> Option<Message> {
        let wanted = subscription.wants(event) && event.is_visible_to(self.app.as_ref());
        let event_type = subscription.type_for(event).filter(|_| wanted)?;
        let asked = self.scope.takes_type(&event_type) || self.scope.takes_type(&event.event_type);
        asked.then(|| {
            let webhook = subscription.webhook;
            let delivery = DeliveryId::replayed(event.id, webhook, self.id);
            // The caller adds the body before it sends the message.
            let first =
                Message::first(event.id, event_type, webhook, event.tenant.clone(), Body::Inline(String::new()));
            Message {
                delivery,
                app: subscription.app.clone(),
                sequence: Some(event.sequence.clone()),
                hops: event.hops,
                traceparent: event.traceparent,
                entity_path: entity_path(event),
                content_type: subscription.rendering.content_type(),
                body: None,
                ..first
            }
        })
    }
}

#[cfg(test)]
mod tests;
