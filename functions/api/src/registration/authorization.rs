//! How a webhook's requests are authorized: setting, changing and removing the credential.

use std::sync::atomic::{AtomicBool, Ordering};

use aws::registry::WebhookRecord;
use domain::fault::FieldError;
use domain::signing::secret::WebhookSecret;
use domain::value::{Map, Value};
use domain::webhook::Webhook;
use domain::webhook::authorization::origin::{Origin, SetBy};
use domain::webhook::authorization::{Authorization, NewAuthorization};
use domain::webhook::settings::Direction;

use super::{Write, change, set_by, visible};
use crate::App;
use crate::caller::Admin;
use crate::etag::IfMatch;
use crate::problem::Problem;

/// Reads the authorization that a caller sent, for an outbound webhook.
pub(crate) fn read(app: &App, direction: Direction, given: &Value) -> Result<NewAuthorization, Vec<FieldError>> {
    if direction == Direction::Inbound {
        let detail = "is only for outbound webhooks, because inbound webhooks send no requests";
        return Err(vec![FieldError::new("", detail)]);
    }
    // None of its fields is a number that a user chose.
    NewAuthorization::read(serde_json::to_value(given).unwrap_or_default(), &app.targets)
}

/// Returns the part of a new authorization that the webhook's row stores, and the secret. The authorization is bound to
/// the origin of the webhook's URL.
pub(crate) async fn named(
    app: &App,
    set_by: SetBy,
    webhook: &Webhook,
    new: NewAuthorization,
) -> Result<(Authorization, WebhookSecret), Problem> {
    let fingerprint = app.fingerprint_key().await?.fingerprint(&new.secret);
    let vault_path = webhook.secret.authorization_path();
    let for_origin = Origin::of(&webhook.settings.url);
    Ok((Authorization { method: new.method, vault_path, fingerprint, for_origin, set_by }, new.secret))
}

/// What a change of a webhook does to its authorization.
#[derive(Debug)]
pub(crate) enum Brought {
    /// Nothing. If it cannot be kept with the rest of the change, the change is refused.
    Nothing,
    /// It is removed.
    Removed,
    /// It is set to this one, which may equal the current one.
    New(NewAuthorization),
}

impl Brought {
    /// Takes the authorization out of the body of a change. Sending back what `GET` returned changes nothing. Faults
    /// are returned too, so that the response can list them with the faults of the other fields.
    pub(crate) async fn take(
        app: &App,
        admin: &Admin,
        id: &str,
        input: &mut Map,
    ) -> Result<(Self, Vec<FieldError>), Problem> {
        let Some(given) = input.remove("authorization") else { return Ok((Self::Nothing, Vec::new())) };
        let webhook = visible(app, admin, id).await?.webhook;
        let shown = Value::of(&webhook.authorization);
        // Compare without the fields that Dynahook adds, because a caller may send back a response of an earlier
        // version.
        Ok(if without_notes(shown) == without_notes(given.clone()) {
            (Self::Nothing, Vec::new())
        } else if given.is_null() {
            (Self::Removed, Vec::new())
        } else {
            match read(app, webhook.settings.direction, &given) {
                Ok(new) => (Self::New(new), Vec::new()),
                Err(faults) => (Self::Nothing, faults.into_iter().map(|fault| fault.below("/authorization")).collect()),
            }
        })
    }
}

fn without_notes(mut shown: Value) -> Value {
    if let Value::Map(fields) = &mut shown {
        fields.retain(|name, _| !["for_origin", "set_by"].contains(&name.as_str()));
    }
    shown
}

/// Changes a webhook, and its authorization in the same write.
pub(crate) async fn change_bringing(
    app: &App,
    admin: &Admin,
    id: &str,
    if_match: IfMatch,
    brought: Brought,
    apply: impl Fn(&mut WebhookRecord, &App) -> Result<Write, Problem>,
) -> Result<WebhookRecord, Problem> {
    match brought {
        Brought::Nothing => change(app, admin, id, if_match, apply).await,
        Brought::New(new) => set(app, admin, id, if_match, new, apply).await,
        Brought::Removed => {
            let record = change(app, admin, id, if_match, |record, app| {
                let written = apply(record, app)?;
                Ok(if record.webhook.authorization.take().is_some() { Write::Webhook } else { written })
            });
            let record = record.await?;
            forget(app, &record.webhook).await?;
            Ok(record)
        }
    }
}

/// Sets the authorization of a webhook and nothing else.
pub(crate) async fn put(
    app: &App,
    admin: &Admin,
    id: &str,
    if_match: IfMatch,
    given: &Value,
) -> Result<WebhookRecord, Problem> {
    let webhook = visible(app, admin, id).await?.webhook;
    if_match.check(webhook.audit.version)?;
    let new = read(app, webhook.settings.direction, given)?;
    set(app, admin, id, if_match, new, |_, _| Ok(Write::Nothing)).await
}

/// Changes a webhook and sets its authorization in the same write.
async fn set(
    app: &App,
    admin: &Admin,
    id: &str,
    if_match: IfMatch,
    new: NewAuthorization,
    apply: impl Fn(&mut WebhookRecord, &App) -> Result<Write, Problem>,
) -> Result<WebhookRecord, Problem> {
    let mut record = visible(app, admin, id).await?;
    if_match.check(record.webhook.audit.version)?;
    let before = record.webhook.authorization.as_ref().map(|before| before.fingerprint.clone());
    // Applied to a copy before anything is stored, because the credential is bound to the URL after the change. If
    // another request changes the URL in the meantime, `change` refuses this one.
    apply(&mut record, app)?;
    let webhook = record.webhook;
    let (authorization, secret) = named(app, set_by(admin), &webhook, new).await?;
    let (path, kept) = (&authorization.vault_path, (&authorization.fingerprint, &secret));
    app.spend_secrets(&webhook.tenant, 1).await?;
    // The secret is staged first, next to the current one, so that whichever secret the webhook names exists.
    let staged = app.secrets.stage_anyway(path, before.as_ref(), kept, &webhook.tenant).await?;
    let record = change(app, admin, id, if_match, |record, app| {
        let written = apply(record, app)?;
        let before = record.webhook.authorization.replace(authorization.clone());
        Ok(if before.as_ref() == Some(&authorization) { written } else { Write::Webhook })
    });
    let record = record.await?;
    // A concurrent request that removed the previous authorization may have deleted the secret just now.
    app.secrets.restore(path, None).await?;
    if let Err(error) = app.secrets.promote(staged).await {
        // `deliver` finds the secret among the staged values, and the next write promotes it first.
        tracing::warn!(webhook.id = %record.webhook.id, %error, "a new secret is stored but not yet marked as the current one; deliveries use it, and the next rotation marks it");
    }
    Ok(record)
}

/// Deletes the secret of an authorization that the webhook no longer names.
async fn forget(app: &App, webhook: &Webhook) -> Result<(), Problem> {
    let path = webhook.secret.authorization_path();
    // Delete it even if the webhook had none: an earlier request may have died before this step.
    app.secrets.delete(&path).await?;
    let now = app.registry.webhook(&webhook.tenant, webhook.id).await?.map(|record| record.webhook);
    if now.is_some_and(|now| now.authorization.is_some() && !now.is_deleted()) {
        // Another request has set a new one in the meantime, which needs its secret.
        app.secrets.restore(&path, None).await?;
    }
    Ok(())
}

/// Removes the authorization of a webhook.
pub(crate) async fn remove(app: &App, admin: &Admin, id: &str, if_match: IfMatch) -> Result<(), Problem> {
    let there_was = AtomicBool::new(false);
    let record = change(app, admin, id, if_match, |record, _| {
        let removed = record.webhook.authorization.take().is_some();
        there_was.store(removed, Ordering::Relaxed);
        Ok(if removed { Write::Webhook } else { Write::Nothing })
    });
    forget(app, &record.await?.webhook).await?;
    if there_was.into_inner() { Ok(()) } else { Err(Problem::NotFound("authorization")) }
}
