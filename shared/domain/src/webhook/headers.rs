//! The headers that a webhook's owner may add to its deliveries.

use std::collections::BTreeMap;

use crate::fault::{FieldError, step};

/// How many headers a webhook may add.
const MAX_HEADERS: usize = 20;

/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// The longest value, in bytes.
const MAX_VALUE_BYTES: usize = 1024;

/// The total size of all of them, in bytes.
const MAX_TOTAL_BYTES: usize = 4096;

/// Headers that belong to the connection, to the message framing or to the trace. Setting them would break these.
const OURS: [&str; 17] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Headers that carry a secret. Added headers are stored in plain text, and secrets never are.
pub(super) const SECRET: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// Headers that carry Dynahook's signatures, under any scheme.
const SIGNATURES: [&str; 9] = [
    "stripe-signature",
    "x-hub-signature-256",
    "x-hub-signature-256-previous",
    "x-shopify-hmac-sha256",
    "x-shopify-hmac-sha256-previous",
    "x-signature-256",
    "x-signature-256-previous",
    "x-superoffice-signature",
    "x-superoffice-signature-previous",
];

/// Returns whether a header, in lower case, is reserved for the connection, the message framing or Standard Webhooks.
pub(super) fn is_ours(lower: &str) -> bool {
    OURS.contains(&lower) || lower.starts_with("webhook-")
}

/// Checks the headers. `written` are the headers, in lower case, that the webhook's signatures currently use.
pub(super) fn check(headers: &BTreeMap<String, String>, written: &[String], faults: &mut Vec<FieldError>) {
    if headers.len() > MAX_HEADERS {
        faults.push(FieldError::new("/headers", format!("must have at most {MAX_HEADERS} headers")));
    }
    if headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MAX_TOTAL_BYTES {
        faults.push(FieldError::new("/headers", format!("must be at most {MAX_TOTAL_BYTES} bytes in all")));
    }
    let mut seen = Vec::new();
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        let detail = if !is_token(name) || name.len() > MAX_NAME_BYTES {
            Some(format!("must have a name of 1 to {MAX_NAME_BYTES} letters, digits and !#$%&'*+-.^_`|~"))
        } else if SECRET.contains(&lower.as_str()) {
            Some(
                "must not carry a secret, because headers are stored in plain text; use `authorization` instead"
                    .to_owned(),
            )
        } else if is_ours(&lower) || SIGNATURES.contains(&lower.as_str()) || written.contains(&lower) {
            Some("must not be set here, because Dynahook sets it".to_owned())
        } else if seen.contains(&lower) {
            Some("must not occur twice; header names are case-insensitive".to_owned())
        } else if value.len() > MAX_VALUE_BYTES || !is_value(value) {
            Some(format!("must have a value of at most {MAX_VALUE_BYTES} visible ASCII characters on a single line"))
        } else {
            None
        };
        if let Some(detail) = detail {
            faults.push(FieldError::new(&format!("/headers{}", step(name)), detail));
        }
        seen.push(lower);
    }
}

pub(super) fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Control characters such as CR and LF would end the header and start another.
fn is_value(value: &str) -> bool {
    value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && value.trim() == value
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn faults(headers: &[(&str, &str)]) -> Vec<FieldError> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut faults = Vec::new();
        check(&headers, &[], &mut faults);
        faults
    }

    #[rstest]
    #[case::plain("X-Tenant", "acme", true)]
    #[case::empty_value("X-Tenant", "", true)]
    #[case::host("Host", "example.com", false)]
    #[case::length("content-length", "1", false)]
    #[case::hop_by_hop("Transfer-Encoding", "chunked", false)]
    #[case::ours("Webhook-Id", "1", false)]
    #[case::a_scheme_s("X-Hub-Signature-256", "sha256=", false)]
    #[case::secret("Authorization", "Bearer x", false)]
    #[case::line_feed("X-A", "a\nHost: evil", false)]
    #[case::carriage_return("X-A", "a\rb", false)]
    #[case::nul("X-A", "a\0", false)]
    #[case::not_ascii("X-A", "é", false)]
    #[case::space_in_name("X A", "a", false)]
    #[case::colon_in_name("X:A", "a", false)]
    #[case::no_name("", "a", false)]
    fn says_which_headers_may_be_set(#[case] name: &str, #[case] value: &str, #[case] allowed: bool) {
        assert_eq!(faults(&[(name, value)]).is_empty(), allowed);
    }

    #[test]
    fn names_the_header_in_the_pointer() {
        assert_eq!(faults(&[("a/b~c", "x")])[0].pointer, "/headers/a~1b~0c");
        assert_eq!(faults(&[("X-A", "1"), ("x-a", "2")])[0].pointer, "/headers/x-a");
    }

    #[test]
    fn bounds_number_and_size() {
        let names: Vec<String> = (0..=MAX_HEADERS).map(|number| format!("x-{number}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), "v")).collect();
        assert_eq!(faults(&many).len(), 1);
        assert_eq!(faults(&many[1..]), []);
        let long = "v".repeat(MAX_VALUE_BYTES);
        assert_eq!(faults(&[("x-a", &long)]), []);
        assert_eq!(faults(&[("x-a", &format!("{long}v"))]).len(), 1);
        assert_eq!(faults(&[("a", &long), ("b", &long), ("c", &long), ("d", &long)]).len(), 1);
    }
}
