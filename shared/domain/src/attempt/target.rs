//! Where a delivery may go: which URLs, and which addresses behind their names.

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
pub const MAX_URL_BYTES: usize = 2048;

/// What the operator allows beyond the public internet over TLS: nothing, unless told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetPolicy {
    /// Networks that may be called although they are not public.
    pub allowed: Vec<IpNet>,
    /// Whether `http:` is accepted beside `https:`.
    pub allow_http: bool,
    /// The ports that may be called: if none is named, 443 and 8443, and with `http:` 80 and 8080 too.
    pub ports: Vec<PortRange>,
    /// Where this deployment answers itself: never a target.
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
    /// A name or password in the URL: it would be a secret in a table.
    #[error("must not contain a user name or a password; use a header instead")]
    Credentials,
    /// A fragment is never sent.
    #[error("must not contain a fragment (#…)")]
    Fragment,
    /// A port that policy does not allow.
    #[error("must use one of the ports that this deployment allows ({allowed}), not {port}")]
    Port {
        /// The one it uses.
        port: u16,
        /// What is allowed.
        allowed: String,
    },
    /// A literal address that policy forbids.
    #[error("must not name a private, local or reserved address")]
    Forbidden,
    /// A name that can lead nowhere else.
    #[error("must not name a host of a private network ({0}): use a name of the public internet")]
    LocalName(&'static str),
    /// This deployment.
    #[error(
        "must not lead back to this deployment, or deliveries would go round in a circle; events reach every webhook of the tenant that \
         names their types"
    )]
    Own,
}

/// The ports of the defaults, and those that come with plain HTTP.
const TLS_PORTS: [u16; 2] = [443, 8443];
const HTTP_PORTS: [u16; 2] = [80, 8080];

/// The name that leads to this machine, by [RFC 6761](https://www.rfc-editor.org/rfc/rfc6761#section-6.3).
const LOOPBACK_NAME: &str = "localhost";

/// Names of private networks: reserved for them by ICANN, RFC 6762 and RFC 8375. `metadata.google.internal` is one.
const PRIVATE_NAMES: [&str; 3] = ["internal", "local", "home.arpa"];

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
        "192.31.196.0/24", // AS112: answered by whoever is near
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

/// All of IPv6 that is routed: everything else (loopback, mapped and translated IPv4, local, multicast) is refused. What is translated
/// (`64:ff9b::/96`) is refused around public addresses too: they have a spelling that says where it goes.
static GLOBAL_UNICAST: LazyLock<Vec<Ipv6Net>> = LazyLock::new(|| networks(&["2000::/3"]));

/// What is special within it, by the [IANA special-purpose registry][1].
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

    /// Says whether a connection to the port is allowed.
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

    /// Returns which private name the host is below, unless policy lets it lead somewhere: to loopback, or to a network that is
    /// allowed though it is not public.
    fn local_name(&self, host: &str) -> Option<&'static str> {
        let host = host.trim_end_matches('.');
        let below = |name: &str| host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        if below(LOOPBACK_NAME) && !loopback.into_iter().any(|address| self.permits(address)) {
            return Some(LOOPBACK_NAME);
        }
        PRIVATE_NAMES.into_iter().find(|name| below(name)).filter(|_| self.allowed.is_empty())
    }

    /// Reads a URL that deliveries are to be sent to.
    ///
    /// A literal address is checked at once, and so is a name that can only be private; any other name is checked whenever it is
    /// resolved.
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
        // Nor are tabs, `\` for `/`, a space at the end, or a third slash what was meant: parsers disagree, and what one of them takes
        // for the host is another one's path.
        if text.contains(|c: char| c.is_control() || c == '\\') || text.ends_with(' ') {
            let detail =
                "a control character, a backslash or a space at its end stands in it; write %20 or %5C if it is meant";
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
        if self.own.iter().any(|own| own.is(url.host_str().unwrap_or_default(), url.path())) {
            return Err(TargetError::Own);
        }
        let address = match url.host() {
            Some(Host::Domain(name)) => {
                // `Url` allows them; no name has them.
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
