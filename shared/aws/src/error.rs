//! What can go wrong with a store, sorted by what a caller can do about it.

use std::fmt;

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

/// What a caller can do about a failed call decides the variants, not what AWS calls it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another writer was first, or the item exists already: read again and decide.
    #[error("conflict on {key}")]
    Conflict {
        /// What should have been written.
        key: String,
    },
    /// There is no such thing, and there should be one: configuration, not luck.
    #[error("{key} does not exist")]
    Missing {
        /// What was looked for.
        key: String,
    },
    /// There are as many as there may be.
    #[error("there are {0} already")]
    Limit(u64),
    /// The tenant's webhooks would take more memory in fan-out than they may.
    #[error("the tenant's webhooks would take {bytes} of at most {limit} bytes in fan-out")]
    TooHeavy {
        /// The field of the webhook that takes the most, as a JSON pointer.
        field: &'static str,
        /// How many bytes they would take.
        bytes: u64,
        /// How many they may take.
        limit: u64,
    },
    /// A throttle, a timeout or an outage: try again later.
    #[error("{0}")]
    Unavailable(String),
    /// AWS does not take the content as it is, and will not take it the next time either.
    #[error("refused as it is: {0}")]
    Refused(String),
    /// What was read is not what this version writes.
    #[error("{key} cannot be read: {why}")]
    Inconsistent {
        /// What was read.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

impl StoreError {
    pub(crate) fn unavailable<E, R>(error: &SdkError<E, R>) -> Self
    where
        E: std::error::Error + 'static,
        R: fmt::Debug,
    {
        Self::Unavailable(DisplayErrorContext(error).to_string())
    }

    /// Sorts the error of a write: a request that DynamoDB finds invalid stays invalid however often it is sent.
    pub(crate) fn of_write<E, R>(error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: fmt::Debug,
    {
        match error.as_service_error().and_then(ProvideErrorMetadata::code) {
            // AWS's own message may quote a value, so only the code is kept.
            Some(code @ "ValidationException") => Self::Refused(format!("{code} of DynamoDB")),
            _ => Self::unavailable(error),
        }
    }

    pub(crate) fn inconsistent(key: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::Inconsistent { key: key.to_string(), why: why.to_string() }
    }
}

/// Says whether a conditional write found the row to be something else than its writer had read.
pub(crate) fn is_conflict(error: &impl ProvideErrorMetadata) -> bool {
    error.code() == Some("ConditionalCheckFailedException")
}
