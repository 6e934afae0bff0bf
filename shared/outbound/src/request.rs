//! A request to a receiver.

use std::time::Duration;

use domain::attempt::answer::StatusPattern;
use jiff::Timestamp;
use secrecy::SecretString;

/// A request to a receiver.
#[derive(Debug)]
pub struct Request {
    /// The URL.
    pub url: String,
    /// All headers except those of the connection, with names in the case in which they are sent. The client adds no
    /// header about the body.
    pub headers: Vec<(String, String)>,
    /// The `Authorization` header, if there is one. It is separate because the other headers may be shown.
    pub authorization: Option<SecretString>,
    /// The body, which is sent unchanged.
    pub body: Vec<u8>,
    /// The timeout of the whole request.
    pub timeout: Duration,
    /// The statuses that count as success; 2xx if empty.
    pub success: Vec<StatusPattern>,
    /// The wall-clock time at which the request is sent; `Retry-After` is relative to it.
    pub at: Timestamp,
}
