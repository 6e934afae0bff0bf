//! Optimistic concurrency: a webhook's version is its entity tag.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};

use crate::problem::{Fault, Problem};

/// The versions that the caller expects, from `If-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// Any version: the header is missing or is `*`.
    Any {
        /// Whether the header was sent.
        given: bool,
    },
    /// One of these tags, without their quotes. Weak tags are left out, because they never match for a change.
    Tags(Vec<String>),
}

impl IfMatch {
    /// Checks that the current version is one of those expected.
    pub(crate) fn check(&self, current: u64) -> Result<(), Problem> {
        match self {
            Self::Tags(tags) if !tags.contains(&current.to_string()) => Err(Problem::Stale { current }),
            Self::Tags(_) | Self::Any { .. } => Ok(()),
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
    let lines = headers.get_all(header::IF_MATCH).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() {
        return Ok(IfMatch::Any { given: false });
    }
    let text = lines.join(",");
    let text = text.trim();
    if text == "*" {
        return Ok(IfMatch::Any { given: true });
    }
    // Some clients drop the quotes.
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(IfMatch::Tags(vec![text.to_owned()]));
    }
    strong_tags(text).map(IfMatch::Tags).ok_or_else(|| {
        Problem::Invalid(vec![Fault::header("If-Match", "must be the ETag of the webhook, such as \"3\", or *")])
    })
}

/// Returns the strong tags of a list of entity tags ([RFC
/// 9110](https://www.rfc-editor.org/rfc/rfc9110#section-13.1.1)), or `None` if the text is not such a list.
fn strong_tags(text: &str) -> Option<Vec<String>> {
    const BETWEEN: [char; 3] = [',', ' ', '\t'];
    let mut tags = Vec::new();
    let mut text = text.trim_start_matches(BETWEEN);
    loop {
        let weak = text.strip_prefix("W/");
        let (tag, rest) = weak.unwrap_or(text).strip_prefix('"')?.split_once('"')?;
        if tag.contains(|character: char| character == ' ' || character.is_ascii_control()) {
            return None;
        }
        if weak.is_none() {
            tags.push(tag.to_owned());
        }
        text = rest.trim_start_matches(BETWEEN);
        if text.is_empty() {
            return Some(tags);
        }
        if !rest.trim_start().starts_with(',') {
            return None;
        }
    }
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

    fn tags(tags: &[&str]) -> IfMatch {
        IfMatch::Tags(tags.iter().map(|tag| (*tag).to_owned()).collect())
    }

    #[rstest]
    #[case::absent(&[], Some(IfMatch::Any { given: false }))]
    #[case::any(&["*"], Some(IfMatch::Any { given: true }))]
    #[case::version(&["\"3\""], Some(tags(&["3"])))]
    #[case::no_quotes(&["3"], Some(tags(&["3"])))]
    #[case::another_tag(&["\"x,y\""], Some(tags(&["x,y"])))]
    #[case::weak(&["W/\"3\""], Some(tags(&[])))]
    #[case::list(&["\"1\", W/\"2\" ,\"3\""], Some(tags(&["1", "3"])))]
    #[case::with_nothing_in_between(&[", \"1\",,\"3\","], Some(tags(&["1", "3"])))]
    #[case::two_lines(&["\"1\"", "\"3\""], Some(tags(&["1", "3"])))]
    #[case::empty(&[""], None)]
    #[case::no_tag(&[","], None)]
    #[case::word(&["x"], None)]
    #[case::half_a_tag(&["\"3"], None)]
    #[case::no_comma(&["\"1\" \"3\""], None)]
    #[case::space_in_a_tag(&["\"1 3\""], None)]
    #[case::any_and_more(&["*, \"3\""], None)]
    #[case::small_weak(&["w/\"3\""], None)]
    fn reads_the_header(#[case] lines: &[&str], #[case] expected: Option<IfMatch>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::IF_MATCH, HeaderValue::from_str(line).unwrap());
        }
        assert_eq!(read(&headers).ok(), expected);
    }

    #[rstest]
    #[case::the_current_one(&["3"], true)]
    #[case::one_of_several(&["2", "3"], true)]
    #[case::stale(&["2"], false)]
    #[case::the_same_number_in_another_tag(&["03", "+3"], false)]
    #[case::only_weak_ones(&[], false)]
    fn a_stale_version_is_refused_with_the_current_one(#[case] given: &[&str], #[case] fits: bool) {
        match tags(given).check(3) {
            Ok(()) => assert!(fits),
            Err(problem) => assert!(!fits && matches!(problem, Problem::Stale { current: 3 })),
        }
        assert!(IfMatch::Any { given: false }.check(3).is_ok());
    }
}
