//! Builds the request of an attempt: reads the webhook's secrets and keys, and makes headers and bytes with
//! [`domain::delivery::request`].

use std::sync::Arc;
use std::time::Duration;

use aws::StoreError;
use domain::delivery::message::Message;
use domain::delivery::request::{Sending, request};
use domain::event::hops::Hops;
use domain::event::trace::TraceParent;
use domain::payload::ContentType;
use domain::signing::keys::SigningKey;
use domain::signing::secret::WebhookSecret;
use domain::signing::sign::Keys;
use domain::webhook::Webhook;
use jiff::Timestamp;

use crate::App;

/// The secrets and keys that currently sign a webhook's deliveries.
#[derive(Debug)]
pub(crate) struct Signers {
    secrets: Vec<Arc<WebhookSecret>>,
    signing_keys: Vec<Arc<SigningKey>>,
}

/// The payload of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payload<'a> {
    pub(crate) body: &'a str,
    pub(crate) content_type: ContentType,
    /// How many deliveries led to the event.
    pub(crate) hops: Hops,
    /// The trace context that the receiver gets.
    pub(crate) traceparent: Option<TraceParent>,
}

impl Signers {
    /// Reads the current secrets and keys of a webhook, which are usually in the keyring's cache.
    pub(crate) async fn of(app: &App, webhook: &Webhook, now: Timestamp) -> Result<Self, StoreError> {
        let secrets = app.keyring.secrets(webhook, now).await?;
        let signing_keys = match webhook.key_owner() {
            Some(owner) => Box::pin(app.keyring.signing_keys(&app.registry, &owner, now)).await?,
            None => Vec::new(),
        };
        Ok(Self { secrets, signing_keys })
    }

    /// Builds the request of an attempt, without its authorization.
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
            // A delivery whose event has reached the limit was given up before.
            hops: payload.hops.next().unwrap_or(payload.hops),
            traceparent: payload.traceparent,
            test: message.test,
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
