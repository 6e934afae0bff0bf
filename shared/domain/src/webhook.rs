//! A webhook: a registration that says which events are sent where, or which calls are received.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::tenant::{AppId, TenantId};
use crate::id::WebhookId;
use crate::matching::subscription::Subscription;
use authorization::Authorization;
use notice::Notice;

pub mod arrivals;
pub mod authorization;
mod check;
pub mod encoding;
pub mod explain;
mod headers;
pub mod hours;
mod keys;
pub mod latency;
pub mod limits;
pub mod notice;
pub mod ordering;
pub mod sample;
mod secret;
pub mod settings;
mod signing;
pub mod statistics;
pub mod tags;
pub mod unknown;

pub use secret::{PreviousSecret, SecretReference, SecretsPrefixes, SecretsTable};

use ordering::Ordering;
use settings::{Direction, Settings};

/// The version of the resource's serialized form. Increased when code for the old form could not read the new one.
pub const SCHEMA_VERSION: u32 = 1;

/// A webhook: which events are sent where, or which calls are received.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhook {
    /// The webhook's id.
    pub id: WebhookId,
    /// Its tenant.
    pub tenant: TenantId,
    /// The application that registered it, if any.
    pub app: Option<AppId>,
    /// Everything that its owner can set.
    pub settings: Settings,
    /// Which secret signs, and where it is stored.
    pub secret: SecretReference,
    /// How its requests are authorized, in addition to the signature.
    pub authorization: Option<Authorization>,
    /// Set if it is a notice, which tells people.
    pub notice: Option<Notice>,
    /// Set while its deliveries wait.
    pub pause: Option<Pause>,
    /// Who did what to it, and when.
    pub audit: Audit,
}

/// Why deliveries wait, in the words of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PauseReason {
    /// An admin or an application paused it.
    Manual,
    /// Too many failures paused it.
    Failures,
}

/// Why deliveries wait, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when.
    pub at: Timestamp,
    /// Whether it was paused after too many failures rather than by a user.
    pub by_failures: bool,
}

/// Who changed it, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// The number of writes; the first is 1.
    pub version: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// The subject of the token that created it.
    pub created_by: String,
    /// When it was last written.
    pub updated_at: Timestamp,
    /// The subject of the token that wrote it last.
    pub updated_by: String,
    /// When it was deleted, if it is.
    pub deleted_at: Option<Timestamp>,
    /// The subject of the token that deleted it.
    pub deleted_by: Option<String>,
}

impl Audit {
    /// Returns the entry of a newly created webhook.
    #[must_use]
    pub fn created(at: Timestamp, by: &str) -> Self {
        Self {
            version: 1,
            created_at: at,
            created_by: by.to_owned(),
            updated_at: at,
            updated_by: by.to_owned(),
            deleted_at: None,
            deleted_by: None,
        }
    }
}

/// The state in SuperOffice's terms and numbers. Derived, never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookState {
    /// 1: events are sent.
    Active = 1,
    /// 2: disabled or paused by a user.
    Stopped = 2,
    /// 3: paused after too many failures.
    TooManyErrors = 3,
}

impl Pause {
    /// Returns why deliveries wait.
    #[must_use]
    pub fn reason(self) -> PauseReason {
        if self.by_failures { PauseReason::Failures } else { PauseReason::Manual }
    }
}

impl Webhook {
    /// Returns whether it is deleted.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.audit.deleted_at.is_some()
    }

    /// Returns whether it receives events: it is enabled and not deleted. The events of a paused webhook wait.
    #[must_use]
    pub fn wants_events(&self) -> bool {
        self.settings.enabled && !self.is_deleted()
    }

    /// Returns whether its events are sent at once: it is enabled, not paused and not deleted.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.wants_events() && self.pause.is_none()
    }

    /// Returns the state in SuperOffice's terms.
    #[must_use]
    pub fn state(&self) -> WebhookState {
        match self.pause {
            _ if self.is_active() => WebhookState::Active,
            Some(Pause { by_failures: true, .. }) if self.settings.enabled => WebhookState::TooManyErrors,
            _ => WebhookState::Stopped,
        }
    }

    /// Records a write. Must be called once per write.
    pub fn touch(&mut self, at: Timestamp, by: &str) {
        self.audit.version += 1;
        self.audit.updated_at = at;
        by.clone_into(&mut self.audit.updated_by);
    }

    /// Marks it as deleted.
    pub fn delete(&mut self, at: Timestamp, by: &str) {
        self.touch(at, by);
        self.audit.deleted_at = Some(at);
        self.audit.deleted_by = Some(by.to_owned());
    }

    /// Undoes the deletion.
    pub fn restore(&mut self, at: Timestamp, by: &str) {
        self.touch(at, by);
        self.audit.deleted_at = None;
        self.audit.deleted_by = None;
    }

    /// Returns what fan-out needs to know of it, or `None` if it wants no events.
    #[must_use]
    pub fn subscription(&self) -> Option<Subscription> {
        let outbound = self.settings.direction == Direction::Outbound;
        let is_read = self.notice.as_ref().is_none_or(Notice::reaches_people);
        (outbound && is_read && self.wants_events()).then(|| self.wishes())
    }

    /// Returns the events it subscribes to, whether or not it receives them now.
    fn wishes(&self) -> Subscription {
        let settings = &self.settings;
        Subscription {
            webhook: self.id,
            app: self.app.clone(),
            event_types: settings.event_types.clone(),
            sources: settings.sources.clone(),
            collections: settings.collections.clone(),
            operations: settings.operations.clone(),
            applications: settings.applications.clone(),
            changed: settings.changed.clone(),
            transitions: settings.transitions.clone(),
            filter: settings.filter.clone(),
            rendering: settings.rendering(),
            ordered: settings.ordering == Ordering::Entity,
            notice: self.notice.is_some(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rstest::rstest;

    use super::*;
    use crate::signing::secret::SecretFormat;
    use crate::signing::secret::tests::fingerprint;

    pub(crate) fn webhook() -> Webhook {
        let at = "2026-11-21T10:00:00Z".parse().unwrap();
        Webhook {
            id: WebhookId::from_parts(at, 1),
            tenant: "acme".parse().unwrap(),
            app: None,
            settings: settings::tests::settings(),
            secret: SecretReference {
                vault_path: "/local/webhooks/acme/whk_1".to_owned(),
                fingerprint: fingerprint(1),
                format: SecretFormat::Whsec,
                previous: None,
                rotation: None,
            },
            authorization: None,
            notice: None,
            pause: None,
            audit: Audit::created(at, "anna"),
        }
    }

    #[rstest]
    #[case::active(true, None, false, WebhookState::Active)]
    #[case::disabled(false, None, false, WebhookState::Stopped)]
    #[case::paused(true, Some(false), false, WebhookState::Stopped)]
    #[case::paused_by_failures(true, Some(true), false, WebhookState::TooManyErrors)]
    #[case::disabled_and_paused(false, Some(true), false, WebhookState::Stopped)]
    #[case::deleted(true, None, true, WebhookState::Stopped)]
    fn states(
        #[case] enabled: bool,
        #[case] by_failures: Option<bool>,
        #[case] deleted: bool,
        #[case] state: WebhookState,
    ) {
        let mut webhook = webhook();
        let now = webhook.audit.created_at;
        webhook.settings.enabled = enabled;
        webhook.pause = by_failures.map(|by_failures| Pause { at: now, by_failures });
        if deleted {
            webhook.delete(now, "anna");
        }
        assert_eq!(webhook.state(), state);
        assert_eq!(webhook.is_active(), state == WebhookState::Active);
        // Events for a paused webhook are kept for it.
        assert_eq!(webhook.subscription().is_some(), enabled && !deleted);
    }

    #[test]
    fn an_inbound_webhook_is_sent_nothing() {
        let mut webhook = webhook();
        webhook.settings.direction = Direction::Inbound;
        assert_eq!(webhook.subscription(), None);
    }
}
