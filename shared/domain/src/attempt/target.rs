//! Decides where deliveries may go: which URLs, and which addresses their host names may resolve to.

mod network;
mod own;
mod ports;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

pub use network::{Network, ParseNetworkError};
pub use own::{Own, ParseOwnError};
pub use ports::{ParsePortRangeError, PortRange};

/// The longest URL that is accepted, in bytes.
pub const MAX_URL_BYTES: usize = 4000;

/// What the operator allows in addition to the public internet over TLS. Nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetPolicy {
    /// Networks that may be called although they are not public.
    pub allowed: Vec<IpNet>,
    /// Whether `http:` is accepted in addition to `https:`.
    pub allow_http: bool,
    /// The ports that may be called. If empty: 443 and 8443, and with `http:` also 80 and 8080.
    pub ports: Vec<PortRange>,
    /// The addresses of this deployment itself, which are never targets.
    pub own: Vec<Own>,
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
    /// The URL contains a name or password, which would be a secret stored in a table.
    #[error("must not contain a user name or a password; use a header instead")]
    Credentials,
    /// Fragments are never sent.
    #[error("must not contain a fragment (#…)")]
    Fragment,
    /// A port that policy does not allow.
    #[error("must use one of the ports that this deployment allows ({allowed}), not {port}")]
    Port {
        /// The port of the URL.
        port: u16,
        /// The allowed ports.
        allowed: String,
    },
    /// A literal address that policy forbids.
    #[error("must not name a private, local or reserved address")]
    Forbidden,
    /// A name that can only lead to a private network.
    #[error("must not name a host of a private network ({0}): use a name of the public internet")]
    LocalName(&'static str),
    /// The URL of this deployment.
    #[error(
        "must not lead back to this deployment, because deliveries would loop; events reach every webhook of the tenant that \
         names their types"
    )]
    Own,
}

/// The default ports for TLS, and those for plain HTTP.
const TLS_PORTS: [u16; 2] = [443, 8443];
const HTTP_PORTS: [u16; 2] = [80, 8080];

/// The loopback name of [RFC 6761](https://www.rfc-editor.org/rfc/rfc6761#section-6.3).
const LOOPBACK_NAME: &str = "localhost";

/// Names that ICANN, RFC 6762 and RFC 8375 reserve for private networks. `metadata.google.internal` is one.
const PRIVATE_NAMES: [&str; 3] = ["internal", "local", "home.arpa"];

/// Networks that are not part of the public internet, according to the [IANA special-purpose registry][1].
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
        "192.31.196.0/24", // AS112: answered by the nearest server
        "192.52.193.0/24", // multicast relays
        "192.88.99.0/24",  // 6to4 relays
        "192.168.0.0/16",  // private
        "192.175.48.0/24", // AS112
        "198.18.0.0/15",   // benchmarks
        "198.51.100.0/24", // documentation
        "203.0.113.0/24",  // documentation
        "224.0.0.0/3",     // multicast, reserved, broadcast
    ])
});

/// The only routed part of IPv6. Everything else is refused: loopback, mapped and translated IPv4, local addresses and
/// multicast. Translated addresses (`64:ff9b::/96`) are refused even if they embed a public address, which can be
/// written directly.
static GLOBAL_UNICAST: LazyLock<Vec<Ipv6Net>> = LazyLock::new(|| networks(&["2000::/3"]));

/// Special networks within it, according to the [IANA special-purpose registry][1].
///
/// [1]: https://www.iana.org/assignments/iana-ipv6-special-registry
static NOT_PUBLIC_V6: LazyLock<Vec<Ipv6Net>> = LazyLock::new(|| {
    networks(&[
        "2001::/23",         // protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",     // documentation
        "2002::/16",         // 6to4: an IPv4 address in disguise
        "2620:4f:8000::/48", // AS112
        "3fff::/20",         // documentation
    ])
});

fn networks<N: std::str::FromStr<Err: std::fmt::Debug>>(texts: &[&str]) -> Vec<N> {
    // Cannot fail: the texts are the constants above, and a test parses all of them.
    texts.iter().map(|text| text.parse().expect("a network")).collect()
}

impl TargetPolicy {
    /// Returns whether a connection to the address is allowed.
    ///
    /// Must be called for every *resolved* address, because a public name may resolve to a private address.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        self.allowed.iter().any(|network| network.contains(&address))
            || match address {
                IpAddr::V4(v4) => !NOT_PUBLIC_V4.iter().any(|network| network.contains(&v4)),
                IpAddr::V6(v6) => is_public_v6(v6),
            }
    }

    /// Returns whether a connection to the port is allowed.
    #[must_use]
    pub fn permits_port(&self, port: u16) -> bool {
        self.permitted_ports().iter().any(|range| range.contains(port))
    }

    fn permitted_ports(&self) -> Vec<PortRange> {
        let http = HTTP_PORTS.iter().filter(|_| self.allow_http);
        match self.ports.as_slice() {
            [] => TLS_PORTS.iter().chain(http).map(|port| PortRange::one(*port)).collect(),
            named => named.to_vec(),
        }
    }

    /// Returns the private suffix of a host name, unless policy allows a network that the name may lead to: loopback,
    /// or another network that is not public.
    fn local_name(&self, host: &str) -> Option<&'static str> {
        let host = host.trim_end_matches('.');
        let below = |name: &str| host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        if below(LOOPBACK_NAME) && !loopback.into_iter().any(|address| self.permits(address)) {
            return Some(LOOPBACK_NAME);
        }
        PRIVATE_NAMES.into_iter().find(|name| below(name)).filter(|_| self.allowed.is_empty())
    }

    /// Parses a URL for deliveries.
    ///
    /// A literal address is checked at once, and so is a name that can only be private. Other names are checked
    /// whenever they are resolved.
    ///
    /// # Errors
    ///
    /// If the text is not a URL, or policy forbids the URL.
    pub fn parse(&self, text: &str) -> Result<Url, TargetError> {
        if text.len() > MAX_URL_BYTES {
            return Err(TargetError::TooLong);
        }
        let url = Url::parse(text).map_err(|error| TargetError::Malformed(error.to_string()))?;
        // `Url` repairs invalid URLs (`https:example.com`, leading spaces). Refuse them, because the intended URL would
        // be a guess.
        let as_written = text.get(..url.scheme().len() + 3).unwrap_or_default();
        let accepted = url.scheme() == "https" || (url.scheme() == "http" && self.allow_http);
        if !accepted || !as_written.eq_ignore_ascii_case(&format!("{}://", url.scheme())) {
            let expected = if self.allow_http { "https:// or http://" } else { "https://" };
            return Err(TargetError::Scheme { expected });
        }
        // Tabs, `\` instead of `/`, a trailing space and a third slash are repaired too. Parsers disagree about these:
        // what one takes for the host is part of the path for another.
        if text.contains(|c: char| c.is_control() || c == '\\') || text.ends_with(' ') {
            let detail =
                "it must not contain control characters or backslashes, nor end with a space; write %20 or %5C instead";
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
        let port = url.port_or_known_default().unwrap_or_default();
        if self.own.iter().any(|own| own.is(url.host_str().unwrap_or_default(), port, url.path())) {
            return Err(TargetError::Own);
        }
        let address = match url.host() {
            Some(Host::Domain(name)) => {
                // `Url` allows empty labels, but no host name has them.
                if name.strip_suffix('.').unwrap_or(name).split('.').any(str::is_empty) {
                    return Err(TargetError::Malformed("empty label in the host".to_owned()));
                }
                if let Some(local) = self.local_name(name) {
                    return Err(TargetError::LocalName(local));
                }
                None
            }
            Some(Host::Ipv4(v4)) => Some(v4.into()),
            Some(Host::Ipv6(v6)) => Some(v6.into()),
            None => return Err(TargetError::Malformed("empty host".to_owned())),
        };
        if address.is_some_and(|address| !self.permits(address)) {
            return Err(TargetError::Forbidden);
        }
        let port = url.port_or_known_default().unwrap_or_default();
        if !self.permits_port(port) {
            let allowed: Vec<_> = self.permitted_ports().iter().map(PortRange::to_string).collect();
            return Err(TargetError::Port { port, allowed: allowed.join(", ") });
        }
        Ok(url)
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let within = |networks: &[Ipv6Net]| networks.iter().any(|network| network.contains(&address));
    within(&GLOBAL_UNICAST) && !within(&NOT_PUBLIC_V6)
}

#[cfg(test)]
mod tests;
