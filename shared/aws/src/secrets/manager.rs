//! Secrets Manager: one secret for each path. Each text of a webhook's secret is a version of it.
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
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use super::staged::{RECOVERY_WINDOW_DAYS, Staged, Text};
use crate::StoreError;

const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";
const PENDING: &str = "AWSPENDING";

/// Secrets Manager.
#[derive(Debug, Clone)]
pub(super) struct Manager {
    client: Client,
    /// The KMS key of the secrets that this creates; without it, that of Secrets Manager.
    pub(super) key_arn: Option<String>,
}

/// A version of the secret at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version<'a> {
    Current,
    Previous,
    /// The one with that id.
    Of(&'a str),
}

impl Manager {
    pub(super) fn new(client: Client) -> Self {
        Self { client, key_arn: None }
    }

    /// Stores the first secret at a path. The error is a conflict if there is one, even one that is being deleted.
    pub(super) async fn create(&self, path: &str, text: Text<'_>, tenant: &str) -> Result<(), StoreError> {
        let tag = Tag::builder().key("dynahook:tenant").value(tenant).build();
        let request = self.client.create_secret().name(path).tags(tag).client_request_token(text.id);
        let request = request.set_kms_key_id(self.key_arn.clone());
        request.secret_string(text.text.expose_secret()).send().await.map_err(|error| {
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

    /// Deletes a secret. A missing secret is not an error.
    pub(super) async fn delete(&self, path: &str) -> Result<(), StoreError> {
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
    pub(super) async fn replace(&self, path: &str, text: Text<'_>) -> Result<(), StoreError> {
        self.put(path, text, CURRENT).await
    }

    /// Stores a text next to the one that is named now.
    pub(super) async fn stage(&self, path: &str, named: Option<&str>, text: Text<'_>) -> Result<Staged, StoreError> {
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
        if !versions.contains_key(text.id) {
            self.put(path, text, PENDING).await?;
        }
        let current = current.map(|(current, _)| current.clone());
        Ok(Staged { path: path.to_owned(), version: text.id.to_owned(), current })
    }

    /// Makes the previous version the current one, and the current one the previous one. Returns the version, if there
    /// is one.
    pub(super) async fn make_previous_current(&self, path: &str, current: &str) -> Result<Option<String>, StoreError> {
        let versions = self.versions(path).await?;
        let found = versions.into_iter().find(|(_, labels)| labels.iter().any(|label| label == PREVIOUS));
        let Some((previous, _)) = found else { return Ok(None) };
        self.move_current(path, &previous, Some(current)).await?;
        Ok(Some(previous))
    }

    /// Moves the label `AWSCURRENT`. Secrets Manager then moves `AWSPREVIOUS` to the version that had it.
    pub(super) async fn move_current(&self, path: &str, to: &str, from: Option<&str>) -> Result<(), StoreError> {
        let request = self.client.update_secret_version_stage().secret_id(path).version_stage(CURRENT);
        let request = request.move_to_version_id(to).set_remove_from_version_id(from.map(str::to_owned));
        request.send().await.map_err(|error| StoreError::Unavailable(DisplayErrorContext(error).to_string()))?;
        Ok(())
    }

    /// Returns the labels of each version, by version id. Versions without labels are absent.
    pub(super) async fn versions(&self, path: &str) -> Result<HashMap<String, Vec<String>>, StoreError> {
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

    async fn put(&self, path: &str, text: Text<'_>, label: &str) -> Result<(), StoreError> {
        let request = self.client.put_secret_value().secret_id(path).secret_string(text.text.expose_secret());
        let request = request.client_request_token(text.id).version_stages(label);
        request.send().await.map_err(|error| {
            if error.as_service_error().is_some_and(PutSecretValueError::is_resource_not_found_exception) {
                StoreError::Missing { key: path.to_owned() }
            } else {
                StoreError::Unavailable(DisplayErrorContext(error).to_string())
            }
        })?;
        Ok(())
    }

    /// Takes a secret out of its recovery window. See [`Secrets::restore`](super::Secrets::restore).
    pub(super) async fn restore(&self, path: &str, deleted_at: Option<Timestamp>) -> Result<(), StoreError> {
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

    /// Reads the current text of the secret with that path or ARN.
    pub(super) async fn current(&self, id: &str) -> Result<SecretString, StoreError> {
        self.read(id, Version::Current).await
    }

    /// Returns the first text of a path that `take` takes, whatever its label and its id are.
    pub(super) async fn find<T>(
        &self,
        path: &str,
        id: &str,
        take: impl Fn(SecretString) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        for version in [Version::Current, Version::Of(id), Version::Previous] {
            let text = match self.read(path, version).await {
                // A path without a current version has no secret at all.
                Err(StoreError::Missing { .. }) if version != Version::Current => continue,
                read => read?,
            };
            if let Some(taken) = take(text)? {
                return Ok(Some(taken));
            }
        }
        Ok(None)
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
