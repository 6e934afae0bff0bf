//! Why an authorization server returned no token.

use domain::attempt::target::TargetError;
use domain::webhook::authorization::token::TokenFault;

/// The largest response that is read, in bytes; no token is longer.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Why there is no token. Messages quote neither the request nor the response, because a server may repeat the secret
/// that it received.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The policy forbids the URL.
    #[error("the token URL {0}")]
    Url(#[from] TargetError),
    /// There was no complete response.
    #[error("no token from the authorization server: {0}")]
    Unanswered(String),
    /// The server answered with a redirect.
    #[error("the authorization server answered {0}, and redirects are not followed")]
    Redirected(u16),
    /// The server answered with an error.
    #[error("the authorization server answered {status}{}", .error.map(|error| format!(" ({error})")).unwrap_or_default())]
    Refused {
        /// The status.
        status: u16,
        /// The error code, if it is one that RFC 6749 defines.
        error: Option<&'static str>,
    },
    /// The response was too large.
    #[error("the authorization server's answer is larger than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
    /// The response contains no usable token.
    #[error("the authorization server's answer {0}")]
    Unusable(#[from] TokenFault),
    /// The client's id or secret is not a valid header value.
    #[error("the client's id and secret do not make a valid header value")]
    Unsendable,
}
