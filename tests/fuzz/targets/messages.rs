//! A message that can be read is written and read back as it was, in the characters that SQS takes; and of a message and a row
//! only what stands for the very attempt that the row waits for is attempted.
#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use domain::delivery::decide::{Admission, Stale, admit};
use domain::delivery::message::Message;

fuzz_target!(|text: &str| {
    let Ok(message) = Message::from_json(text) else { return };
    let written = message.to_json();
    assert!(!written.contains(|c: char| matches!(c, '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')), "{written:?}");
    assert_eq!(Message::from_json(&written).unwrap(), message);
    // It was never attempted: it is the first message, with a body, or nothing.
    let is_first = message.attempt == 1 && message.cycle == 0 && message.body.is_some();
    let expected = if is_first { Admission::First } else { Admission::Stale(Stale::Unknown) };
    assert_eq!(admit(&message, None, Timestamp::UNIX_EPOCH), expected);
});
