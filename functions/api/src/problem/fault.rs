//! What is wrong with one field, parameter or header of a request.

use domain::fault::FieldError;
use serde::Serialize;
use utoipa::ToSchema;

/// An invalid field, parameter or header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fault {
    /// The field as a JSON pointer in fragment form (`#/url`); for a query parameter, `?` and its name (`?limit`); for
    /// a header, its name.
    pub pointer: String,
    /// What is wrong, or what the value must be.
    pub detail: String,
}

impl Fault {
    /// Returns a fault of the field with this JSON pointer (`/url`).
    pub fn field(pointer: &str, detail: impl std::fmt::Display) -> Self {
        Self { pointer: format!("#{pointer}"), detail: detail.to_string() }
    }

    /// Returns the fault with the pointer of an outer field in front of its own.
    #[must_use]
    pub fn below(self, pointer: &str) -> Self {
        match self.pointer.strip_prefix('#') {
            Some(rest) => Self { pointer: format!("#{pointer}{rest}"), ..self },
            None => self,
        }
    }

    /// Returns the fault with its pointer relative to the field that contains it.
    #[must_use]
    pub fn within(self, pointer: &str) -> Self {
        match self.pointer.strip_prefix('#').and_then(|rest| rest.strip_prefix(pointer)) {
            Some(rest) => Self { pointer: format!("#{rest}"), ..self },
            None => self,
        }
    }

    /// Returns a fault of a header.
    pub fn header(name: &str, detail: impl std::fmt::Display) -> Self {
        Self { pointer: name.to_owned(), detail: detail.to_string() }
    }

    /// Converts the fault of a query parameter that was read as a field.
    pub(crate) fn from_parameter(fault: FieldError) -> Self {
        Self::parameter(fault.pointer.trim_start_matches('/'), fault.detail)
    }

    /// Returns a fault of a query parameter.
    pub fn parameter(name: &str, detail: impl std::fmt::Display) -> Self {
        Self { pointer: format!("?{name}"), detail: detail.to_string() }
    }
}

impl From<FieldError> for Fault {
    fn from(error: FieldError) -> Self {
        Self::field(&error.pointer, error.detail)
    }
}
