//! The origin that a credential is given for, and who gave it.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

/// A scheme, a host and a port, normalised: `https://a.example`, `http://127.0.0.1:8080`.
///
/// Letters are lower case, names are in ASCII (`xn--…`), the default port and the dot at the end of a name are left out. So two
/// URLs that lead to the same place have the same text, and any other two have different ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, examples("https://example.com"))]
pub struct Origin(String);

impl Origin {
    /// Returns the origin of a URL; `None` if it is not an `http:` or `https:` URL with a host.
    #[must_use]
    pub fn of(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        let host = url.host_str()?;
        let host = host.strip_suffix('.').unwrap_or(host);
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        (!host.is_empty()).then(|| Self(format!("{}://{host}{port}", url.scheme())))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who gave a credential. An application sees only its own webhooks, so "an application" is the webhook's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SetBy {
    /// An admin of the tenant. Also assumed for what the versions before have written, which did not note it.
    #[default]
    Tenant,
    /// The application that the webhook belongs to.
    Application,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::port("https://a.example:443/x?y", "https://a.example/")]
    #[case::port_of_http("http://a.example:80", "http://a.example/z")]
    #[case::letters("HTTPS://A.Example/", "https://a.example")]
    #[case::dot("https://a.example./", "https://a.example")]
    #[case::dot_and_port("https://a.example.:8443/", "https://a.example:8443")]
    #[case::unicode("https://bücher.example/", "https://xn--bcher-kva.example/")]
    #[case::other_dots("https://a。example/", "https://a.example/")]
    #[case::encoded("https://%61.example/", "https://a.example/")]
    #[case::number("http://2130706433/", "http://127.0.0.1/")]
    #[case::ipv6("https://[2001:DB8::0:1]/", "https://[2001:db8::1]:443/")]
    fn are_one_origin(#[case] one: &str, #[case] other: &str) {
        assert_eq!(Origin::of(one).unwrap(), Origin::of(other).unwrap());
    }

    #[rstest]
    #[case::scheme("http://a.example/", "https://a.example/")]
    #[case::port("https://a.example/", "https://a.example:8443/")]
    #[case::port_of_the_other_scheme("https://a.example:80/", "https://a.example/")]
    #[case::host("https://a.example/", "https://b.example/")]
    #[case::below("https://a.example/", "https://x.a.example/")]
    #[case::longer("https://a.example/", "https://a.example.evil.example/")]
    #[case::look_alike("https://a.example/", "https://а.example/")]
    #[case::in_the_path("https://a.example/", "https://b.example/https://a.example/")]
    #[case::in_the_query("https://a.example/", "https://b.example?https://a.example/")]
    #[case::backslash("https://a.example/", r"https://b.example\.a.example/")]
    fn are_two_origins(#[case] one: &str, #[case] other: &str) {
        assert_ne!(Origin::of(one).unwrap(), Origin::of(other).unwrap());
    }

    #[test]
    fn what_is_no_url_has_none() {
        for text in ["", "a.example", "ftp://a.example/", "https://./", "data:,x"] {
            assert_eq!(Origin::of(text), None, "{text}");
        }
    }
}
