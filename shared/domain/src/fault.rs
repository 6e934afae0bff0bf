//! What is wrong with a field that a caller sent.

/// A field that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The field, as a JSON pointer (`/url`).
    pub pointer: String,
    /// What is wrong, or what the value must be.
    pub detail: String,
}

impl FieldError {
    /// Names a field and what it must be.
    pub fn new(pointer: &str, detail: impl std::fmt::Display) -> Self {
        Self { pointer: pointer.to_owned(), detail: detail.to_string() }
    }

    /// Returns the same fault of a field of a larger value.
    #[must_use]
    pub fn below(self, pointer: &str) -> Self {
        Self { pointer: format!("{pointer}{}", self.pointer), ..self }
    }
}

/// Returns the step of a JSON pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)) to a field of this name.
#[must_use]
pub fn step(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}
