//! The problem document of a refused request ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)), as api and inbound
//! return it.

use serde::Serialize;

/// The media type of the document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// The members of every problem document. A function may flatten them into a document with more members.
#[derive(Debug, Serialize)]
pub struct Problem {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    help: String,
}

impl Problem {
    /// Returns the document. `code` is the last part of the type, and the name of its page in `docs/problems`, which the
    /// api function serves.
    #[must_use]
    pub fn new(status: u16, code: &str, title: &'static str, detail: String) -> Self {
        let (r#type, help) = (format!("urn:dynahook:problem:{code}"), format!("/docs/problems/{code}"));
        Self { r#type, title, status, detail, help }
    }
}
