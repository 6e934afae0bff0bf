//! Patterns of event types.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::types::EventType;

/// An event type, or a group of types: `packet.created`, `packet.*`, `*.deleted` or `*`.
///
/// The star matches one or more words, at one end only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct EventPattern(String);

/// The text is neither an event type nor a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an event type such as packet.created (words of letters, digits, _ and -, joined by dots, at most 128 characters), or \
     packet.*, *.deleted or *: a star may be alone, or replace the first or the last words"
)]
pub struct ParseEventPatternError;

impl EventPattern {
    /// Returns the pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads free text: a pattern, or the words that Serial's users write, of which the last one says what happened.
    /// `Process Updated` is `process.updated`, and `Process Revision Updated` is `process_revision.updated`.
    ///
    /// # Errors
    ///
    /// If the text is neither a pattern nor such words.
    pub fn from_words(text: &str) -> Result<Self, ParseEventPatternError> {
        let words: Vec<_> = text.split_whitespace().map(str::to_ascii_lowercase).collect();
        match words.as_slice() {
            [entity @ .., last] if !entity.is_empty() => {
                format!("{}.{last}", entity.join("_")).parse::<EventType>().map_or(
                    Err(ParseEventPatternError),
                    |found| {
                        // A dot within the words would make another entity of them.
                        if found.as_str().matches('.').count() == 1 {
                            Ok(found.into())
                        } else {
                            Err(ParseEventPatternError)
                        }
                    },
                )
            }
            _ => text.parse(),
        }
    }

    /// Returns the type if the pattern matches only one.
    #[must_use]
    pub fn exact(&self) -> Option<EventType> {
        self.0.parse().ok()
    }

    /// Returns whether the pattern matches the type.
    #[must_use]
    pub fn matches(&self, event_type: &EventType) -> bool {
        let text = event_type.as_str();
        match (self.0.strip_prefix('*'), self.0.strip_suffix('*')) {
            (Some(""), _) => true,
            (Some(last), _) => text.len() > last.len() && text.ends_with(last),
            (None, Some(first)) => text.len() > first.len() && text.starts_with(first),
            (None, None) => text == self.0,
        }
    }

    /// Returns whether the pattern matches the type by any of its names: `person.updated` asks for `person.changed` too.
    #[must_use]
    pub fn asks_for(&self, event_type: &EventType) -> bool {
        self.matches(event_type) || event_type.synonym().is_some_and(|name| self.matches(&name))
    }

    /// Returns the texts of all patterns that match the type.
    pub fn texts_matching(event_type: &EventType) -> impl Iterator<Item = Cow<'_, str>> {
        let text = event_type.as_str();
        let dots = || text.match_indices('.').map(|(at, _)| at);
        let firsts = dots().map(|at| [&text[..=at], "*"].concat().into());
        let lasts = dots().map(|at| ["*", &text[at..]].concat().into());
        [text.into(), "*".into()].into_iter().chain(firsts).chain(lasts)
    }
}

impl FromStr for EventPattern {
    type Err = ParseEventPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for EventPattern {
    type Error = ParseEventPatternError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // If the star is replaced by a word, the result must be an event type.
        let words = text.strip_prefix("*.").or_else(|| text.strip_suffix(".*")).unwrap_or(&text);
        if text == "*" || (text.len() <= 128 && EventType::try_from(words.to_owned()).is_ok()) {
            Ok(Self(text))
        } else {
            Err(ParseEventPatternError)
        }
    }
}

impl From<EventPattern> for String {
    fn from(pattern: EventPattern) -> Self {
        pattern.0
    }
}

impl From<EventType> for EventPattern {
    fn from(event_type: EventType) -> Self {
        Self(event_type.into())
    }
}

impl fmt::Display for EventPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::everything("*", "packet.created", true)]
    #[case::exact("packet.created", "packet.created", true)]
    #[case::other("packet.created", "packet.deleted", false)]
    #[case::entity("packet.*", "packet.created", true)]
    #[case::more_words("packet.*", "packet.comment.created", true)]
    #[case::longer_word("packet.*", "packets.created", false)]
    #[case::no_word_for_the_star("packet.*", "packet", false)]
    #[case::operation("*.deleted", "packet.comment.deleted", true)]
    #[case::longer_operation("*.deleted", "packet.undeleted", false)]
    #[case::no_word_before("*.deleted", "deleted", false)]
    fn says_what_it_asks_for(#[case] pattern: &str, #[case] event_type: &str, #[case] matches: bool) {
        let (pattern, event_type): (EventPattern, EventType) = (pattern.parse().unwrap(), event_type.parse().unwrap());
        assert_eq!(pattern.matches(&event_type), matches);
    }

    #[rstest]
    #[case::type_("process.updated", Some("process.updated"))]
    #[case::pattern("process.*", Some("process.*"))]
    #[case::one_word("Updated", Some("Updated"))]
    #[case::words("Process Updated", Some("process.updated"))]
    #[case::more_words(" Process  Revision updated", Some("process_revision.updated"))]
    #[case::dot("Process. Updated", None)]
    #[case::comma("process.updated, process.deleted", None)]
    #[case::empty("", None)]
    #[case::other_letters("Prozess geändert", None)]
    fn free_text_names_a_type(#[case] text: &str, #[case] pattern: Option<&str>) {
        assert_eq!(EventPattern::from_words(text).ok(), pattern.map(|text| text.parse().unwrap()));
    }

    #[rstest]
    #[case::same_name("person.changed", "person.changed", true)]
    #[case::other_name("person.changed", "person.updated", true)]
    #[case::the_reverse("person.updated", "person.changed", true)]
    #[case::group("*.changed", "person.updated", true)]
    #[case::soft_deletion("person.deleted", "person.softdeleted", true)]
    #[case::deletion("person.softdeleted", "person.deleted", false)]
    #[case::other_entity("contact.changed", "person.updated", false)]
    fn asks_for_a_type_by_either_name(#[case] pattern: &str, #[case] event_type: &str, #[case] asks: bool) {
        let (pattern, event_type): (EventPattern, EventType) = (pattern.parse().unwrap(), event_type.parse().unwrap());
        assert_eq!(pattern.asks_for(&event_type), asks);
    }

    #[rstest]
    #[case::empty("")]
    #[case::in_a_word("pack*")]
    #[case::two_stars("*.*")]
    #[case::both_ends("*.packet.*")]
    #[case::in_the_middle("packet.*.created")]
    #[case::empty_word("packet..*")]
    #[case::no_word("*.")]
    #[case::space("packet .*")]
    fn refuses(#[case] text: &str) {
        assert!(text.parse::<EventPattern>().is_err());
    }

    proptest! {
        #[test]
        fn a_type_lists_exactly_the_patterns_that_match_it(event_type in "[a-c]{1,2}(\\.[a-c]{1,2}){0,3}", pattern in "(\\*|(\\*\\.)?[a-c]{1,2}(\\.[a-c]{1,2}){0,3}(\\.\\*)?)") {
            if let Ok(pattern) = pattern.parse::<EventPattern>() {
                let event_type = event_type.parse().unwrap();
                let listed = EventPattern::texts_matching(&event_type).any(|text| text == pattern.as_str());
                prop_assert_eq!(listed, pattern.matches(&event_type));
            }
        }
    }
}
