//! A message in a queue.

use domain::delivery::message::Message;
use jiff::Timestamp;

/// A message in a queue.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Its id.
    pub id: u64,
    /// Its body.
    pub body: String,
    /// Its content, if it can be parsed.
    pub message: Option<Message>,
    /// When it can be received.
    pub due: Timestamp,
    /// How often it was received.
    pub receives: u32,
    /// Its message group.
    pub group: Option<String>,
    /// Why it was sent to this queue, if its sender says so.
    pub cause: Option<String>,
    /// The trace header that it was sent with.
    pub trace: Option<String>,
}
