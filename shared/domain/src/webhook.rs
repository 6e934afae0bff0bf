//! A registration: where to send which events.

use jiff::Timestamp;

use crate::event::EventType;
use crate::id::WebhookId;
use crate::matcher::Subscription;
use crate::retry::RetryPolicy;
use crate::secret::Fingerprint;
use crate::signature::SignatureScheme;
use crate::tenant::{AppId, TenantId};

/// The longest name, in characters.
pub const MAX_NAME_CHARACTERS: usize = 400;

/// How many event types a webhook may name.
pub const MAX_EVENT_TYPES: usize = 100;

/// A registration: where to send which events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The application that registered it, if one did.
    pub app: Option<AppId>,
    /// What people call it.
    pub name: String,
    /// Where deliveries go. Checked when it was written, and again by every attempt.
    pub url: String,
    /// Which events it wants.
    pub event_types: Vec<EventType>,
    /// How its deliveries are signed.
    pub signature_scheme: SignatureScheme,
    /// Where in Secrets Manager its secret lives.
    pub vault_path: String,
    /// Which secret lives there.
    pub secret_fingerprint: Fingerprint,
    /// Whether it wants events at all.
    pub enabled: bool,
    /// How often and how long deliveries are attempted.
    pub retry_policy: RetryPolicy,
    /// Who did what to it, and when.
    pub audit: Audit,
}

/// Who did what, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Counts the writes; the first is 1.
    pub version: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// The subject of the token that created it.
    pub created_by: String,
    /// When it was last written.
    pub updated_at: Timestamp,
    /// The subject of the token that wrote it last.
    pub updated_by: String,
    /// When it was deleted, if it was.
    pub deleted_at: Option<Timestamp>,
    /// The subject of the token that deleted it.
    pub deleted_by: Option<String>,
}

impl Audit {
    /// Returns the first entry.
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

impl Webhook {
    /// Says whether it is deleted.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.audit.deleted_at.is_some()
    }

    /// Says whether events are sent to it: it is enabled and not deleted.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.enabled && !self.is_deleted()
    }

    /// Marks it as deleted.
    pub fn delete(&mut self, at: Timestamp, by: &str) {
        self.audit.version += 1;
        self.audit.updated_at = at;
        by.clone_into(&mut self.audit.updated_by);
        self.audit.deleted_at = Some(at);
        self.audit.deleted_by = Some(by.to_owned());
    }

    /// Returns what fan-out needs to know of it, or `None` if it wants nothing.
    #[must_use]
    pub fn subscription(&self) -> Option<Subscription> {
        self.is_active().then(|| Subscription { webhook: self.id, event_types: self.event_types.clone() })
    }
}
