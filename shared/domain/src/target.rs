//! Where a delivery may go: which URLs, and which addresses behind their names.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

/// The longest URL that is accepted, in bytes.
pub const MAX_URL_BYTES: usize = 2048;

/// What the operator allows beyond the public internet over TLS: nothing, unless told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetPolicy {
    /// Networks that may be called although they are not public.
    pub allowed: Vec<IpNet>,
    /// Whether `http:` is accepted beside `https:`.
    pub allow_http: bool,
}

/// Why a URL cannot be a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Longer than [`MAX_URL_BYTES`].
    #[error("must be at most {MAX_URL_BYTES} bytes")]
    TooLong,
    /// Not an absolute URL.
    #[error("must be an absolute URL such as https://example.com/webhooks: {0}")]
    Malformed(String),
    /// Neither `https:` nor an allowed `http:`.
    #[error("must start with {expected}")]
    Scheme {
        /// What is accepted.
        expected: &'static str,
    },
    /// A name or password in the URL: it would be a secret in a table.
    #[error("must not contain a user name or a password; use a header instead")]
    Credentials,
    /// A fragment is never sent.
    #[error("must not contain a fragment (#…)")]
    Fragment,
    /// A literal address that policy forbids.
    #[error("must not name a private, local or reserved address")]
    Forbidden,
}

/// Networks that are not the public internet, by the [IANA special-purpose registry][1].
///
/// [1]: https://www.iana.org/assignments/iana-ipv4-special-registry
static NOT_PUBLIC_V4: LazyLock<Vec<Ipv4Net>> = LazyLock::new(|| {
    networks(&[
        "0.0.0.0/8",       // this network
        "10.0.0.0/8",      // private
        "100.64.0.0/10",   // carrier-grade NAT
        "127.0.0.0/8",     // loopback; on Lambda the runtime API
        "169.254.0.0/16",  // link-local; instance metadata
        "172.16.0.0/12",   // private
        "192.0.0.0/24",    // protocol assignments
        "192.0.2.0/24",    // documentation
        "192.88.99.0/24",  // 6to4 relays
        "192.168.0.0/16",  // private
        "198.18.0.0/15",   // benchmarks
        "198.51.100.0/24", // documentation
        "203.0.113.0/24",  // documentation
        "224.0.0.0/3",     // multicast, reserved, broadcast
    ])
});

/// All of IPv6 that is routed: everything else (loopback, mapped and translated IPv4, local, multicast) is refused.
static GLOBAL_UNICAST: LazyLock<Vec<Ipv6Net>> = LazyLock::new(|| networks(&["2000::/3"]));

/// What is special within it.
static NOT_PUBLIC_V6: LazyLock<Vec<Ipv6Net>> = LazyLock::new(|| {
    networks(&[
        "2001::/23",     // protocol assignments, Teredo
        "2001:db8::/32", // documentation
        "2002::/16",     // 6to4: an IPv4 address in disguise
        "3fff::/20",     // documentation
    ])
});

fn networks<N: std::str::FromStr<Err: std::fmt::Debug>>(texts: &[&str]) -> Vec<N> {
    // Safe: the texts are the constants above, and a test reads them all.
    texts.iter().map(|text| text.parse().expect("a network")).collect()
}

impl TargetPolicy {
    /// Says whether a connection to the address is allowed.
    ///
    /// To be asked of every *resolved* address: a public name may lead to a private address.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        self.allowed.iter().any(|network| network.contains(&address))
            || match address {
                IpAddr::V4(v4) => !NOT_PUBLIC_V4.iter().any(|network| network.contains(&v4)),
                IpAddr::V6(v6) => is_public_v6(v6),
            }
    }

    /// Reads a URL that deliveries are to be sent to.
    ///
    /// A literal address is checked at once; a name is checked whenever it is resolved.
    ///
    /// # Errors
    ///
    /// If the URL is not one, or is one that policy forbids.
    pub fn parse(&self, text: &str) -> Result<Url, TargetError> {
        if text.len() > MAX_URL_BYTES {
            return Err(TargetError::TooLong);
        }
        let url = Url::parse(text).map_err(|error| TargetError::Malformed(error.to_string()))?;
        // `Url` mends what is not a URL (`https:example.com`, leading spaces); what was meant is then a guess.
        let as_written = text.get(..url.scheme().len() + 3).unwrap_or_default();
        let accepted = url.scheme() == "https" || (url.scheme() == "http" && self.allow_http);
        if !accepted || !as_written.eq_ignore_ascii_case(&format!("{}://", url.scheme())) {
            let expected = if self.allow_http { "https:// or http://" } else { "https://" };
            return Err(TargetError::Scheme { expected });
        }
        // Nor are spaces, tabs, `\` for `/`, or a third slash what was meant.
        if text.contains(|c: char| c.is_ascii_control() || c == ' ' || c == '\\') {
            let detail = "a space, a control character or a backslash stands in it; write %20 or %5C if it is meant";
            return Err(TargetError::Malformed(detail.to_owned()));
        }
        if text.get(as_written.len()..).is_some_and(|rest| rest.starts_with('/')) {
            return Err(TargetError::Malformed("empty host".to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::Credentials);
        }
        if url.fragment().is_some() {
            return Err(TargetError::Fragment);
        }
        if literal(&url).is_some_and(|address| !self.permits(address)) {
            return Err(TargetError::Forbidden);
        }
        Ok(url)
    }
}

/// Returns the address if the URL names one literally; such a URL is never resolved.
fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Domain(_) => None,
        Host::Ipv4(v4) => Some(v4.into()),
        Host::Ipv6(v6) => Some(v6.into()),
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let within = |networks: &[Ipv6Net]| networks.iter().any(|network| network.contains(&address));
    within(&GLOBAL_UNICAST) && !within(&NOT_PUBLIC_V6)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn local() -> TargetPolicy {
        TargetPolicy { allowed: vec!["127.0.0.0/8".parse().unwrap()], allow_http: true }
    }

    #[rstest]
    #[case::public_v4("93.184.216.34", true)]
    #[case::public_v6("2606:2800:220:1::1", true)]
    #[case::loopback("127.0.0.1", false)]
    #[case::metadata("169.254.169.254", false)]
    #[case::private_10("10.1.2.3", false)]
    #[case::private_172("172.31.255.255", false)]
    #[case::beside_private_172("172.32.0.1", true)]
    #[case::private_192("192.168.0.1", false)]
    #[case::shared("100.64.0.1", false)]
    #[case::unspecified("0.0.0.0", false)]
    #[case::broadcast("255.255.255.255", false)]
    #[case::multicast("224.0.0.1", false)]
    #[case::loopback_v6("::1", false)]
    #[case::unspecified_v6("::", false)]
    #[case::mapped("::ffff:127.0.0.1", false)]
    #[case::mapped_public("::ffff:93.184.216.34", false)]
    #[case::nat64("64:ff9b::7f00:1", false)]
    #[case::six_to_four("2002:7f00:1::", false)]
    #[case::teredo("2001::1", false)]
    #[case::unique_local("fd00:ec2::254", false)]
    #[case::link_local("fe80::1", false)]
    #[case::site_local("fec0::1", false)]
    #[case::multicast_v6("ff02::1", false)]
    #[case::documentation_v6("2001:db8::1", false)]
    #[case::segment_routing("5f00::1", false)]
    fn only_the_public_internet(#[case] address: &str, #[case] permitted: bool) {
        assert_eq!(TargetPolicy::default().permits(address.parse().unwrap()), permitted);
    }

    #[test]
    fn an_allowed_network_is_an_exception_for_itself_only() {
        assert!(local().permits("127.0.0.1".parse().unwrap()));
        assert!(!local().permits("::ffff:127.0.0.1".parse().unwrap()));
        assert!(!local().permits("10.0.0.1".parse().unwrap()));
    }

    #[rstest]
    #[case::plain("https://example.com/hook?a=b", None)]
    #[case::port("https://example.com:8443/", None)]
    #[case::upper_case("HTTPS://example.com/", None)]
    #[case::public_literal("https://93.184.216.34/", None)]
    #[case::http("http://example.com/", Some(TargetError::Scheme { expected: "https://" }))]
    #[case::file("file:///etc/passwd", Some(TargetError::Scheme { expected: "https://" }))]
    #[case::no_slashes("https:example.com", Some(TargetError::Scheme { expected: "https://" }))]
    #[case::space_before(" https://example.com", Some(TargetError::Scheme { expected: "https://" }))]
    #[case::relative("/hook", Some(TargetError::Malformed("relative URL without a base".to_owned())))]
    #[case::no_host("https://", Some(TargetError::Malformed("empty host".to_owned())))]
    #[case::credentials("https://me:secret@example.com/", Some(TargetError::Credentials))]
    #[case::fragment("https://example.com/#top", Some(TargetError::Fragment))]
    #[case::loopback("https://127.0.0.1/", Some(TargetError::Forbidden))]
    #[case::decimal("https://2130706433/", Some(TargetError::Forbidden))]
    #[case::hexadecimal("https://0x7f.1/", Some(TargetError::Forbidden))]
    #[case::octal("https://0177.0.0.1/", Some(TargetError::Forbidden))]
    #[case::full_width("https://１２７.０.０.１/", Some(TargetError::Forbidden))]
    #[case::mapped("https://[::ffff:7f00:1]/", Some(TargetError::Forbidden))]
    fn urls(#[case] text: &str, #[case] error: Option<TargetError>) {
        assert_eq!(TargetPolicy::default().parse(text).err(), error);
    }

    #[rstest]
    #[case::tab("https://exa\tmple.com/")]
    #[case::line_break("https://example.com/\nx")]
    #[case::backslash("https://example.com\\@evil.example/")]
    #[case::space("https://example.com/a b")]
    #[case::space_after("https://example.com/ ")]
    #[case::third_slash("https:///example.com/")]
    fn what_a_parser_would_mend_is_refused(#[case] text: &str) {
        assert!(matches!(TargetPolicy::default().parse(text), Err(TargetError::Malformed(_))));
    }

    #[test]
    fn length_is_bounded() {
        let url = |bytes: usize| format!("https://example.com/{}", "a".repeat(bytes - 20));
        assert!(TargetPolicy::default().parse(&url(MAX_URL_BYTES)).is_ok());
        assert_eq!(TargetPolicy::default().parse(&url(MAX_URL_BYTES + 1)), Err(TargetError::TooLong));
    }

    #[test]
    fn the_operator_may_allow_http_and_loopback() {
        assert!(local().parse("http://127.0.0.1:8787/").is_ok());
        assert!(local().parse("http://10.0.0.1/").is_err());
    }
}
