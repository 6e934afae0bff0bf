//! Webhooks' secrets and key pairs, each at a path: in Secrets Manager, or encrypted in a table of their own.
//!
//! With a table, Secrets Manager is only read from: it may hold secrets of the time before.
//! `docs/adr/0044-secrets-under-kms.md` has the reasons.

use aws_sdk_secretsmanager::Client;
use domain::access::tenant::TenantId;
use domain::signing::secret::{Fingerprint, FingerprintKey, WebhookSecret};
use jiff::Timestamp;
use secrecy::SecretString;

use crate::StoreError;
use manager::Manager;
pub use staged::Staged;
use staged::Text;
pub(crate) use table::Table;

mod manager;
mod signing_keys;
mod staged;
mod table;

/// The secrets.
///
/// Futures of the table are boxed: with those of Secrets Manager, the callers' futures would be too large and too deep.
#[derive(Debug, Clone)]
pub struct Secrets {
    manager: Manager,
    table: Option<Table>,
}

impl Secrets {
    pub(crate) fn new(client: Client, table: Option<Table>) -> Self {
        Self { manager: Manager::new(client), table }
    }

    /// Encrypts the secrets that this creates in Secrets Manager with a KMS key. Existing ones keep theirs.
    #[must_use]
    pub fn encrypted_with(mut self, key_arn: Option<String>) -> Self {
        self.manager.key_arn = key_arn;
        self
    }

    /// Stores the first secret at a path.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if there is a secret at the path, even one that is being deleted. Otherwise, if the store
    /// is unavailable.
    pub async fn create(
        &self,
        path: &str,
        fingerprint: &Fingerprint,
        secret: &WebhookSecret,
        tenant: &TenantId,
    ) -> Result<(), StoreError> {
        self.create_at(path, Text::of(fingerprint, secret), tenant).await
    }

    async fn create_at(&self, path: &str, text: Text<'_>, tenant: &TenantId) -> Result<(), StoreError> {
        match &self.table {
            Some(table) => Box::pin(table.create(path, text)).await,
            None => self.manager.create(path, text, tenant.as_str()).await,
        }
    }

    /// Deletes a secret; it can be restored for 30 days. A missing secret is not an error.
    ///
    /// # Errors
    ///
    /// If a store is unavailable.
    pub async fn delete(&self, path: &str) -> Result<(), StoreError> {
        if let Some(table) = &self.table {
            Box::pin(table.delete(path)).await?;
        }
        self.manager.delete(path).await
    }

    /// Replaces the current secret, which becomes the previous one.
    ///
    /// Use this only if the current secret was never shown; otherwise [`stage`](Self::stage) the new one.
    ///
    /// # Errors
    ///
    /// If there is no secret at the path, or a store is unavailable.
    pub async fn replace(
        &self,
        path: &str,
        fingerprint: &Fingerprint,
        secret: &WebhookSecret,
    ) -> Result<(), StoreError> {
        let text = Text::of(fingerprint, secret);
        let Some(table) = &self.table else { return self.manager.replace(path, text).await };
        match Box::pin(table.replace(path, text)).await {
            Err(StoreError::Missing { .. }) => {
                self.manager.versions(path).await?;
                Box::pin(table.create(path, text)).await
            }
            replaced => replaced,
        }
    }

    /// Stores a secret at a path, whether or not the path has a secret already. The existing secret may be named by a
    /// webhook, be left over (from an earlier configuration or a process that died), or be in its recovery window.
    /// Promote the new one once the webhook names it.
    ///
    /// # Errors
    ///
    /// If a store is unavailable.
    pub async fn stage_anyway(
        &self,
        path: &str,
        named: Option<&Fingerprint>,
        (fingerprint, secret): (&Fingerprint, &WebhookSecret),
        tenant: &TenantId,
    ) -> Result<Staged, StoreError> {
        match self.create(path, fingerprint, secret, tenant).await {
            Ok(()) => {
                let version = fingerprint.as_str().to_owned();
                Ok(Staged { path: path.to_owned(), current: Some(version.clone()), version })
            }
            Err(StoreError::Conflict { .. }) => {
                self.restore(path, None).await?;
                self.stage(path, named, (fingerprint, secret)).await
            }
            Err(error) => Err(error),
        }
    }

    /// Stores a secret next to the one that a webhook names now. Promote it once the webhook names it.
    ///
    /// If the process dies in between, the secret that the webhook names and the one before stay readable.
    ///
    /// # Errors
    ///
    /// If there is no secret at the path, or a store is unavailable.
    pub async fn stage(
        &self,
        path: &str,
        named: Option<&Fingerprint>,
        (fingerprint, secret): (&Fingerprint, &WebhookSecret),
    ) -> Result<Staged, StoreError> {
        self.stage_at(path, named.map(Fingerprint::as_str), Text::of(fingerprint, secret)).await
    }

    /// Stores a secret that takes the place of the one that a webhook names now, which was never shown. `kept` is the
    /// previous secret of the webhook, and stays it. Promote the new one once the webhook names it.
    ///
    /// # Errors
    ///
    /// If there is no secret at the path, or a store is unavailable.
    pub async fn stage_again(
        &self,
        path: &str,
        (named, kept): (&Fingerprint, &Fingerprint),
        new: (&Fingerprint, &WebhookSecret),
    ) -> Result<Staged, StoreError> {
        // First next to the one that is named, which is promoted if it was not, and so stays until the webhook names
        // the new one.
        drop(self.stage(path, Some(named), new).await?);
        // Then next to the one that is kept. It is made the current one again, so that promoting makes it the previous
        // one.
        let staged = self.stage(path, Some(kept), new).await?;
        if staged.current.as_deref() == Some(kept.as_str()) {
            return Ok(staged);
        }
        // A version with an id of its own is found by its label alone: that of the previous one, since the named one is
        // the current one. In the table, each has its id, and what is found elsewhere loses nothing.
        let current = match (&self.table, &staged.current) {
            (None, Some(current)) => self.manager.make_previous_current(path, current).await?,
            (None, None) | (Some(_), _) => None,
        };
        Ok(Staged { current: current.or_else(|| Some(staged.version.clone())), ..staged })
    }

    async fn stage_at(&self, path: &str, named: Option<&str>, text: Text<'_>) -> Result<Staged, StoreError> {
        let Some(table) = &self.table else { return self.manager.stage(path, named, text).await };
        match Box::pin(table.stage(path, named, text)).await {
            // The first rotation since the table is used. The secret that signs now stays in Secrets Manager.
            Err(StoreError::Missing { .. }) => {
                self.manager.versions(path).await?;
                match Box::pin(table.create(path, text)).await {
                    Ok(()) => {
                        let version = text.id.to_owned();
                        Ok(Staged { path: path.to_owned(), current: Some(version.clone()), version })
                    }
                    // Another rotation was faster.
                    Err(StoreError::Conflict { .. }) => Box::pin(table.stage(path, named, text)).await,
                    Err(error) => Err(error),
                }
            }
            staged => staged,
        }
    }

    /// Makes a secret the current one, and the current one the previous one.
    ///
    /// # Errors
    ///
    /// If another version was promoted meanwhile, or the store is unavailable. The secret can be read nevertheless. The
    /// next call of [`stage`](Self::stage) promotes it first if the webhook names it then.
    pub async fn promote(&self, Staged { path, version, current }: Staged) -> Result<(), StoreError> {
        if current.as_ref() == Some(&version) {
            return Ok(());
        }
        match &self.table {
            Some(table) => Box::pin(table.move_current(&path, &version, current.as_deref())).await,
            None => self.manager.move_current(&path, &version, current.as_deref()).await,
        }
    }

    /// Takes a secret out of its recovery window. A secret that is not being deleted is left alone.
    ///
    /// `deleted_at` is when its webhook was deleted, if it is still deleted.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] if the secret no longer exists, or if the one at its path was created after its webhook
    /// was deleted.
    pub async fn restore(&self, path: &str, deleted_at: Option<Timestamp>) -> Result<(), StoreError> {
        let Some(table) = &self.table else { return self.manager.restore(path, deleted_at).await };
        match Box::pin(table.is_being_deleted(path)).await? {
            None => self.manager.restore(path, deleted_at).await,
            // What Secrets Manager is deleting of this path was moved to the table.
            Some(false) => Box::pin(table.restore(path, deleted_at)).await,
            // Secrets Manager may have the version before. It comes first, so that a call that was interrupted is repeated
            // as a whole.
            Some(true) => match self.manager.restore(path, deleted_at).await {
                Ok(()) | Err(StoreError::Missing { .. }) => Box::pin(table.restore(path, deleted_at)).await,
                Err(error) => Err(error),
            },
        }
    }

    /// Reads the webhook's secret with that fingerprint. It need not be the current one: it may be the previous one, or
    /// one that is staged and not promoted yet.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] if there is no secret at the path or it is being deleted, [`StoreError::Inconsistent`] if
    /// all secrets there are other ones.
    pub async fn webhook_secret(
        &self,
        path: &str,
        fingerprint: &Fingerprint,
        key: &FingerprintKey,
    ) -> Result<WebhookSecret, StoreError> {
        let found = self.find(path, fingerprint.as_str(), |text| {
            let secret = WebhookSecret::checked(text);
            Ok(key.fingerprint(&secret).matches(fingerprint).then_some(secret))
        });
        let why = "no version of the secret has the fingerprint that the webhook names";
        found.await?.ok_or_else(|| StoreError::inconsistent(path, why))
    }

    /// Returns the first text of a path that `take` takes: the one with that id in the table, or one in Secrets Manager.
    async fn find<T>(
        &self,
        path: &str,
        id: &str,
        take: impl Fn(SecretString) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let Some(table) = &self.table else { return self.manager.find(path, id, take).await };
        let has_others = match Box::pin(table.text(path, id)).await {
            Ok(Some(text)) => match take(text)? {
                Some(taken) => return Ok(Some(taken)),
                None => true,
            },
            Ok(None) => true,
            Err(StoreError::Missing { .. }) => false,
            Err(error) => return Err(error),
        };
        match self.manager.find(path, id, take).await {
            Err(StoreError::Missing { .. }) if has_others => Ok(None),
            found => found,
        }
    }

    /// Reads the deployment's fingerprint key, by its ARN. It is in Secrets Manager in any case.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] if it does not exist.
    pub async fn fingerprint_key(&self, arn: &str) -> Result<FingerprintKey, StoreError> {
        Box::pin(self.manager.current(arn)).await.map(FingerprintKey::new)
    }

    /// Reads the current text of a secret of the operator, by its ARN.
    pub(crate) async fn text(&self, arn: &str) -> Result<SecretString, StoreError> {
        self.manager.current(arn).await
    }
}
