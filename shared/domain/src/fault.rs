//! Faults in a caller's input.

/// A field with an invalid value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The field, as a JSON pointer (`/url`).
    pub pointer: String,
    /// What is wrong, or what the value must be, for the caller.
    pub detail: String,
}

impl FieldError {
    /// Creates a fault of the field at the pointer.
    pub fn new(pointer: &str, detail: impl std::fmt::Display) -> Self {
        Self { pointer: pointer.to_owned(), detail: detail.to_string() }
    }

    /// Returns the same fault for a field within a larger value.
    #[must_use]
    pub fn below(self, pointer: &str) -> Self {
        Self { pointer: format!("{pointer}{}", self.pointer), ..self }
    }
}

/// Returns the step of a JSON pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)) to a field with this name.
#[must_use]
pub fn step(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}
