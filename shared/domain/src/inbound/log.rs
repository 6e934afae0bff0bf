//! The log of an inbound webhook's calls.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::attempt::outcome::Verdict;
use crate::event::types::EventType;
use crate::id::{CallId, EventId};
use crate::text::clip;
use crate::webhook::statistics::{MAX_ERROR_BYTES, Tally};

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// It became an event, or had become one before.
    Accepted,
    /// It was verified, and the webhook does not name its type.
    Ignored,
    /// It was refused.
    Refused,
}

impl CallOutcome {
    /// All outcomes.
    pub const ALL: [Self; 3] = [Self::Accepted, Self::Ignored, Self::Refused];

    /// Returns the name as it is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Ignored => "ignored",
            Self::Refused => "refused",
        }
    }
}

/// A call as it is logged. The log has nothing of the body and of the headers, except the type that they name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedCall {
    /// Sorts by time.
    pub id: CallId,
    /// When it came.
    pub at: Timestamp,
    /// How it ended.
    pub outcome: CallOutcome,
    /// The status of the response.
    pub status: u16,
    /// The event that it became.
    pub event: Option<EventId>,
    /// Whether it had become that event before.
    pub duplicate: bool,
    /// The type that the call names, if it was read.
    pub event_type: Option<EventType>,
    /// Why it became no event.
    pub reason: Option<String>,
    /// The bytes of the body.
    pub bytes: u64,
}

impl LoggedCall {
    /// Returns what the call adds to its webhook's statistics, with `earlier` refused calls that were not counted yet.
    #[must_use]
    pub fn tally(&self, earlier: u64, duration: Duration) -> Tally {
        let is_refused = self.outcome == CallOutcome::Refused;
        let reason = self.reason.as_deref().filter(|_| is_refused);
        Tally {
            calls: 1 + earlier,
            errors: u64::from(is_refused) + earlier,
            ignored: u64::from(self.outcome == CallOutcome::Ignored),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            failures: 0,
            succeeded: false,
            failing_since: None,
            timeouts: 0,
            ended_otherwise: false,
            last_error: reason.map(|reason| clip(reason, MAX_ERROR_BYTES)),
            last_at: self.at,
            last_status: if is_refused { Verdict::Refused } else { Verdict::Accepted },
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::accepted(CallOutcome::Accepted, 0, (1, 0, 0), None)]
    #[case::ignored(CallOutcome::Ignored, 0, (1, 0, 1), None)]
    #[case::refused(CallOutcome::Refused, 0, (1, 1, 0), Some("why"))]
    #[case::refused_ones_before(CallOutcome::Accepted, 40, (41, 40, 0), None)]
    fn a_call_is_counted(
        #[case] outcome: CallOutcome,
        #[case] earlier: u64,
        #[case] sums: (u64, u64, u64),
        #[case] error: Option<&str>,
    ) {
        let (id, at) = (CallId::from_parts(Timestamp::UNIX_EPOCH, 1), Timestamp::UNIX_EPOCH);
        let reason = Some("why".to_owned());
        let call = LoggedCall {
            id,
            at,
            outcome,
            status: 202,
            event: None,
            duplicate: false,
            event_type: None,
            reason,
            bytes: 2,
        };
        let tally = call.tally(earlier, Duration::from_millis(7));
        assert_eq!((tally.calls, tally.errors, tally.ignored), sums);
        assert_eq!((tally.last_error.as_deref(), tally.duration_ms), (error, 7));
        assert_eq!((tally.failures, tally.succeeded), (0, false), "callers do not make a webhook fail");
    }
}
