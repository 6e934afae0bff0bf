//! Why an authorization server gave no token.

use domain::attempt::target::TargetError;
use domain::webhook::authorization::token::TokenFault;

/// The largest answer that is read, in bytes; no token is longer.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Why there is no token. Says nothing of what was sent, nor of what was answered: a server may repeat what it was asked with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Policy forbids the URL.
    #[error("the token URL {0}")]
    Url(#[from] TargetError),
    /// There was no answer, or not all of it.
    #[error("no token from the authorization server: {0}")]
    Unanswered(String),
    /// It led elsewhere.
    #[error("the authorization server answered {0}, and redirects are not followed")]
    Redirected(u16),
    /// It was no success.
    #[error("the authorization server answered {status}{}", .error.map(|error| format!(" ({error})")).unwrap_or_default())]
    Refused {
        /// The status.
        status: u16,
        /// The error, if it is one that the RFC names.
        error: Option<&'static str>,
    },
    /// There was too much of it.
    #[error("the authorization server's answer is larger than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
    /// There is no token in it that can be used.
    #[error("the authorization server's answer {0}")]
    Unusable(#[from] TokenFault),
    /// The client's id or secret cannot be sent.
    #[error("the client's id and secret cannot stand in a header")]
    Unsendable,
}
