//! What a delivery must be like to be listed.

use domain::attempt::outcome::Verdict;
use domain::delivery::{Delivery, State};
use domain::event::pattern::EventPattern;
use domain::id::EventId;
use serde::de::value::StringDeserializer;
use serde::{Deserialize, Deserializer};

use crate::events::EntityPath;

/// What a delivery must be like to be listed.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    pub(super) state: Option<OneOf<State>>,
    pub(super) verdict: Option<OneOf<Verdict>>,
    pub(super) status: Option<OneOf<Statuses>>,
    pub(super) event_type: Option<EventPattern>,
    pub(super) event_id: Option<EventId>,
    pub(super) entity: Option<EntityPath>,
}

impl Conditions {
    /// Returns whether a delivery meets all of them.
    pub(crate) fn are_met_by(&self, delivery: &Delivery) -> bool {
        let last = delivery.attempts.last().map(|attempt| &attempt.outcome);
        let status = last.and_then(|outcome| outcome.status);
        self.state.as_ref().is_none_or(|wanted| wanted.0.contains(&delivery.progress.state))
            && self.verdict.as_ref().is_none_or(|wanted| last.is_some_and(|last| wanted.0.contains(&last.verdict)))
            && self.status.as_ref().is_none_or(|wanted| {
                status.is_some_and(|status| wanted.0.iter().any(|statuses| statuses.include(status)))
            })
            && self.event_type.as_ref().is_none_or(|pattern| pattern.asks_for(&delivery.event_type))
            && self.event_id.is_none_or(|event| event == delivery.event)
            && self.entity.as_ref().is_none_or(|entity| Some(&entity.0) == delivery.entity_path.as_ref())
    }
}

/// A list of values, separated by commas. It matches each of them.
#[derive(Debug)]
pub(crate) struct OneOf<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOf<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let values = text.split(',').map(|word| T::deserialize(StringDeserializer::<D::Error>::new(word.to_owned())));
        Ok(Self(values.collect::<Result<_, _>>()?))
    }
}

/// A status, or a class of statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Statuses {
    One(u16),
    Class(u16),
}

impl Statuses {
    fn include(self, status: u16) -> bool {
        match self {
            Self::One(one) => one == status,
            Self::Class(class) => class == status / 100,
        }
    }
}

impl TryFrom<String> for Statuses {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let number = |digits: &str, length| {
            let is_number = digits.len() == length && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| is_number && !digits.starts_with('0'))
        };
        let found = match text.strip_suffix("xx") {
            Some(class) => number(class, 1).map(Self::Class),
            None => number(&text, 3).map(Self::One),
        };
        found.ok_or("must be a status such as 404 or a class such as 5xx, or several, separated by commas")
    }
}
