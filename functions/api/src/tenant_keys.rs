//! Signing keys of tenants and webhooks: creates, restores and rotates the key pairs of `standard-webhooks-ed25519`.

use std::time::Duration;

use aws::StoreError;
use aws::secrets::Staged;
use domain::signing::keys::{KeyOwner, SigningKey, SigningKeys};
use domain::webhook::Webhook;

use crate::App;
use crate::caller::Admin;
use crate::idempotency::FirstTry;
use crate::problem::{Fault, Problem};

/// How long an old secret or key signs alongside the new one by default.
const OVERLAP_SECONDS: u64 = 24 * 3600;

/// The longest overlap that a caller may choose.
const MAX_OVERLAP_SECONDS: u64 = 7 * 24 * 3600;

/// Returns how long an old secret or key keeps signing after a rotation.
pub(crate) fn overlap(seconds: Option<u64>) -> Result<Duration, Problem> {
    match seconds.unwrap_or(OVERLAP_SECONDS) {
        seconds if seconds <= MAX_OVERLAP_SECONDS => Ok(Duration::from_secs(seconds)),
        _ => {
            let detail = format!("must be 0 to {MAX_OVERLAP_SECONDS}");
            Err(Problem::Invalid(vec![Fault::field("/overlap_seconds", detail)]))
        }
    }
}

/// Creates the key of a tenant or a webhook, if it has none yet.
///
/// Stores the private key first and then the public key in the Registry, which decides: if two requests create a key at
/// the same time, the first one written to the Registry is used, whichever private key was stored first. A private key
/// that a failed request left behind is not named by any row and is never used.
pub(crate) async fn ensure(app: &App, owner: &KeyOwner) -> Result<(), Problem> {
    if app.registry.signing_keys(owner).await?.is_none() {
        app.spend_secrets(&owner.tenant, 1).await?;
        make(app, owner, None).await?;
    }
    Ok(())
}

/// Restores the key pair of a deleted webhook, or creates a new one if the private key is permanently deleted.
/// Receivers find the public key on the webhook's key page.
pub(crate) async fn restore(app: &App, webhook: &Webhook) -> Result<(), StoreError> {
    let owner = webhook.own_key_owner();
    let Some(keys) = app.registry.signing_keys(&owner).await? else { return Ok(()) };
    match app.secrets.restore(&keys.vault_path, webhook.audit.deleted_at).await {
        Err(StoreError::Missing { .. }) if webhook.is_deleted() => make(app, &owner, Some(&keys)).await,
        restored => restored,
    }
}

/// Returns the path of the private key of a webhook's own key pair, whether it has one or not.
pub(crate) fn own_path(app: &App, webhook: &Webhook) -> String {
    webhook.own_key_owner().path(&app.secrets_prefixes.outbound)
}

/// Creates a key: the first one, or a replacement for keys that were permanently deleted.
async fn make(app: &App, owner: &KeyOwner, gone: Option<&SigningKeys>) -> Result<(), StoreError> {
    let key = SigningKey::from_random(runtime::random::bytes());
    let path = owner.path(&app.secrets_prefixes.outbound);
    let staged = match app.secrets.create_signing_key(&path, &key, &owner.tenant).await {
        Err(StoreError::Conflict { .. }) => {
            // A key of an earlier deployment may be in its recovery window, where no value can be written.
            app.secrets.restore(&path, None).await?;
            Some(app.secrets.stage_signing_key(&path, None, &key).await?)
        }
        created => created.map(|()| None)?,
    };
    let now = app.clock.now();
    let keys = match gone {
        Some(gone) => gone.rotated(key.public(), Duration::ZERO, now),
        None => SigningKeys::first(path, key.public(), now),
    };
    match app.registry.write_signing_keys(owner, &keys).await {
        // Another request created the key first.
        Err(StoreError::Conflict { .. }) => return Ok(()),
        written => written?,
    }
    tracing::info!(key.owner = %owner, "signing key created");
    if let Some(staged) = staged {
        promote(app, owner, staged).await;
    }
    Ok(())
}

/// Makes the key that the Registry names the current value of its secret. If that fails, `deliver` still finds the key
/// among the staged values, and the next rotation promotes it first.
async fn promote(app: &App, owner: &KeyOwner, staged: Staged) {
    if let Err(error) = app.secrets.promote(staged).await {
        tracing::warn!(key.owner = %owner, %error, "a new key is stored but not yet marked as the current one; deliveries use it, and the next rotation marks it");
    }
}

/// Rotates the key of a tenant or a webhook; the old one keeps signing for the overlap. If an earlier try of the request
/// did so, nothing is left to do, because the response shows public keys only.
pub(crate) async fn rotate(
    app: &App,
    admin: &Admin,
    owner: &KeyOwner,
    overlap_seconds: Option<u64>,
    first_try: Option<&FirstTry>,
) -> Result<SigningKeys, Problem> {
    let overlap = overlap(overlap_seconds)?;
    let keys = app.registry.signing_keys(owner).await?.ok_or(Problem::NotFound("signing key"))?;
    let rotation = first_try.map(FirstTry::rotation);
    if rotation.is_some() && keys.rotation == rotation {
        return Ok(keys);
    }
    app.spend_secrets(&admin.tenant, 1).await?;
    let key = SigningKey::from_random(runtime::random::bytes());
    // The private key is staged next to the one that signs, so that whichever key the Registry names exists.
    let staged = app.secrets.stage_signing_key(&keys.vault_path, Some(keys.current), &key).await?;
    let keys = SigningKeys { rotation, ..keys.rotated(key.public(), overlap, app.clock.now()) };
    match app.registry.write_signing_keys(owner, &keys).await {
        // The SDK repeats a write whose answer was lost, and the repeated one finds what the first one wrote.
        Err(StoreError::Conflict { .. }) if app.registry.signing_keys(owner).await?.as_ref() == Some(&keys) => {}
        Err(StoreError::Conflict { .. }) => {
            return Err(Problem::Conflict("the key was rotated concurrently; try again".to_owned()));
        }
        written => written?,
    }
    promote(app, owner, staged).await;
    tracing::info!(key.owner = %owner, by = admin.subject, "signing key rotated");
    Ok(keys)
}
