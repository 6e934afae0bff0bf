//! Why an image cannot become an event.

use crate::access::tenant::NameError;

/// Why an image cannot become an event. Says names, never values: it stands in logs and on a queue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The mapping names an attribute that the item lacks.
    #[error("the item has no attribute {attribute:?}, which the source names for its {role}")]
    Missing {
        /// The attribute.
        attribute: String,
        /// What the source uses it for.
        role: &'static str,
    },
    /// The attribute cannot stand for what the source uses it for.
    #[error(
        "attribute {attribute:?}, which the source names for the {role}, is not a non-empty string or a number{}",
        starts_with(prefix)
    )]
    NotText {
        /// The attribute.
        attribute: String,
        /// What the source uses it for.
        role: &'static str,
        /// What it must start with, if anything.
        prefix: String,
    },
    /// The tenant or the application is not one.
    #[error("what the source names for the {role} does not hold one: it {source}")]
    Name {
        /// Tenant or application.
        role: &'static str,
        /// What one looks like.
        source: NameError,
    },
}

fn starts_with(prefix: &str) -> String {
    if prefix.is_empty() { String::new() } else { format!(" that starts with {prefix:?}") }
}
