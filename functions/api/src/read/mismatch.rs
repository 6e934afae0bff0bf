//! Why a part of a body does not fit its type, in the terms of JSON.

use std::fmt::{self, Display};

use domain::fault::step;
use serde::de::{Error, Expected, Unexpected};

/// A part of a body that does not fit its type.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// The names and indices that lead to it.
    pub(super) path: Vec<String>,
    pub(super) what: What,
}

/// What does not fit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    /// An object has no field of this name.
    Missing(&'static str),
    /// The value is invalid. Says what it must be.
    Wrong(String),
}

impl Mismatch {
    fn wrong(detail: String) -> Self {
        Self { path: Vec::new(), what: What::Wrong(detail) }
    }

    /// Returns the mismatch with one more step in front of its path.
    pub(super) fn within(mut self, step: &str) -> Self {
        self.path.insert(0, step.to_owned());
        self
    }

    /// Returns the mismatch without the value's own kind, because all values of a query are strings.
    pub(super) fn without_kind(mut self) -> Self {
        if let What::Wrong(detail) = &mut self.what {
            detail.truncate(detail.find(", not ").unwrap_or(detail.len()));
        }
        self
    }

    /// Returns the mismatch for a value that may also be `null`.
    pub(super) fn or_null(mut self) -> Self {
        if let (What::Wrong(detail), true) = (&mut self.what, self.path.is_empty()) {
            let (must, not) =
                detail.split_once(", not ").map_or((detail.as_str(), None), |(must, not)| (must, Some(not)));
            if must.starts_with("must be ") {
                *detail = format!("{must} or null{}", not.map(|not| format!(", not {not}")).unwrap_or_default());
            }
        }
        self
    }
}

/// Returns a path with one more step at its end.
pub(super) fn below(path: &[String], step: &str) -> Vec<String> {
    path.iter().cloned().chain([step.to_owned()]).collect()
}

/// Returns a path as a JSON pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)).
pub(super) fn pointer(path: &[String]) -> String {
    path.iter().map(|name| step(name)).collect()
}

impl Error for Mismatch {
    fn custom<T: Display>(detail: T) -> Self {
        Self::wrong(detail.to_string())
    }

    fn invalid_type(unexpected: Unexpected, expected: &dyn Expected) -> Self {
        Self::wrong(format!("must be {}, not {}", words(&expected.to_string()), kind(&unexpected)))
    }

    fn invalid_value(_: Unexpected, expected: &dyn Expected) -> Self {
        Self::wrong(format!("must be {}", words(&expected.to_string())))
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::wrong(format!("must be {}", words(&expected.to_string())))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::wrong(one_of(expected))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::wrong(match expected {
            [] => "is unknown".to_owned(),
            known => format!("is unknown; the known names are {}", known.join(", ")),
        })
    }

    fn missing_field(field: &'static str) -> Self {
        Self { path: Vec::new(), what: What::Missing(field) }
    }

    fn duplicate_field(_: &'static str) -> Self {
        Self::wrong("has a field twice, perhaps under two of its names".to_owned())
    }
}

/// Lists the allowed strings.
pub(super) fn one_of(texts: &[&str]) -> String {
    match texts {
        [] => "has no possible value".to_owned(),
        [only] => format!("must be \"{only}\""),
        [first @ .., last] => format!("must be \"{}\" or \"{last}\"", first.join("\", \"")),
    }
}

/// Translates what a serde visitor expects from the terms of Rust to those of JSON.
fn words(expected: &str) -> String {
    let whole = |from: i128, to: i128| format!("a whole number from {from} to {to}");
    match expected {
        "u8" => whole(0, u8::MAX.into()),
        "u16" => whole(0, u16::MAX.into()),
        "u32" => whole(0, u32::MAX.into()),
        "u64" | "usize" => whole(0, u64::MAX.into()),
        "i32" => whole(i32::MIN.into(), i32::MAX.into()),
        "i64" | "isize" => whole(i64::MIN.into(), i64::MAX.into()),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "an array".to_owned(),
        "a map" => "an object".to_owned(),
        "unit" => "null".to_owned(),
        other if other.starts_with("struct ") => "an object".to_owned(),
        other => other.to_owned(),
    }
}

/// Returns the kind of a value, but not the value, which may be a secret.
fn kind(unexpected: &Unexpected) -> &'static str {
    match unexpected {
        Unexpected::Bool(_) => "true or false",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a number",
        Unexpected::Float(_) => "a number with a fraction or an exponent",
        Unexpected::Char(_) | Unexpected::Str(_) | Unexpected::Bytes(_) => "a string",
        Unexpected::Unit | Unexpected::Option => "null",
        Unexpected::Seq | Unexpected::TupleVariant => "an array",
        Unexpected::Map | Unexpected::StructVariant | Unexpected::NewtypeStruct | Unexpected::NewtypeVariant => {
            "an object"
        }
        Unexpected::Enum | Unexpected::UnitVariant | Unexpected::Other(_) => "something else",
    }
}

impl Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = match &self.what {
            What::Missing(field) => format!("{field} is required"),
            What::Wrong(detail) => detail.clone(),
        };
        write!(f, "{} {detail}", pointer(&self.path))
    }
}

impl std::error::Error for Mismatch {}
