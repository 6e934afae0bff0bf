//! Optimistic concurrency: a webhook's version is its entity tag.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};

use crate::problem::{Fault, Problem};

/// The version that the caller takes for the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// The caller does not say, or says `*`: any.
    Any {
        /// Whether the header was there.
        given: bool,
    },
    /// One of these.
    Version(u64),
}

impl IfMatch {
    /// Checks the current version.
    pub(crate) fn check(self, current: u64) -> Result<(), Problem> {
        match self {
            Self::Version(version) if version != current => Err(Problem::Stale { current }),
            Self::Version(_) | Self::Any { .. } => Ok(()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        read(&parts.headers)
    }
}

fn read(headers: &HeaderMap) -> Result<IfMatch, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(IfMatch::Any { given: false }) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(IfMatch::Any { given: true });
    }
    // Some clients lose the quotes on the way.
    let version = text.trim_matches('"').parse().ok();
    version.map(IfMatch::Version).ok_or_else(|| {
        Problem::Invalid(vec![Fault::header("If-Match", "must be the ETag of the webhook, such as \"3\", or *")])
    })
}

/// Returns the entity tag of a version.
pub(crate) fn etag(version: u64) -> [(header::HeaderName, HeaderValue); 1] {
    let value = HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"0\""));
    [(header::ETAG, value)]
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::absent(None, Some(IfMatch::Any { given: false }))]
    #[case::any(Some("*"), Some(IfMatch::Any { given: true }))]
    #[case::version(Some("\"3\""), Some(IfMatch::Version(3)))]
    #[case::weak(Some("W/\"3\""), None)]
    #[case::no_quotes(Some("3"), Some(IfMatch::Version(3)))]
    #[case::no_number(Some("\"x\""), None)]
    fn reads_the_header(#[case] header: Option<&str>, #[case] expected: Option<IfMatch>) {
        let headers = header.map(|value| (header::IF_MATCH, HeaderValue::from_str(value).unwrap()));
        assert_eq!(read(&headers.into_iter().collect()).ok(), expected);
    }

    #[test]
    fn a_stale_version_is_told_the_current_one() {
        assert!(IfMatch::Version(3).check(3).is_ok());
        assert!(IfMatch::Any { given: false }.check(3).is_ok());
        assert!(matches!(IfMatch::Version(2).check(3), Err(Problem::Stale { current: 3 })));
    }
}
