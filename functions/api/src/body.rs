//! JSON in: strictly, and with errors that name the field.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use http_body::Body as _;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use crate::problem::{Fault, Problem};

/// The largest body that is read, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 256 * 1024;

/// A JSON body of the type `T`.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        let bytes = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES)
            .await
            .map_err(|_| Problem::TooLarge(MAX_BODY_BYTES))?;
        let mut deserializer = serde_json::Deserializer::from_slice(&bytes);
        let value =
            serde_path_to_error::deserialize(&mut deserializer).map_err(|error| match error.inner().classify() {
                Category::Data => Problem::Invalid(vec![fault(&error)]),
                Category::Io | Category::Syntax | Category::Eof => Problem::Malformed(error.into_inner().to_string()),
            })?;
        deserializer.end().map_err(|error| Problem::Malformed(error.to_string()))?;
        Ok(Self(value))
    }
}

/// A JSON body of the type `T`, or its default if there is none.
#[derive(Debug)]
pub(crate) struct OptionalJson<T>(pub(crate) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        if request.body().is_end_stream() {
            return Ok(Self(T::default()));
        }
        // `null` is a body, and says the same.
        let JsonBody(value) = JsonBody::<Option<T>>::from_request(request, state).await?;
        Ok(Self(value.unwrap_or_default()))
    }
}

/// Reads a JSON value that came in with a body, or in part.
pub(crate) fn typed<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(value).map_err(|error| fault(&error))
}

/// Names the field, and says what it must be.
fn fault(error: &serde_path_to_error::Error<serde_json::Error>) -> Fault {
    let (pointer, detail) = (pointer(error.path()), without_position(error.inner()));
    let missing = detail.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    match missing {
        Some(field) => Fault::field(&format!("{pointer}{}", step(field)), "is missing"),
        None => Fault::field(&pointer, detail),
    }
}

/// Query parameters of the type `T`.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(error) => {
                let detail = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                // The library says `name: what is wrong`.
                let (name, detail) = detail.split_once(": ").unwrap_or(("", &detail));
                Err(Problem::Invalid(vec![Fault::parameter(name, detail)]))
            }
        }
    }
}

/// Returns the path as a JSON pointer.
fn pointer(path: &Path) -> String {
    let segment = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => step(key),
        Segment::Enum { variant } => step(variant),
        Segment::Unknown => String::new(),
    };
    path.iter().map(segment).collect()
}

/// Returns the step of a JSON pointer to a field of that name.
pub(crate) fn step(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// A position means nothing where the field is named.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message).to_owned()
}
