//! Errors of the stores, sorted by what a caller can do about them.

use std::fmt;

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

/// The error of a call. Each variant calls for another reaction of the caller, whatever AWS names the error.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another writer came first, or the item already exists: read again and decide.
    #[error("conflict on {key}")]
    Conflict {
        /// The key of the item that was not written.
        key: String,
    },
    /// Something that must exist does not. The configuration or the data is wrong; a retry does not help.
    #[error("{key} does not exist")]
    Missing {
        /// The key of the missing item.
        key: String,
    },
    /// A limit is reached.
    #[error("{0}")]
    Limit(LimitReached),
    /// The tenant's webhooks would take more memory in fan-out than they may.
    #[error("the tenant's webhooks would take {bytes} bytes of memory in fan-out; the limit is {limit}")]
    TooHeavy {
        /// The field of the webhook that takes the most, as a JSON pointer.
        field: &'static str,
        /// How many bytes they would take.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A throttle, a timeout or an outage: try again later.
    #[error("{0}")]
    Unavailable(String),
    /// AWS refuses the content; a retry with the same content fails too.
    #[error("AWS refuses the content: {0}")]
    Refused(String),
    /// The stored data does not have the format that this version writes.
    #[error("{key} is not valid: {why}")]
    Inconsistent {
        /// The key of the item.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

/// A limit, and of what it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the limit of {limit} {what} is reached")]
pub struct LimitReached {
    /// The limit.
    pub limit: u64,
    /// What is limited.
    pub what: Limited,
}

/// What a tenant, or a webhook, can have only so many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// A tenant's webhooks.
    Webhooks,
    /// A tenant's notices.
    Notices,
    /// The event types that a tenant describes.
    EventTypes,
    /// The secrets that were stored for one webhook within an hour.
    Secrets,
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Webhooks => "webhooks",
            Self::Notices => "notices",
            Self::EventTypes => "described event types",
            Self::Secrets => "secrets of a webhook within an hour",
        })
    }
}

impl StoreError {
    pub(crate) fn unavailable<E, R>(error: &SdkError<E, R>) -> Self
    where
        E: std::error::Error + 'static,
        R: fmt::Debug,
    {
        Self::Unavailable(DisplayErrorContext(error).to_string())
    }

    /// Returns the error of a write. A validation error is permanent, so it becomes [`Refused`](Self::Refused).
    pub(crate) fn of_write<E, R>(error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: fmt::Debug,
    {
        match error.as_service_error().and_then(ProvideErrorMetadata::code) {
            // The message of AWS may quote a value, so only the code is kept.
            Some(code @ "ValidationException") => Self::Refused(format!("DynamoDB answered {code}")),
            _ => Self::unavailable(error),
        }
    }

    pub(crate) fn inconsistent(key: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::Inconsistent { key: key.to_string(), why: why.to_string() }
    }
}

/// Returns whether a conditional write failed because its condition did not hold.
pub(crate) fn is_conflict(error: &impl ProvideErrorMetadata) -> bool {
    error.code() == Some("ConditionalCheckFailedException")
}
