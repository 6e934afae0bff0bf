//! Errors of converting an image into an event.

use crate::access::tenant::NameError;

/// Why an image cannot be converted into an event. It contains names and never values, because it appears in logs and
/// on a queue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The item lacks an attribute that the mapping names.
    #[error("the item has no attribute {attribute:?}, which the source names for its {role}")]
    Missing {
        /// The attribute.
        attribute: String,
        /// What the source uses it for.
        role: &'static str,
    },
    /// The attribute's value is unsuitable.
    #[error(
        "attribute {attribute:?}, which the source names for the {role}, is not a non-empty string or a number{}",
        starts_with(prefix)
    )]
    NotText {
        /// The attribute.
        attribute: String,
        /// What the source uses it for.
        role: &'static str,
        /// The required prefix, if any.
        prefix: String,
    },
    /// The attribute's value is not a time.
    #[error(
        "attribute {attribute:?}, which the source names for a time, is neither a string nor a number of seconds or milliseconds since 1970"
    )]
    NotTime {
        /// The attribute.
        attribute: String,
    },
    /// The value is not a valid tenant or application.
    #[error("the value that the source names for the {role} is invalid: it {source}")]
    Name {
        /// Either tenant or application.
        role: &'static str,
        /// Why the name is invalid.
        source: NameError,
    },
}

fn starts_with(prefix: &str) -> String {
    if prefix.is_empty() { String::new() } else { format!(" that starts with {prefix:?}") }
}
