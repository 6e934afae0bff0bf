//! Ports that deliveries may go to.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A port or a range of ports: `443` or `1024-65535`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRange(RangeInclusive<u16>);

/// The text is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a port from 1 to 65535 such as 443, or a range such as 1024-65535")]
pub struct ParsePortRangeError;

impl PortRange {
    /// Returns a single port.
    #[must_use]
    pub const fn one(port: u16) -> Self {
        Self(port..=port)
    }

    /// Returns whether the range contains the port.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0.contains(&port)
    }
}

impl FromStr for PortRange {
    type Err = ParsePortRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|port| is_number && *port > 0).ok_or(ParsePortRangeError)
        };
        let range = port(first)?..=port(last)?;
        if range.is_empty() { Err(ParsePortRangeError) } else { Ok(Self(range)) }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.0.start(), self.0.end());
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::one("443", Some("443"))]
    #[case::range("1024-65535", Some("1024-65535"))]
    #[case::range_of_one("80-80", Some("80"))]
    #[case::zero("0", None)]
    #[case::from_zero("0-80", None)]
    #[case::too_high("65536", None)]
    #[case::backwards("90-80", None)]
    #[case::sign("+80", None)]
    #[case::open("80-", None)]
    #[case::two("80 443", None)]
    #[case::empty("", None)]
    fn reads(#[case] text: &str, #[case] written: Option<&str>) {
        assert_eq!(text.parse::<PortRange>().ok().map(|range| range.to_string()).as_deref(), written);
    }
}
