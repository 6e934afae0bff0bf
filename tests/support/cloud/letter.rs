//! A message in a queue.

use domain::delivery::message::Message;
use jiff::Timestamp;

/// A message in a queue.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Its id.
    pub id: u64,
    /// Its text.
    pub body: String,
    /// What it asks for, if it can be read.
    pub message: Option<Message>,
    /// When it can be received.
    pub due: Timestamp,
    /// How often it was received.
    pub receives: u32,
    /// Its message group.
    pub group: Option<String>,
    /// Why it is where it is, if that was given.
    pub cause: Option<String>,
    /// The trace header that it was sent with.
    pub trace: Option<String>,
}
