//! The URLs of this deployment itself.

use std::str::FromStr;

use percent_encoding::percent_decode_str;
use url::Url;

/// A URL of this deployment: the name that API Gateway gives its API, or a name of the operator's.
///
/// The name alone identifies it. Another name for the same addresses does not lead to the deployment, because API
/// Gateway selects an API by the name in TLS and `Host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    host: OwnHost,
    /// The port that the operator configured. If missing: every port.
    port: Option<u16>,
    /// The path segments below which it answers. If empty: all paths.
    path: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum OwnHost {
    /// `<id>.execute-api` in any region.
    Api(String),
    /// A name in lower case, without a trailing dot.
    Name(String),
}

/// The text is neither the id of an API nor a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be the id of an API, or a URL such as https://hooks.example.com or https://example.com/hooks")]
pub struct ParseOwnError;

impl FromStr for Own {
    type Err = ParseOwnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(Self { host: OwnHost::Api(text.to_ascii_lowercase()), port: None, path: Vec::new() });
        }
        let url = Url::parse(text).map_err(|_| ParseOwnError)?;
        let host = url.host_str().ok_or(ParseOwnError)?;
        Ok(Self { host: OwnHost::Name(plain(host)), port: url.port(), path: words(url.path()) })
    }
}

impl Own {
    /// Returns whether a URL with this host, as [`Url`] has it, this port and this path leads to the deployment. The
    /// port is compared only if the operator configured one; otherwise a gateway may listen on other ports for the
    /// deployment.
    pub(super) fn is(&self, host: &str, port: u16, path: &str) -> bool {
        let host = plain(host);
        let here = match &self.host {
            OwnHost::Api(id) => {
                let mut labels = host.split('.');
                labels.next() == Some(id) && labels.next() == Some("execute-api")
            }
            OwnHost::Name(name) => host == *name,
        };
        here && self.port.is_none_or(|own| own == port) && words(path).starts_with(&self.path)
    }
}

/// Returns a host name in its normal form, without a trailing dot.
fn plain(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// Returns the segments of a path as a lenient gateway reads them: decoded and without empty ones.
fn words(path: &str) -> Vec<String> {
    let decoded = percent_decode_str(path).decode_utf8_lossy().to_lowercase();
    let mut words = Vec::new();
    for word in decoded.split(['/', '\\']) {
        match word {
            "" | "." => {}
            ".." => {
                words.pop();
            }
            word => words.push(word.to_owned()),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::{TargetError, TargetPolicy};
    use super::*;

    fn policy() -> TargetPolicy {
        let own = [
            "a1b2c3d4e5",
            "https://Hooks.example.com",
            "https://example.com/Dynahook",
            "https://h\u{f6}oks.example.com",
            "https://[2600::1]",
            "http://127.0.0.1:4566",
        ];
        let own = own.map(|text| text.parse().unwrap()).to_vec();
        // The local stack is at a name below `localhost`.
        let allowed = vec!["127.0.0.0/8".parse().unwrap()];
        TargetPolicy { allowed, allow_http: true, own, ports: vec!["1-65535".parse().unwrap()] }
    }

    #[rstest]
    #[case::the_api("https://a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com/api/v1/inbound/acme/whk_1")]
    #[case::the_api_in_capitals("https://A1B2C3D4E5.Execute-API.eu-west-1.amazonaws.com/")]
    #[case::the_api_of_the_local_stack("http://a1b2c3d4e5.execute-api.localhost:4566/x")]
    #[case::the_address_of_the_local_stack("http://127.0.0.1:4566/api/v1/integration/events")]
    #[case::a_dot_at_the_end("https://a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com./x")]
    #[case::another_port("https://hooks.example.com:8443/x")]
    #[case::without_tls("http://hooks.example.com/x")]
    #[case::any_path("https://hooks.example.com/elsewhere")]
    #[case::capitals("https://HOOKS.EXAMPLE.COM")]
    #[case::full_width_letters("https://\u{ff48}ooks.example.com/")]
    #[case::below_the_path("https://example.com/dynahook/api/v1/events")]
    #[case::the_path_alone("https://example.com/Dynahook")]
    #[case::an_encoded_path("https://example.com/%64ynahook/api")]
    #[case::an_encoded_slash("https://example.com/%2Fdynahook/api")]
    #[case::slashes("https://example.com//dynahook/api")]
    #[case::dots("https://example.com/x/../dynahook/api")]
    #[case::encoded_dots("https://example.com/x/%2e%2e/dynahook/api")]
    #[case::idn("https://h\u{f6}oks.example.com/")]
    #[case::an_address("https://[2600:0::1]:8443/x")]
    #[case::idn_as_punycode("https://xn--hoks-5qa.example.com/")]
    fn leads_to_the_deployment(#[case] url: &str) {
        assert_eq!(policy().parse(url), Err(TargetError::Own));
    }

    #[rstest]
    #[case::another_api("https://f1b2c3d4e5.execute-api.eu-west-1.amazonaws.com/")]
    #[case::a_receiver_next_to_the_local_stack("http://127.0.0.1:8787/hook")]
    #[case::the_id_elsewhere("https://a1b2c3d4e5.example.com/")]
    #[case::a_name_below("https://x.hooks.example.com/")]
    #[case::a_name_above("https://example.com/")]
    #[case::another_path("https://example.com/dynahooks")]
    #[case::the_path_later("https://example.com/x/dynahook")]
    fn leads_elsewhere(#[case] url: &str) {
        assert!(policy().parse(url).is_ok(), "{:?}", policy().parse(url));
    }

    #[rstest]
    #[case::nothing("")]
    #[case::a_name("hooks.example.com")]
    #[case::no_host("data:text")]
    fn must_be_a_place(#[case] text: &str) {
        assert_eq!(text.parse::<Own>(), Err(ParseOwnError));
    }
}
