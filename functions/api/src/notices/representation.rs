//! How responses show a notice.

use axum::http::Uri;
use domain::attempt::outcome::Verdict;
use domain::event::pattern::EventPattern;
use domain::id::{NoticeId, WebhookId};
use domain::webhook::Webhook;
use domain::webhook::notice::{Channel, Notice, NoticeSettings};
use domain::webhook::statistics::Statistics;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::caller::Admin;

/// A notice: who is notified of which events.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Notice)]
pub(crate) struct NoticeBody {
    /// `ntc_` and a ULID.
    #[schema(value_type = String, examples("ntc_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"))]
    pub(crate) id: NoticeId,
    #[schema(examples("on-call"))]
    name: String,
    channel: Channel,
    /// The operational events that it reports.
    #[schema(value_type = Vec<String>, examples(json!(["webhook.paused", "delivery.exhausted"])))]
    event_types: Vec<EventPattern>,
    /// The webhooks that it is limited to. If empty, it reports all, and events about no webhook.
    #[schema(value_type = Vec<String>)]
    webhook_ids: Vec<WebhookId>,
    enabled: bool,
    /// The addresses of an e-mail channel.
    recipients: Vec<RecipientBody>,
    /// Whether it is sent: enabled, not paused, and, for e-mail, confirmed by at least one address.
    is_active: bool,
    /// When it was paused because it could not be sent.
    #[schema(value_type = Option<String>, format = DateTime)]
    paused_at: Option<Timestamp>,
    /// When it was last sent or tried.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_delivery_at: Option<Timestamp>,
    /// The outcome of that.
    last_delivery_status: Option<Verdict>,
    /// The last error.
    last_error: Option<String>,
    /// How often it could not be sent since it last could.
    consecutive_failures: u64,
    /// Version, increased by every change; used as the `ETag`.
    pub(crate) version: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    created_by: String,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    updated_by: String,
}

/// An address of a notice.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = NoticeRecipient)]
pub(crate) struct RecipientBody {
    #[schema(examples("ops@example.com"))]
    address: String,
    /// When its code was sent last.
    #[schema(value_type = String, format = DateTime)]
    asked_at: Timestamp,
    /// When it was confirmed. Until then it gets no notices.
    #[schema(value_type = Option<String>, format = DateTime)]
    confirmed_at: Option<Timestamp>,
}

impl NoticeBody {
    /// Hides the path of a chat's hook, which is a credential, from those who may not change the notice.
    pub(super) fn shown_to(mut self, admin: &Admin) -> Self {
        if let Some(url) = self.channel.url.as_mut().filter(|_| !admin.writes) {
            let origin =
                url.parse::<Uri>().ok().and_then(|url| Some(format!("{}://{}", url.scheme()?, url.authority()?)));
            *url = format!("{}/***", origin.unwrap_or_default());
        }
        self
    }

    /// Returns how responses show a webhook that is a notice.
    pub(super) fn new(webhook: Webhook, notice: &Notice, statistics: Statistics) -> Self {
        let recipients = notice.recipients.iter().cloned().map(|recipient| RecipientBody {
            address: recipient.address,
            asked_at: recipient.asked_at,
            confirmed_at: recipient.confirmed_at,
        });
        let NoticeSettings { name, channel, event_types, webhook_ids, enabled } =
            NoticeSettings::of(&webhook.settings, notice);
        Self {
            id: webhook.id.into(),
            name,
            channel,
            event_types,
            webhook_ids,
            enabled,
            recipients: recipients.collect(),
            is_active: webhook.is_active() && notice.reaches_people(),
            paused_at: webhook.pause.map(|pause| pause.at),
            last_delivery_at: statistics.last_delivery_at,
            last_delivery_status: statistics.last_delivery_status,
            last_error: statistics.last_error,
            consecutive_failures: statistics.consecutive_failures,
            version: webhook.audit.version,
            created_at: webhook.audit.created_at,
            created_by: webhook.audit.created_by,
            updated_at: webhook.audit.updated_at,
            updated_by: webhook.audit.updated_by,
        }
    }
}
