//! Changing the settings of a webhook.

use aws::registry::WebhookRecord;
use domain::webhook::Webhook;
use domain::webhook::settings::Settings;

use super::authorization::{Brought, change_bringing};
use super::input::{self, Input};
use super::other_names::NamesSent;
use super::representation::WebhookBody;
use super::{Write, visible};
use crate::App;
use crate::caller::Admin;
use crate::etag::IfMatch;
use crate::problem::Problem;
use crate::read::Reading;

/// Merges a change into the settings of a webhook ([RFC 7396](https://www.rfc-editor.org/rfc/rfc7396)).
pub(crate) async fn merge(
    app: &App,
    admin: &Admin,
    id: &str,
    if_match: IfMatch,
    input: Input,
) -> Result<WebhookRecord, Problem> {
    update(app, admin, id, if_match, input, input::merge).await
}

/// Replaces the settings of a webhook. The caller must send `If-Match`.
pub(crate) async fn replace(
    app: &App,
    admin: &Admin,
    id: &str,
    if_match: IfMatch,
    input: Input,
) -> Result<WebhookRecord, Problem> {
    if if_match == (IfMatch::Any { given: false }) {
        visible(app, admin, id).await?;
        return Err(Problem::PreconditionRequired);
    }
    update(app, admin, id, if_match, input, input::replace).await
}

async fn update(
    app: &App,
    admin: &Admin,
    id: &str,
    if_match: IfMatch,
    mut input: Input,
    read: fn(&App, &Webhook, &WebhookBody, Input) -> Reading<Settings>,
) -> Result<WebhookRecord, Problem> {
    let names = NamesSent::of(&input);
    let (brought, faults) = Brought::take(app, admin, id, &mut input).await?;
    let record = change_bringing(app, admin, id, if_match, brought, |record, app| {
        let current = WebhookBody::new(record.clone(), None, &app.public_url);
        let reading = read(app, &record.webhook, &current, input.clone()).with(faults.clone());
        record.webhook.settings = reading.map_faults(|fault| names.at_sent(fault)).finish()?;
        if input::activates(&input) {
            record.webhook.pause = None;
        }
        Ok(Write::Webhook)
    });
    // On the heap, because the future is large.
    Box::pin(record).await
}
