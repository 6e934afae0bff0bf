//! Networks in CIDR notation.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::Serialize;

/// A network, in CIDR notation. A single address is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

/// The text is neither an address nor a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an address such as 203.0.113.7 or a network such as 203.0.113.0/28")]
pub struct ParseNetworkError;

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(|network| Self(network.trunc())).map_err(|_| ParseNetworkError)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::address("203.0.113.7", Some("203.0.113.7/32"))]
    #[case::network("203.0.113.0/28", Some("203.0.113.0/28"))]
    #[case::address_in_a_network("203.0.113.7/28", Some("203.0.113.0/28"))]
    #[case::ipv6("2001:db8::7", Some("2001:db8::7/128"))]
    #[case::ipv6_network("2001:db8::/56", Some("2001:db8::/56"))]
    #[case::no_octet("300.0.113.7", None)]
    #[case::too_long("203.0.113.7/33", None)]
    #[case::two("203.0.113.7,203.0.113.8", None)]
    #[case::empty("", None)]
    fn reads_addresses_and_networks(#[case] text: &str, #[case] network: Option<&str>) {
        assert_eq!(text.parse::<Network>().ok().map(|network| network.to_string()).as_deref(), network);
    }
}
