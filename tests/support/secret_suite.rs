//! What holds for secrets wherever they are stored. tests/it runs it against the emulator, tests/simulation against a
//! [`Cloud`](crate::Cloud); both with Secrets Manager and with a table under a key of KMS.

use aws::{Secrets, StoreError};
use domain::access::tenant::TenantId;
use domain::signing::keys::SigningKey;
use domain::signing::secret::{Fingerprint, FingerprintKey, WebhookSecret};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;

use crate::unique;

/// Calls a macro with the names of all tests of the suite, so that no store leaves one out.
#[macro_export]
macro_rules! each_secret_test {
    ($run:ident) => {
        $run! {
            a_path_gets_one_first_secret,
            a_rotation_keeps_the_one_before,
            a_rotation_that_died_loses_nothing,
            two_rotations_at_once_lose_nothing,
            a_rotation_that_is_repeated_keeps_the_one_before,
            a_secret_is_replaced,
            a_deleted_secret_can_be_restored,
            a_secret_is_staged_whatever_is_there,
            key_pairs_are_secrets_too,
            the_longest_secret_is_stored,
        }
    };
}

/// A path that no other test uses.
#[derive(Debug)]
pub struct Vault<'a> {
    /// The store.
    pub secrets: &'a Secrets,
    /// The path.
    pub path: String,
    tenant: TenantId,
    key: FingerprintKey,
}

type Named = (Fingerprint, WebhookSecret);

impl<'a> Vault<'a> {
    /// Returns an empty path.
    #[must_use]
    pub fn new(secrets: &'a Secrets) -> Self {
        Self::at(secrets, &format!("/test/webhooks/{}/whk", unique("tenant")))
    }

    /// Returns a path of a webhook.
    #[must_use]
    pub fn at(secrets: &'a Secrets, path: &str) -> Self {
        let tenant = path.split('/').nth(3).unwrap().parse().unwrap();
        Self { secrets, path: path.to_owned(), tenant, key: FingerprintKey::new("key".to_owned().into()) }
    }

    /// Returns a secret, another one for each path and number: `make test` searches everything for each of them.
    #[must_use]
    pub fn secret(&self, number: u8) -> Named {
        let secret = WebhookSecret::checked(format!("secret {number} of {}", self.path).into());
        (self.key.fingerprint(&secret), secret)
    }

    /// Stores the first secret.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn create(&self, secret: &Named) -> Result<(), StoreError> {
        self.secrets.create(&self.path, &secret.0, &secret.1, &self.tenant).await
    }

    /// Stages a secret while another one is named, and promotes it.
    pub async fn rotate(&self, named: &Named, to: &Named) {
        self.try_to_rotate(named, to).await.unwrap();
    }

    /// Stages a secret while another one is named, and promotes it.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn try_to_rotate(&self, named: &Named, to: &Named) -> Result<(), StoreError> {
        let staged = self.secrets.stage(&self.path, Some(&named.0), (&to.0, &to.1)).await?;
        self.secrets.promote(staged).await
    }

    /// Reads a secret by its fingerprint, and compares it.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn read(&self, secret: &Named) -> Result<(), StoreError> {
        let read = self.secrets.webhook_secret(&self.path, &secret.0, &self.key).await?;
        assert_eq!(read.to_text().expose_secret(), secret.1.to_text().expose_secret());
        Ok(())
    }
}

fn is_missing(result: &Result<(), StoreError>) -> bool {
    matches!(result, Err(StoreError::Missing { .. }))
}

fn is_conflict(result: &Result<(), StoreError>) -> bool {
    matches!(result, Err(StoreError::Conflict { .. }))
}

/// A path has one first secret.
pub async fn a_path_gets_one_first_secret(secrets: &Secrets) {
    let vault = Vault::new(secrets);
    let (first, second) = (vault.secret(1), vault.secret(2));
    assert!(is_missing(&vault.read(&first).await));
    vault.create(&first).await.unwrap();
    assert!(is_conflict(&vault.create(&second).await));
    vault.read(&first).await.unwrap();
    assert!(matches!(vault.read(&second).await, Err(StoreError::Inconsistent { .. })));
}

/// During the overlap both secrets can be read, under whatever label.
pub async fn a_rotation_keeps_the_one_before(secrets: &Secrets) {
    let vault = Vault::new(secrets);
    let (first, second, third) = (vault.secret(1), vault.secret(2), vault.secret(3));
    vault.create(&first).await.unwrap();
    let staged = secrets.stage(&vault.path, Some(&first.0), (&second.0, &second.1)).await.unwrap();
    vault.read(&first).await.unwrap();
    vault.read(&second).await.unwrap();
    secrets.promote(staged).await.unwrap();
    vault.read(&first).await.unwrap();
    vault.rotate(&second, &third).await;
    vault.read(&second).await.unwrap();
    vault.read(&third).await.unwrap();
    vault.rotate(&third, &second).await;
    vault.read(&second).await.unwrap();
    vault.read(&third).await.unwrap();
}

/// The process died after it staged a secret: before or after the webhook named it.
pub async fn a_rotation_that_died_loses_nothing(secrets: &Secrets) {
    for is_named in [false, true] {
        let vault = Vault::new(secrets);
        let (first, second, third) = (vault.secret(1), vault.secret(2), vault.secret(3));
        vault.create(&first).await.unwrap();
        drop(secrets.stage(&vault.path, Some(&first.0), (&second.0, &second.1)).await.unwrap());
        let named = if is_named { &second } else { &first };
        let staged = secrets.stage(&vault.path, Some(&named.0), (&third.0, &third.1)).await.unwrap();
        vault.read(named).await.unwrap();
        vault.read(&third).await.unwrap();
        secrets.promote(staged).await.unwrap();
        vault.read(named).await.unwrap();
        vault.read(&third).await.unwrap();
    }
}

/// Two rotations run at once. Whichever the webhook names last can be read, and the other one is not promoted over it.
pub async fn two_rotations_at_once_lose_nothing(secrets: &Secrets) {
    for first_wins in [false, true] {
        let vault = Vault::new(secrets);
        let (before, one, other) = (vault.secret(1), vault.secret(2), vault.secret(3));
        vault.create(&before).await.unwrap();
        let of_one = secrets.stage(&vault.path, Some(&before.0), (&one.0, &one.1)).await.unwrap();
        let of_other = secrets.stage(&vault.path, Some(&before.0), (&other.0, &other.1)).await.unwrap();
        let (winner, won, lost) = if first_wins { (&one, of_one, of_other) } else { (&other, of_other, of_one) };
        secrets.promote(won).await.unwrap();
        assert!(secrets.promote(lost).await.is_err());
        vault.read(winner).await.unwrap();
        vault.read(&before).await.unwrap();
    }
}

/// The process died after the webhook named a secret, before or after it was promoted. The next try replaces that
/// secret, and dies before it promotes its own, or not.
pub async fn a_rotation_that_is_repeated_keeps_the_one_before(secrets: &Secrets) {
    for (is_promoted, dies) in [(false, false), (false, true), (true, false), (true, true)] {
        let vault = Vault::new(secrets);
        let (kept, lost, shown, next) = (vault.secret(1), vault.secret(2), vault.secret(3), vault.secret(4));
        vault.create(&kept).await.unwrap();
        let staged = secrets.stage(&vault.path, Some(&kept.0), (&lost.0, &lost.1)).await.unwrap();
        if is_promoted {
            secrets.promote(staged).await.unwrap();
        }
        let again = secrets.stage_again(&vault.path, (&lost.0, &kept.0), (&shown.0, &shown.1)).await.unwrap();
        for secret in [&kept, &lost, &shown] {
            vault.read(secret).await.unwrap();
        }
        if !dies {
            secrets.promote(again).await.unwrap();
        }
        // A rotation that never gets further removes nothing that the webhook names.
        drop(secrets.stage(&vault.path, Some(&shown.0), (&next.0, &next.1)).await.unwrap());
        vault.read(&kept).await.unwrap();
        vault.read(&shown).await.unwrap();
    }
}

/// A secret that was never shown is replaced.
pub async fn a_secret_is_replaced(secrets: &Secrets) {
    let vault = Vault::new(secrets);
    let (first, second) = (vault.secret(1), vault.secret(2));
    assert!(is_missing(&secrets.replace(&vault.path, &first.0, &first.1).await));
    vault.create(&first).await.unwrap();
    for _ in 0..2 {
        secrets.replace(&vault.path, &second.0, &second.1).await.unwrap();
        vault.read(&second).await.unwrap();
    }
}

/// A deleted secret cannot be read or written until it is restored.
pub async fn a_deleted_secret_can_be_restored(secrets: &Secrets) {
    let vault = Vault::new(secrets);
    let (first, second, third) = (vault.secret(1), vault.secret(2), vault.secret(3));
    secrets.delete(&vault.path).await.unwrap();
    assert!(is_missing(&secrets.restore(&vault.path, None).await));
    vault.create(&first).await.unwrap();
    vault.rotate(&first, &second).await;
    for _ in 0..2 {
        secrets.delete(&vault.path).await.unwrap();
        assert!(is_missing(&vault.read(&second).await));
    }
    assert!(is_conflict(&vault.create(&first).await));
    assert!(secrets.stage(&vault.path, Some(&second.0), (&third.0, &third.1)).await.is_err());
    assert!(secrets.replace(&vault.path, &third.0, &third.1).await.is_err());
    for _ in 0..2 {
        secrets.restore(&vault.path, None).await.unwrap();
        vault.read(&first).await.unwrap();
        vault.read(&second).await.unwrap();
    }
    // Of a webhook that was deleted before this secret was made, it is not the secret.
    let long_ago = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1);
    assert!(is_missing(&secrets.restore(&vault.path, Some(long_ago)).await));
}

/// A credential is staged whatever its path has.
pub async fn a_secret_is_staged_whatever_is_there(secrets: &Secrets) {
    let vault = Vault::new(secrets);
    let (first, second, third) = (vault.secret(1), vault.secret(2), vault.secret(3));
    for (named, new) in [(None, &first), (Some(&first.0), &second)] {
        let staged = secrets.stage_anyway(&vault.path, named, (&new.0, &new.1), &vault.tenant).await.unwrap();
        secrets.promote(staged).await.unwrap();
        vault.read(new).await.unwrap();
    }
    secrets.delete(&vault.path).await.unwrap();
    let staged = secrets.stage_anyway(&vault.path, None, (&third.0, &third.1), &vault.tenant).await.unwrap();
    secrets.promote(staged).await.unwrap();
    vault.read(&third).await.unwrap();
}

/// Key pairs are stored and rotated like secrets.
pub async fn key_pairs_are_secrets_too(secrets: &Secrets) {
    let vault = Vault::new(secrets);
    let path = format!("/test/webhooks/{}/signing-key", vault.tenant);
    let keys = [1, 2, 3].map(|number| SigningKey::from_random([number; 32]));
    let [first, second, third] = &keys;
    secrets.create_signing_key(&path, first, &vault.tenant).await.unwrap();
    assert!(is_conflict(&secrets.create_signing_key(&path, second, &vault.tenant).await));
    let staged = secrets.stage_signing_key(&path, Some(first.public()), second).await.unwrap();
    secrets.promote(staged).await.unwrap();
    for key in [first, second] {
        assert_eq!(secrets.signing_key(&path, key.public()).await.unwrap().public(), key.public());
    }
    assert!(matches!(secrets.signing_key(&path, third.public()).await, Err(StoreError::Inconsistent { .. })));
}

/// The longest secret is a token of a webhook's authorization.
pub async fn the_longest_secret_is_stored(secrets: &Secrets) {
    let vault = Vault::new(secrets);
    let longest = WebhookSecret::checked("longest.".repeat(512).into());
    let longest = (vault.key.fingerprint(&longest), longest);
    vault.create(&longest).await.unwrap();
    vault.read(&longest).await.unwrap();
}
