//! Secrets in Secrets Manager: one secret for each path. Each text of a webhook's secret is a version of it.
//!
//! A version's id is the fingerprint of its text. The version that a webhook names can therefore be found whatever
//! label it has, and recognised without being read. Older versions, and those of a store that chooses ids itself, have
//! other ids and are found by label.

use std::collections::HashMap;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::DisplayErrorContext;
use aws_sdk_secretsmanager::operation::describe_secret::{DescribeSecretError, DescribeSecretOutput};
use aws_sdk_secretsmanager::operation::put_secret_value::PutSecretValueError;
use aws_sdk_secretsmanager::operation::restore_secret::RestoreSecretError;
use aws_sdk_secretsmanager::types::Tag;
use domain::access::tenant::TenantId;
use domain::signing::secret::{Fingerprint, FingerprintKey, WebhookSecret};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use crate::StoreError;

mod signing_keys;

/// How long Secrets Manager keeps a deleted secret, in days.
const RECOVERY_WINDOW_DAYS: i64 = 30;

const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";
const PENDING: &str = "AWSPENDING";

/// Secrets Manager.
#[derive(Debug, Clone)]
pub struct Secrets {
    client: Client,
    /// The KMS key of the secrets that this creates; without it, that of Secrets Manager.
    key_arn: Option<String>,
}

/// A version of the secret at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version<'a> {
    /// The current one.
    Current,
    /// The previous one.
    Previous,
    /// The one with that id: the fingerprint of a webhook's secret, or the public half of a key.
    Of(&'a str),
}

/// A secret that is stored next to the current one until it is promoted.
#[derive(Debug)]
#[must_use = "it waits until it is promoted"]
pub struct Staged {
    path: String,
    version: String,
    current: Option<String>,
}

impl Secrets {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, key_arn: None }
    }

    /// Encrypts the secrets that this creates with a KMS key. Existing ones keep theirs.
    #[must_use]
    pub fn encrypted_with(self, key_arn: Option<String>) -> Self {
        Self { key_arn, ..self }
    }

    /// Stores the first secret at a path.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if there is a secret at the path, even one that is being deleted. Otherwise, if Secrets
    /// Manager is unavailable.
    pub async fn create(
        &self,
        path: &str,
        fingerprint: &Fingerprint,
        secret: &WebhookSecret,
        tenant: &TenantId,
    ) -> Result<(), StoreError> {
        self.create_at(path, secret.to_text(), fingerprint.as_str(), tenant).await
    }

    async fn create_at(
        &self,
        path: &str,
        text: &SecretString,
        version: &str,
        tenant: &TenantId,
    ) -> Result<(), StoreError> {
        let tag = Tag::builder().key("dynahook:tenant").value(tenant.as_str()).build();
        let request = self.client.create_secret().name(path).tags(tag).client_request_token(version);
        let request = request.set_kms_key_id(self.key_arn.clone());
        request.secret_string(text.expose_secret()).send().await.map_err(|error| {
            let exists = error
                .as_service_error()
                .is_some_and(|error| error.is_resource_exists_exception() || error.is_invalid_request_exception());
            if exists {
                StoreError::Conflict { key: path.to_owned() }
            } else {
                StoreError::Unavailable(DisplayErrorContext(error).to_string())
            }
        })?;
        Ok(())
    }

    /// Deletes a secret; it can be restored during its recovery window. A missing secret is not an error.
    ///
    /// # Errors
    ///
    /// If Secrets Manager is unavailable.
    pub async fn delete(&self, path: &str) -> Result<(), StoreError> {
        let request = self.client.delete_secret().secret_id(path).recovery_window_in_days(RECOVERY_WINDOW_DAYS);
        match request.send().await {
            Ok(_) => Ok(()),
            // It does not exist, or it is being deleted already.
            Err(error)
                if error.as_service_error().is_some_and(|error| {
                    error.is_resource_not_found_exception() || error.is_invalid_request_exception()
                }) =>
            {
                Ok(())
            }
            Err(error) => Err(StoreError::Unavailable(DisplayErrorContext(error).to_string())),
        }
    }

    /// Replaces the current secret, which becomes the previous one.
    ///
    /// Use this only if the current secret was never shown; otherwise [`stage`](Self::stage) the new one.
    ///
    /// # Errors
    ///
    /// If there is no secret at the path, or Secrets Manager is unavailable.
    pub async fn replace(
        &self,
        path: &str,
        fingerprint: &Fingerprint,
        secret: &WebhookSecret,
    ) -> Result<(), StoreError> {
        self.put(path, secret.to_text(), fingerprint.as_str(), CURRENT).await
    }

    /// Stores a secret at a path, whether or not the path has a secret already. The existing secret may be named by a
    /// webhook, be left over (from an earlier configuration or a process that died), or be in its recovery window.
    /// Promote the new one once the webhook names it.
    ///
    /// # Errors
    ///
    /// If Secrets Manager is unavailable.
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
    /// If the process dies in between, the version that the webhook names and the one before keep their labels.
    ///
    /// # Errors
    ///
    /// If there is no secret at the path, or Secrets Manager is unavailable.
    pub async fn stage(
        &self,
        path: &str,
        named: Option<&Fingerprint>,
        (fingerprint, secret): (&Fingerprint, &WebhookSecret),
    ) -> Result<Staged, StoreError> {
        self.stage_at(path, named.map(Fingerprint::as_str), secret.to_text(), fingerprint.as_str()).await
    }

    async fn stage_at(
        &self,
        path: &str,
        named: Option<&str>,
        text: &SecretString,
        version: &str,
    ) -> Result<Staged, StoreError> {
        let versions = self.versions(path).await?;
        let mut current = versions.iter().find(|(_, labels)| labels.iter().any(|label| label == CURRENT));
        let named = named.and_then(|named| versions.get_key_value(named));
        if let Some((named, _)) = named.filter(|named| Some(*named) != current) {
            // An earlier rotation died before it promoted its version, whose label this call is about to take. Promote
            // it first.
            self.move_current(path, named, current.map(|(current, _)| current.as_str())).await?;
            current = versions.get_key_value(named);
        }
        // AWS would leave an existing version unchanged, but some emulators would move its labels.
        if !versions.contains_key(version) {
            self.put(path, text, version, PENDING).await?;
        }
        let current = current.map(|(current, _)| current.clone());
        Ok(Staged { path: path.to_owned(), version: version.to_owned(), current })
    }

    /// Makes a secret the current one, and the current one the previous one.
    ///
    /// # Errors
    ///
    /// If another version was promoted meanwhile, or Secrets Manager is unavailable. The secret can be read
    /// nevertheless. The next call of [`stage`](Self::stage) promotes it first if the webhook names it then.
    pub async fn promote(&self, Staged { path, version, current }: Staged) -> Result<(), StoreError> {
        if current.as_ref() == Some(&version) {
            return Ok(());
        }
        self.move_current(&path, &version, current.as_deref()).await
    }

    /// Moves the label `AWSCURRENT`. Secrets Manager then moves `AWSPREVIOUS` to the version that had it.
    async fn move_current(&self, path: &str, to: &str, from: Option<&str>) -> Result<(), StoreError> {
        let request = self.client.update_secret_version_stage().secret_id(path).version_stage(CURRENT);
        let request = request.move_to_version_id(to).set_remove_from_version_id(from.map(str::to_owned));
        request.send().await.map_err(|error| StoreError::Unavailable(DisplayErrorContext(error).to_string()))?;
        Ok(())
    }

    /// Returns the labels of each version, by version id. Versions without labels are absent.
    async fn versions(&self, path: &str) -> Result<HashMap<String, Vec<String>>, StoreError> {
        Ok(self.describe(path).await?.version_ids_to_stages.unwrap_or_default())
    }

    /// Returns when the secret at a path was created.
    async fn made_at(&self, path: &str) -> Result<Timestamp, StoreError> {
        let at = self.describe(path).await?.created_date;
        let at = at.and_then(|at| Timestamp::new(at.secs(), at.subsec_nanos().try_into().ok()?).ok());
        at.ok_or_else(|| StoreError::inconsistent(path, "it has no valid creation date"))
    }

    /// Reads everything but the secret's text.
    async fn describe(&self, path: &str) -> Result<DescribeSecretOutput, StoreError> {
        self.client.describe_secret().secret_id(path).send().await.map_err(|error| {
            if error.as_service_error().is_some_and(DescribeSecretError::is_resource_not_found_exception) {
                StoreError::Missing { key: path.to_owned() }
            } else {
                StoreError::Unavailable(DisplayErrorContext(error).to_string())
            }
        })
    }

    async fn put(&self, path: &str, text: &SecretString, version: &str, label: &str) -> Result<(), StoreError> {
        let request = self.client.put_secret_value().secret_id(path).secret_string(text.expose_secret());
        let request = request.client_request_token(version).version_stages(label);
        request.send().await.map_err(|error| {
            if error.as_service_error().is_some_and(PutSecretValueError::is_resource_not_found_exception) {
                StoreError::Missing { key: path.to_owned() }
            } else {
                StoreError::Unavailable(DisplayErrorContext(error).to_string())
            }
        })?;
        Ok(())
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
        let missing = || Err(StoreError::Missing { key: path.to_owned() });
        let Err(error) = self.client.restore_secret().secret_id(path).send().await else { return Ok(()) };
        match error.as_service_error() {
            Some(RestoreSecretError::ResourceNotFoundException(_)) => missing(),
            // It is not being deleted: it was restored already, never deleted, or created again.
            Some(RestoreSecretError::InvalidRequestException(_)) => match deleted_at {
                Some(deleted_at) if self.made_at(path).await? > deleted_at => missing(),
                _ => Ok(()),
            },
            _ => Err(StoreError::Unavailable(DisplayErrorContext(error).to_string())),
        }
    }

    /// Reads one version of a webhook's secret.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] if it does not exist or is being deleted.
    pub async fn webhook_secret(&self, path: &str, version: Version<'_>) -> Result<WebhookSecret, StoreError> {
        self.read(path, version).await.map(WebhookSecret::checked)
    }

    /// Reads the deployment's fingerprint key, by its ARN.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] if it does not exist.
    pub async fn fingerprint_key(&self, arn: &str) -> Result<FingerprintKey, StoreError> {
        self.read(arn, Version::Current).await.map(FingerprintKey::new)
    }

    /// Reads the current text of a secret of the operator, by its ARN.
    pub(crate) async fn text(&self, arn: &str) -> Result<SecretString, StoreError> {
        self.read(arn, Version::Current).await
    }

    async fn read(&self, id: &str, version: Version<'_>) -> Result<SecretString, StoreError> {
        let request = self.client.get_secret_value().secret_id(id);
        let request = match version {
            Version::Current => request.version_stage(CURRENT),
            Version::Previous => request.version_stage(PREVIOUS),
            Version::Of(id) => request.version_id(id),
        };
        let answer = request.send().await.map_err(|error| {
            let gone = error
                .as_service_error()
                .is_some_and(|error| error.is_resource_not_found_exception() || error.is_invalid_request_exception());
            if gone {
                StoreError::Missing { key: id.to_owned() }
            } else {
                StoreError::Unavailable(DisplayErrorContext(error).to_string())
            }
        })?;
        let text = answer.secret_string.ok_or_else(|| StoreError::inconsistent(id, "the secret is not text"))?;
        Ok(text.into())
    }
}
