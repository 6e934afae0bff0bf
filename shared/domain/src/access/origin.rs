//! Origins of web pages.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use url::{Host, Url};

/// The origin of a web page, such as `https://app.example.com`. It uses https, or http on this machine. It is safe as a
/// source of a Content-Security-Policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Origin(String);

/// The text is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an origin such as https://app.example.com, without a path; http only with localhost, 127.0.0.1 or [::1]"
)]
pub struct OriginError;

impl Origin {
    /// Returns the origin of a URL, if pages and pictures of it may be used: it uses https, or http on this machine.
    #[must_use]
    pub fn of(url: &Url) -> Option<Self> {
        let is_allowed = match url.scheme() {
            "https" => url.has_host(),
            "http" => is_this_machine(&url.host()?),
            _ => false,
        };
        let text = url.origin().ascii_serialization();
        // A host may contain `;`, `,`, `'` and `*`, which mean something in a policy.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"./:-_[]".contains(&byte));
        (is_allowed && is_plain).then_some(Self(text))
    }

    /// Returns the origin as text: in lower case, and without the default port.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_this_machine(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let url: Url = text.parse().map_err(|_| OriginError)?;
        // The parser adds slashes and a path that are missing, and drops spaces and line breaks.
        let is_bare = text.split_once("://").is_some_and(|(_, host)| !host.contains(['/', '\\', '?', '#', '@']))
            && !text.contains(char::is_whitespace);
        Self::of(&url).filter(|_| is_bare).ok_or(OriginError)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::https("https://app.example.com", Some("https://app.example.com"))]
    #[case::capitals("HTTPS://App.Example.com", Some("https://app.example.com"))]
    #[case::port("https://app.example.com:8443", Some("https://app.example.com:8443"))]
    #[case::default_port("https://app.example.com:443", Some("https://app.example.com"))]
    #[case::this_machine("http://localhost:5173", Some("http://localhost:5173"))]
    #[case::loopback("http://127.0.0.1:5173", Some("http://127.0.0.1:5173"))]
    #[case::loopback_v6("http://[::1]:5173", Some("http://[::1]:5173"))]
    #[case::http("http://app.example.com", None)]
    #[case::looks_like_this_machine("http://localhost.example.com", None)]
    #[case::slash("https://app.example.com/", None)]
    #[case::path("https://app.example.com/portal", None)]
    #[case::query("https://app.example.com?a", None)]
    #[case::fragment("https://app.example.com#a", None)]
    #[case::user("https://anna@app.example.com", None)]
    #[case::any("*", None)]
    #[case::any_host("https://*.example.com", None)]
    #[case::directive("https://a.example;script-src", None)]
    #[case::two("https://a.example,https://b.example", None)]
    #[case::keyword("'self'", None)]
    #[case::no_scheme("app.example.com", None)]
    #[case::other_scheme("ftp://app.example.com", None)]
    #[case::data("data:text/html,x", None)]
    #[case::space("https://a.example b", None)]
    #[case::space_around(" https://a.example", None)]
    #[case::line_break("https://a.exa\nmple", None)]
    #[case::no_slashes("https:a.example", None)]
    #[case::nothing("", None)]
    fn an_origin_is_one_host(#[case] text: &str, #[case] origin: Option<&str>) {
        let parsed = text.parse::<Origin>();
        assert_eq!(parsed.as_ref().map(Origin::as_str).ok(), origin);
        assert!(parsed.is_ok_and(|parsed| parsed.to_string().parse() == Ok(parsed)) == origin.is_some());
    }
}
