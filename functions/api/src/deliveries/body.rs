//! The body that a delivery sent.

use aws::StoreError;
use domain::delivery::{BodyDigest, Delivery};
use domain::webhook::Webhook;

use crate::App;
use crate::page::has_room_for;
use crate::problem::Problem;

/// Returns the body of a delivery: the stored one, or that of the event if it is still the same. `None` if neither is
/// known, or if a response has no room for it.
pub(crate) async fn sent(app: &App, webhook: &Webhook, delivery: &Delivery) -> Result<Option<String>, Problem> {
    Ok(known(app, webhook, delivery).await?.filter(has_room_for))
}

async fn known(app: &App, webhook: &Webhook, delivery: &Delivery) -> Result<Option<String>, Problem> {
    let now = app.clock.now();
    if let Some(body) = &delivery.body {
        return match app.events.body(body, now).await {
            Ok(text) => Ok(Some(text.into_owned())),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        };
    }
    let Some(digest) = delivery.body_digest else { return Ok(None) };
    let event = match app.events.event(&webhook.tenant, delivery.event, now).await {
        Ok(Some(event)) => event,
        Ok(None) | Err(StoreError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let key = app.registry.state_key(&webhook.tenant).await?;
    let event = event.with_named_states(key.as_ref());
    let rendered = webhook.settings.rendering().render(&event, &delivery.event_type).ok();
    Ok(rendered.filter(|body| BodyDigest::of(body) == digest))
}
