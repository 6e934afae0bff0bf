//! Calls and events that come again: known by a marker in the Events table before anything is counted or written.

use crate::id::EventId;

/// What is kept of a call, or of an event with its caller's own id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// The event that it became; `None` if it became none.
    pub event: Option<EventId>,
    /// What the call said of its type in a header that is not signed.
    pub said: Option<String>,
}

/// What becomes of a call whose signed bytes came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It is the event that it became then. Nothing is written or counted.
    Published(EventId),
    /// It became no event then, and may become one now.
    Unpublished,
    /// It became no event then, and says something else of its type now, which is refused.
    SaidOtherwise,
}

impl Earlier {
    /// Says what becomes of the same signed bytes with a header that says `said`. The transaction that publishes a call
    /// has the same rule as its condition, for copies that come at the same time.
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
