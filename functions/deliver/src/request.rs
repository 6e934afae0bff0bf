//! The request of an attempt: what it is made of is read first, and made into headers and bytes by [`domain::delivery::request`].

use std::sync::Arc;
use std::time::Duration;

use aws::StoreError;
use domain::delivery::message::Message;
use domain::delivery::request::{Sending, request};
use domain::event::hops::Hops;
use domain::payload::ContentType;
use domain::signing::keys::SigningKey;
use domain::signing::secret::WebhookSecret;
use domain::signing::sign::Keys;
use domain::webhook::Webhook;
use jiff::Timestamp;

use crate::App;

/// What signs a webhook's deliveries now.
#[derive(Debug)]
pub(crate) struct Signers {
    secrets: Vec<Arc<WebhookSecret>>,
    signing_keys: Vec<Arc<SigningKey>>,
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payload<'a> {
    pub(crate) body: &'a str,
    pub(crate) content_type: ContentType,
    /// How many deliveries led to the event.
    pub(crate) hops: Hops,
}

impl Signers {
    /// Reads what signs; most often it is known already.
    pub(crate) async fn of(app: &App, webhook: &Webhook, now: Timestamp) -> Result<Self, StoreError> {
        let secrets = app.keyring.secrets(webhook, now).await?;
        let signing_keys = match webhook.key_owner() {
            Some(owner) => app.keyring.signing_keys(&app.registry, &owner, now).await?,
            None => Vec::new(),
        };
        Ok(Self { secrets, signing_keys })
    }

    /// Makes the request of an attempt; its authorization is another matter.
    pub(crate) fn request(
        &self,
        webhook: &Webhook,
        message: &Message,
        payload: Payload<'_>,
        at: Timestamp,
        timeout: Duration,
    ) -> outbound::Request {
        let secrets: Vec<_> = self.secrets.iter().map(AsRef::as_ref).collect();
        let signing_keys: Vec<_> = self.signing_keys.iter().map(AsRef::as_ref).collect();
        let keys = Keys { secrets: &secrets, signing_keys: &signing_keys };
        let sending = Sending {
            event: message.event,
            event_type: &message.event_type,
            sequence: message.sequence.as_deref(),
            // A delivery whose event has made too many is given up before.
            hops: payload.hops.next().unwrap_or(payload.hops),
            attempt: message.attempt,
            content_type: payload.content_type,
            body: payload.body,
            at,
        };
        let made = request(&webhook.settings, keys, &sending);
        let (url, success) = (webhook.settings.url.clone(), webhook.settings.success_statuses.clone());
        outbound::Request { url, headers: made.headers, authorization: None, body: made.body, timeout, success, at }
    }
}
