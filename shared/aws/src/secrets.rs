//! Secrets Manager: one secret a path.

use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::DisplayErrorContext;
use aws_sdk_secretsmanager::operation::create_secret::CreateSecretError;
use aws_sdk_secretsmanager::operation::put_secret_value::PutSecretValueError;
use aws_sdk_secretsmanager::operation::restore_secret::RestoreSecretError;
use aws_sdk_secretsmanager::types::Tag;
use domain::secret::{FingerprintKey, WebhookSecret};
use domain::tenant::TenantId;
use secrecy::{ExposeSecret as _, SecretString};

use crate::StoreError;

/// How long Secrets Manager keeps a deleted secret, in days.
const RECOVERY_WINDOW_DAYS: u32 = 30;

/// How long a deleted secret can be restored.
pub const RECOVERY_WINDOW: Duration = Duration::from_hours(24 * RECOVERY_WINDOW_DAYS as u64);

/// Secrets Manager.
#[derive(Debug, Clone)]
pub struct Secrets {
    client: Client,
}

/// Which of a path's secrets: Secrets Manager keeps the one before the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The one that was put last.
    Current,
    /// The one before.
    Previous,
}

impl Secrets {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Keeps a new webhook's secret at its path.
    ///
    /// # Errors
    ///
    /// If there is something at the path, or Secrets Manager is unavailable.
    pub async fn create(&self, path: &str, secret: &WebhookSecret, tenant: &TenantId) -> Result<(), StoreError> {
        let tag = Tag::builder().key("dynahook:tenant").value(tenant.as_str()).build();
        let request = self.client.create_secret().name(path).tags(tag);
        request.secret_string(secret.to_text().expose_secret()).send().await.map_err(|error| {
            if error.as_service_error().is_some_and(CreateSecretError::is_resource_exists_exception) {
                StoreError::Conflict { key: path.to_owned() }
            } else {
                StoreError::Unavailable(DisplayErrorContext(error).to_string())
            }
        })?;
        Ok(())
    }

    /// Puts a secret into its recovery window. A secret that is not there is as good as deleted.
    ///
    /// # Errors
    ///
    /// If Secrets Manager is unavailable.
    pub async fn delete(&self, path: &str) -> Result<(), StoreError> {
        let request = self.client.delete_secret().secret_id(path).recovery_window_in_days(RECOVERY_WINDOW_DAYS.into());
        match request.send().await {
            Ok(_) => Ok(()),
            // It is gone, or on its way already.
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

    /// Puts a secret in the place of the current one, which becomes the previous one.
    ///
    /// # Errors
    ///
    /// If there is none at the path, or Secrets Manager is unavailable.
    pub async fn rotate(&self, path: &str, secret: &WebhookSecret) -> Result<(), StoreError> {
        let request = self.client.put_secret_value().secret_id(path).secret_string(secret.to_text().expose_secret());
        request.send().await.map_err(|error| {
            if error.as_service_error().is_some_and(PutSecretValueError::is_resource_not_found_exception) {
                StoreError::Missing { key: path.to_owned() }
            } else {
                StoreError::Unavailable(DisplayErrorContext(error).to_string())
            }
        })?;
        Ok(())
    }

    /// Takes a secret out of its recovery window; one that is in none is left alone.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] if it is gone for good.
    pub async fn restore(&self, path: &str) -> Result<(), StoreError> {
        let Err(error) = self.client.restore_secret().secret_id(path).send().await else { return Ok(()) };
        match error.as_service_error() {
            Some(RestoreSecretError::ResourceNotFoundException(_)) => Err(StoreError::Missing { key: path.to_owned() }),
            // It is not being deleted.
            Some(RestoreSecretError::InvalidRequestException(_)) => Ok(()),
            _ => Err(StoreError::Unavailable(DisplayErrorContext(error).to_string())),
        }
    }

    /// Reads a webhook's secret: the current one, or the one that it took the place of.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] if there is none or it is being deleted, [`StoreError::Inconsistent`] if it is not a secret of
    /// a webhook.
    pub async fn webhook_secret(&self, path: &str, version: Version) -> Result<WebhookSecret, StoreError> {
        let text = self.read(path, version).await?;
        WebhookSecret::parse(text.expose_secret()).map_err(|error| StoreError::inconsistent(path, error))
    }

    /// Reads the deployment's fingerprint key.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] if there is none.
    pub async fn fingerprint_key(&self, path: &str) -> Result<FingerprintKey, StoreError> {
        self.read(path, Version::Current).await.map(FingerprintKey::new)
    }

    async fn read(&self, path: &str, version: Version) -> Result<SecretString, StoreError> {
        let stage = match version {
            Version::Current => "AWSCURRENT",
            Version::Previous => "AWSPREVIOUS",
        };
        let request = self.client.get_secret_value().secret_id(path).version_stage(stage);
        let answer = request.send().await.map_err(|error| {
            let gone = error
                .as_service_error()
                .is_some_and(|error| error.is_resource_not_found_exception() || error.is_invalid_request_exception());
            if gone {
                StoreError::Missing { key: path.to_owned() }
            } else {
                StoreError::Unavailable(DisplayErrorContext(error).to_string())
            }
        })?;
        let text = answer.secret_string.ok_or_else(|| StoreError::inconsistent(path, "not a text"))?;
        Ok(text.into())
    }
}
