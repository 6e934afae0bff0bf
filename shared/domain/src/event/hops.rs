//! Hops: the number of deliveries that led to an event. They stop events from looping.
//!
//! An event made by a table's change, or published without the header, has none. Every delivery has the header
//! [`HEADER`] with its number of hops, including itself. A receiver that creates an event from a delivery and passes
//! the header on gives the event this number: inbound webhooks and `POST /events` read it. An event with [`MAX_HOPS`]
//! hops is stored and shown, but not delivered.
//!
//! A relay that drops the header restarts the count. Such loops are bounded by the rate of each inbound webhook and the
//! tenant's budgets.

use serde::{Deserialize, Serialize};

/// The largest number of consecutive deliveries.
pub const MAX_HOPS: u8 = 5;

/// The header of a delivery, and of a request that creates an event from it.
pub const HEADER: &str = "webhook-hops";

/// The number of deliveries that led to an event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hops(u8);

/// Why a request is refused because of the header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HopsError {
    /// The event is in a loop.
    #[error(
        "{HEADER} is {0}: the event has been delivered and published more than {MAX_HOPS} times in a row, which is a loop; remove one of \
         the webhooks that lead to each other"
    )]
    TooMany(u64),
    /// The header is not a number, or occurs more than once.
    #[error("{HEADER} must be one whole number from 0 to {MAX_HOPS}, as the delivery brought it")]
    Unreadable,
}

impl Hops {
    /// No delivery led to the event.
    pub const NONE: Self = Self(0);

    /// Returns whether no delivery led to it. The number is then left out of messages, rows and events.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0 == 0
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Returns the number for a delivery of the event, or `None` if it has had [`MAX_HOPS`] and must not be delivered.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        (self.0 < MAX_HOPS).then(|| Self(self.0 + 1))
    }

    /// Reads the header values of a request. Without the header there were no hops.
    ///
    /// # Errors
    ///
    /// If there are too many hops, or the header is not one number.
    pub fn read<'a>(mut values: impl Iterator<Item = Option<&'a str>>) -> Result<Self, HopsError> {
        let Some(first) = values.next() else { return Ok(Self::NONE) };
        let text =
            first.map(str::trim).filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
        let (Some(text), None) = (text, values.next()) else { return Err(HopsError::Unreadable) };
        // A number with too many digits is too large in any case.
        let count = text.parse().unwrap_or(u64::MAX);
        match u8::try_from(count) {
            Ok(hops) if hops <= MAX_HOPS => Ok(Self(hops)),
            Ok(_) | Err(_) => Err(HopsError::TooMany(count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::none(&[], Ok(0))]
    #[case::zero(&[Some("0")], Ok(0))]
    #[case::some(&[Some(" 3 ")], Ok(3))]
    #[case::the_last(&[Some("5")], Ok(5))]
    #[case::too_many(&[Some("6")], Err(HopsError::TooMany(6)))]
    #[case::more_than_a_byte(&[Some("256")], Err(HopsError::TooMany(256)))]
    #[case::more_than_a_number(&[Some("99999999999999999999999")], Err(HopsError::TooMany(u64::MAX)))]
    #[case::negative(&[Some("-1")], Err(HopsError::Unreadable))]
    #[case::signed(&[Some("+1")], Err(HopsError::Unreadable))]
    #[case::empty(&[Some("")], Err(HopsError::Unreadable))]
    #[case::a_word(&[Some("one")], Err(HopsError::Unreadable))]
    #[case::joined(&[Some("0, 5")], Err(HopsError::Unreadable))]
    #[case::twice(&[Some("0"), Some("5")], Err(HopsError::Unreadable))]
    #[case::not_text(&[None], Err(HopsError::Unreadable))]
    fn reads_the_header(#[case] values: &[Option<&str>], #[case] read: Result<u8, HopsError>) {
        assert_eq!(Hops::read(values.iter().copied()).map(Hops::get), read);
    }

    #[test]
    fn a_loop_ends_after_the_limit() {
        let (mut event, mut deliveries) = (Hops::NONE, 0);
        while let Some(delivered) = event.next() {
            deliveries += 1;
            event = Hops::read(std::iter::once(Some(delivered.get().to_string().as_str()))).unwrap();
        }
        assert_eq!(deliveries, MAX_HOPS);
    }

    #[test]
    fn events_of_earlier_versions_have_no_hops() {
        #[derive(Serialize, Deserialize)]
        struct Item {
            #[serde(default, skip_serializing_if = "Hops::is_none")]
            hops: Hops,
        }
        assert_eq!(serde_json::from_str::<Item>("{}").unwrap().hops, Hops::NONE);
        assert_eq!(serde_json::to_string(&Item { hops: Hops::NONE }).unwrap(), "{}");
        assert_eq!(serde_json::to_string(&Item { hops: Hops(2) }).unwrap(), r#"{"hops":2}"#);
    }
}
