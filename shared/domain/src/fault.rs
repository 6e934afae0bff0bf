//! What is wrong with a field that a caller sent.

/// A field that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The field, as a JSON pointer (`/url`).
    pub pointer: String,
    /// What it must be.
    pub detail: String,
}

impl FieldError {
    /// Names a field and what it must be.
    pub fn new(pointer: &str, detail: impl std::fmt::Display) -> Self {
        Self { pointer: pointer.to_owned(), detail: detail.to_string() }
    }
}
