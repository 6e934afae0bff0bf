//! A request to a receiver.

use std::time::Duration;

use domain::attempt::answer::StatusPattern;
use jiff::Timestamp;
use secrecy::SecretString;

/// A request to a receiver.
#[derive(Debug)]
pub struct Request {
    /// Where to.
    pub url: String,
    /// All headers but those of the connection, with names in the case in which they are sent: the client adds none that says something of the body.
    pub headers: Vec<(String, String)>,
    /// Its `Authorization` header, if it has one: not among the others, which may be shown.
    pub authorization: Option<SecretString>,
    /// The body: sent as it is.
    pub body: Vec<u8>,
    /// How long all of it may take.
    pub timeout: Duration,
    /// Which answers are success; 2xx if none is named.
    pub success: Vec<StatusPattern>,
    /// The time by the clock when it is sent; a date in `Retry-After` is counted from it.
    pub at: Timestamp,
}
