//! Explains why a webhook receives an event or not.

use super::Webhook;
use super::settings::Direction;
use crate::event::Event;
use crate::event::types::EventType;
use crate::matching::subscription::ConditionResult;

/// Whether a webhook receives an event, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Whether it does.
    pub wants: bool,
    /// The type under which it receives the event: the event's own, or one derived from it.
    pub event_type: Option<EventType>,
    /// Each condition. The webhook receives the event if all hold.
    pub conditions: Vec<ConditionResult>,
}

impl Webhook {
    /// Explains whether the webhook, with its current settings, receives the event.
    #[must_use]
    pub fn explain(&self, event: &Event) -> Explanation {
        let wishes = self.wishes();
        let mut conditions = self.states();
        conditions.extend(wishes.explain(event));
        let wants = conditions.iter().all(|verdict| verdict.holds);
        Explanation { wants, event_type: wants.then(|| wishes.type_for(event)).flatten(), conditions }
    }

    /// The conditions that concern the webhook alone and not the event.
    fn states(&self) -> Vec<ConditionResult> {
        let states = [
            (
                self.settings.direction == Direction::Inbound,
                "direction",
                false,
                "inbound webhooks receive no deliveries",
            ),
            (!self.settings.enabled, "enabled", false, "the webhook is disabled and receives no events"),
            (self.is_deleted(), "is_deleted", false, "the webhook is deleted and receives no events"),
            // A pause does not make the webhook miss the event.
            (self.pause.is_some(), "paused_at", true, "the webhook is paused; the delivery waits until it is resumed"),
        ];
        let said = states.into_iter().filter(|(said, ..)| *said);
        let verdict = |(_, condition, holds, detail): (bool, &str, bool, &str)| ConditionResult {
            condition: condition.to_owned(),
            holds,
            detail: detail.to_owned(),
        };
        said.map(verdict).collect()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rstest::rstest;

    use super::super::Pause;
    use super::super::tests::webhook;
    use super::*;
    use crate::id::EventId;
    use crate::webhook::sample::Sample;

    #[rstest]
    #[case::as_it_is(|_: &mut Webhook| (), true, "event_types")]
    #[case::disabled(|webhook: &mut Webhook| webhook.settings.enabled = false, false, "enabled")]
    #[case::inbound(|webhook: &mut Webhook| webhook.settings.direction = Direction::Inbound, false, "direction")]
    #[case::deleted(|webhook: &mut Webhook| webhook.delete(Timestamp::UNIX_EPOCH, "anna"), false, "is_deleted")]
    #[case::paused(
        |webhook: &mut Webhook| webhook.pause = Some(Pause { at: Timestamp::UNIX_EPOCH, by_failures: true }),
        true, "paused_at"
    )]
    #[case::another_type(
        |webhook: &mut Webhook| webhook.settings.event_types = vec!["other.created".parse().unwrap()], false, "event_types"
    )]
    fn says_what_fan_out_does(#[case] change: fn(&mut Webhook), #[case] wants: bool, #[case] condition: &str) {
        let mut webhook = webhook();
        let id = EventId::from_parts(Timestamp::UNIX_EPOCH, 1);
        let event = Sample::default().event(id, webhook.tenant.clone(), &webhook.settings, Timestamp::UNIX_EPOCH);
        change(&mut webhook);
        let explanation = webhook.explain(&event);
        assert_eq!(explanation.wants, wants, "{explanation:?}");
        assert_eq!(explanation.wants, webhook.subscription().is_some_and(|wishes| wishes.wants(&event)));
        assert_eq!(explanation.event_type.is_some(), wants);
        assert_eq!((explanation.conditions[0].condition.as_str(), explanation.conditions[0].holds), (condition, wants));
    }
}
