//! Reserved names: the sources of events that do not come from a table, and the types of events about webhooks,
//! deliveries and budgets.

use crate::access::tenant::AppId;
use crate::budget;
use crate::event::types::{EventType, Operation, SOFT_DELETED};
use crate::event::{Event, Removal};
use crate::value::Value;

/// The source of events about webhooks and deliveries.
pub const OPERATIONAL: &str = "dynahook";

/// The source of published events.
pub const PUBLISHED: &str = "published";

/// The type of the event that reports that deliveries of a webhook fail.
pub(crate) const FAILING: &str = "webhook.failing";

/// The type of the event that reports that they arrive again.
pub(crate) const RECOVERED: &str = "webhook.recovered";

/// The type of the event that reports an exhausted delivery.
pub(crate) const EXHAUSTED: &str = "delivery.exhausted";

/// The suffix of SuperOffice's name for a webhook's errors: `webhook<id>.errors`.
const ERRORS: &str = ".errors";

/// The prefix of that name, including the prefix of a webhook's id.
const ALIAS: &str = "webhookwhk_";

/// The types of operational events, without SuperOffice's names for them.
pub(crate) const TYPES: [&str; 8] = [
    FAILING,
    RECOVERED,
    "webhook.paused",
    "webhook.resumed",
    "webhook.disabled",
    "webhook.secret_rotated",
    EXHAUSTED,
    budget::EVENT_TYPE,
];

/// Returns whether the type is reserved for [operational](OPERATIONAL) events: those about webhooks, exhausted
/// deliveries and budgets. A receiver of `webhook.paused` can therefore rely on its origin.
#[must_use]
pub fn is_reserved(event_type: &EventType) -> bool {
    let text = event_type.as_str();
    text == "webhook" || text.starts_with("webhook.") || text == budget::EVENT_TYPE || is_about_exhaustion(text)
}

/// Returns whether the type is that of an exhausted delivery, by either name.
pub(crate) fn is_about_exhaustion(event_type: &str) -> bool {
    event_type == EXHAUSTED || (event_type.starts_with(ALIAS) && event_type.ends_with(ERRORS))
}

/// Returns SuperOffice's type for an event about a webhook's errors.
#[must_use]
pub fn alias(event: &Event) -> Option<EventType> {
    let data = &event.new.as_ref()?.properties;
    let is_error = match event.event_type.as_str() {
        EXHAUSTED => true,
        "webhook.paused" | "webhook.disabled" => data.get("by_failures") == Some(&Value::Bool(true)),
        _ => false,
    };
    let is_error = is_error && event.source == OPERATIONAL;
    is_error.then(|| format!("webhook{}{ERRORS}", about(event)?).parse().ok()).flatten()
}

/// Returns the id of the webhook that an operational event is about.
#[must_use]
pub fn about(event: &Event) -> Option<&str> {
    let data = &event.new.as_ref().filter(|_| event.source == OPERATIONAL)?.properties;
    data.get("webhook_id")?.as_text()
}

impl Event {
    /// Returns whether an application, or the tenant if `app` is `None`, may see the event. An application sees its own
    /// events and those of no application, except operational events about webhooks and deliveries that are not its
    /// own.
    #[must_use]
    pub fn is_visible_to(&self, app: Option<&AppId>) -> bool {
        let Some(app) = app else { return true };
        match &self.app {
            Some(own) => own == app,
            None => self.source != OPERATIONAL,
        }
    }

    /// Returns the types that the event has in addition to its own: the [other name](EventType::synonym) of its own
    /// type, `packet.status_changed` for each attribute that an update changed, sorted by name, and SuperOffice's name
    /// for the errors of a webhook.
    pub fn derived_types(&self) -> impl Iterator<Item = EventType> {
        self.derived_types_of(self.changed_attributes().into_iter())
    }

    /// Returns the same as [`derived_types`](Self::derived_types). `changed` are the [names of the attributes that
    /// changed](Self::changed_attributes).
    pub(crate) fn derived_types_of<'a>(
        &'a self,
        changed: impl Iterator<Item = &'a str>,
    ) -> impl Iterator<Item = EventType> {
        let soft_deleted = || self.event_type.with_last_word(SOFT_DELETED).filter(|_| self.is_soft_deletion());
        let synonym = self.event_type.synonym().or_else(soft_deleted);
        let updated =
            (self.operation == Operation::Updated).then(|| self.event_type.as_str().rsplit_once('.')).flatten();
        let changed = changed.filter_map(move |name| {
            let (entity, _) = updated?;
            EventType::try_from([entity, ".", name, "_changed"].concat()).ok()
        });
        synonym.into_iter().chain(changed).chain(alias(self))
    }

    /// Returns whether the event is a deletion that only marked the entity, and is named as a deletion.
    fn is_soft_deletion(&self) -> bool {
        self.removal == Some(Removal::Soft) && self.event_type.as_str().ends_with(".deleted")
    }
}
