//! Deduplication of inbound calls and published events, by a marker in the Events table that is read before anything is
//! counted or written.

use crate::id::EventId;

/// The marker of a call, or of an event with an id of its caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// The event that it became, if any.
    pub event: Option<EventId>,
    /// The type that the call claimed in an unsigned header.
    pub said: Option<String>,
}

/// How to handle a call whose signed bytes were received before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It became this event. Nothing is written or counted.
    Published(EventId),
    /// It became no event, and may become one now.
    Unpublished,
    /// It became no event, and now claims a different type, which is refused.
    SaidOtherwise,
}

impl Earlier {
    /// Decides how to handle the same signed bytes with a header that claims `said`. The transaction that publishes a
    /// call has the same rule as its condition, for copies that arrive at the same time.
    #[must_use]
    pub fn again(&self, said: Option<&str>) -> Again {
        match self.event {
            Some(event) => Again::Published(event),
            None if said.is_some() && said == self.said.as_deref() => Again::Unpublished,
            None => Again::SaidOtherwise,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::published(true, Some("issues"), Some("issues"), "published")]
    #[case::published_under_another_header(true, Some("issues"), Some("watch"), "published")]
    #[case::published_without_a_header(true, None, None, "published")]
    #[case::noted(false, Some("issues"), Some("issues"), "unpublished")]
    #[case::noted_under_another_header(false, Some("issues"), Some("watch"), "said otherwise")]
    #[case::noted_and_without_a_header_now(false, Some("issues"), None, "said otherwise")]
    fn the_first_call_decides(
        #[case] published: bool,
        #[case] first: Option<&str>,
        #[case] second: Option<&str>,
        #[case] expected: &str,
    ) {
        let event = EventId::from_parts(Timestamp::UNIX_EPOCH, 1);
        let earlier = Earlier { event: published.then_some(event), said: first.map(str::to_owned) };
        let expected = match expected {
            "published" => Again::Published(event),
            "unpublished" => Again::Unpublished,
            _ => Again::SaidOtherwise,
        };
        assert_eq!(earlier.again(second), expected);
    }
}
