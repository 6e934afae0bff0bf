//! Reads a published event from its item in the Events table.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::event::Event;
use domain::source::{Change, Images};
use domain::value::Value;

/// Reads the event from a change of its item. The stream's mapping lets only new items of the kind `published` through.
///
/// # Errors
///
/// Says what is wrong with the item.
pub(crate) fn event(change: &Change) -> Result<Event, String> {
    let Images::Insert(image) = &change.images else { return Err("a published event was changed".to_owned()) };
    if image.get("kind").and_then(Value::as_str) == Some("redriven") {
        return Err("a record that was sent again is no longer stored".to_owned());
    }
    let packed = image.get("zstd").and_then(Value::as_text).and_then(|text| STANDARD.decode(text).ok());
    let packed = packed.ok_or("a published event has no \"zstd\"")?;
    aws::events::unpack(&packed).map_err(|why| format!("a published event cannot be read: {why}"))
}
