//! The origin that a credential was given for, and who set it.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

/// A normalized scheme, host and port: `https://a.example`, `http://127.0.0.1:8080`.
///
/// Letters are lower case, names are in ASCII (`xn--…`), and the default port and a trailing dot are left out. Two URLs
/// therefore have equal origins exactly if they lead to the same place.
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

    /// Returns the normalized text.
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

/// Who set a credential. An application sees only its own webhooks, so `application` is the webhook's application.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SetBy {
    /// An admin of the tenant. Also assumed for credentials stored by earlier versions, which did not record it.
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
    fn an_invalid_url_has_no_origin() {
        for text in ["", "a.example", "ftp://a.example/", "https://./", "data:,x"] {
            assert_eq!(Origin::of(text), None, "{text}");
        }
    }
}
