//! Which secret of a webhook signs, and where secrets are stored.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::authorization;
use super::settings::Direction;
use crate::access::tenant::TenantId;
use crate::id::WebhookId;
use crate::signing::secret::{Fingerprint, SecretFormat};

/// Which secret signs, and where it is stored; never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretReference {
    /// The path in Secrets Manager or in the table of secrets.
    pub vault_path: String,
    /// Identifies the secret.
    pub fingerprint: Fingerprint,
    /// The format of the secret, which decides what schemes it can sign.
    pub format: SecretFormat,
    /// The previous secret, while both sign.
    pub previous: Option<PreviousSecret>,
    /// Identifies the request that made it the secret by a rotation, if a later try of that request can be recognised.
    pub rotation: Option<String>,
}

/// Prefixes of the paths of webhooks' secrets. Each direction has its own, so that the function that is called without
/// a token can read only the secrets of inbound webhooks, and the one that delivers can read none of those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretsPrefixes {
    /// Prefix for outbound webhooks and for tenants' own keys.
    pub outbound: String,
    /// Prefix for inbound webhooks.
    pub inbound: String,
}

impl SecretsPrefixes {
    /// Returns the path of a webhook's secret, `<prefix>/<tenant>/<webhook>`.
    ///
    /// The path is built here and never taken from a request, because the roles that read secrets can read every
    /// tenant's.
    #[must_use]
    pub fn vault_path(&self, direction: Direction, tenant: &TenantId, webhook: WebhookId) -> String {
        let prefix = match direction {
            Direction::Outbound => &self.outbound,
            Direction::Inbound => &self.inbound,
        };
        format!("{prefix}/{tenant}/{webhook}")
    }
}

/// The table that keeps webhooks' secrets instead of Secrets Manager, encrypted with a key of KMS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretsTable {
    /// The name of the table.
    pub name: String,
    /// The ARN of the key.
    pub key_arn: String,
}

/// A rotated secret that still signs together with its successor for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSecret {
    /// Identifies the secret.
    pub fingerprint: Fingerprint,
    /// When it stops signing.
    pub until: Timestamp,
}

impl SecretReference {
    /// Returns the path of the secret for the `Authorization` header. It does not depend on whether there is one.
    #[must_use]
    pub fn authorization_path(&self) -> String {
        authorization::vault_path(&self.vault_path)
    }

    /// Makes another secret the current one. The one before signs too for the overlap. Returns whether that changed
    /// anything: the secret may be the current one already.
    ///
    /// `rotation` identifies the request. If an earlier try of it made the current secret, that secret was never shown.
    /// It is replaced, and the secret before it, which the receiver still uses, stays the previous one.
    pub fn rotate(
        &mut self,
        (fingerprint, format): (&Fingerprint, SecretFormat),
        rotation: Option<&str>,
        overlap: Duration,
        at: Timestamp,
    ) -> bool {
        if self.fingerprint.matches(fingerprint) {
            return false;
        }
        let before = std::mem::replace(&mut self.fingerprint, fingerprint.clone());
        if !self.is_of(rotation) {
            self.previous = (!overlap.is_zero()).then_some(PreviousSecret { fingerprint: before, until: at + overlap });
        }
        self.format = format;
        self.rotation = rotation.map(str::to_owned);
        true
    }

    /// Returns whether that request made the current secret.
    #[must_use]
    pub fn is_of(&self, rotation: Option<&str>) -> bool {
        rotation.is_some() && self.rotation.as_deref() == rotation
    }

    /// Returns the secrets that sign at that time, the current one first.
    pub fn signing(&self, now: Timestamp) -> impl Iterator<Item = &Fingerprint> {
        let previous = self.previous.as_ref().filter(|previous| previous.until > now);
        std::iter::once(&self.fingerprint).chain(previous.map(|previous| &previous.fingerprint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::secret::tests::fingerprint;
    use crate::webhook::tests::webhook;

    const OVERLAP: Duration = Duration::from_hours(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn each_direction_has_a_path_of_its_own() {
        let prefixes = SecretsPrefixes { outbound: "/dev/webhooks".to_owned(), inbound: "/dev/inbound".to_owned() };
        let webhook = "whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK";
        let path = |direction| prefixes.vault_path(direction, &"acme".parse().unwrap(), webhook.parse().unwrap());
        assert_eq!(path(Direction::Outbound), format!("/dev/webhooks/acme/{webhook}"));
        assert_eq!(path(Direction::Inbound), format!("/dev/inbound/acme/{webhook}"));
    }

    #[test]
    fn both_secrets_sign_until_the_overlap_ends() {
        let mut secret = webhook().secret;
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        secret.previous = Some(PreviousSecret { fingerprint: fingerprint(2), until: now });
        assert_eq!(secret.signing(now).collect::<Vec<_>>(), [&fingerprint(1)]);
        let before = now - Duration::from_secs(1);
        assert_eq!(secret.signing(before).collect::<Vec<_>>(), [&fingerprint(1), &fingerprint(2)]);
    }

    /// The first try was executed and its answer was lost, so the receiver still has the secret before it.
    #[test]
    fn a_later_try_of_a_rotation_keeps_the_secret_that_the_receiver_has() {
        let mut secret = webhook().secret;
        assert!(secret.rotate((&fingerprint(2), SecretFormat::Whsec), Some("r1"), OVERLAP, at(0)));
        assert!(secret.rotate((&fingerprint(3), SecretFormat::Plain), Some("r1"), OVERLAP, at(40)));
        assert_eq!(secret.signing(at(3599)).collect::<Vec<_>>(), [&fingerprint(3), &fingerprint(1)]);
        assert_eq!(secret.signing(at(3600)).count(), 1, "the overlap began with the first try");
        assert_eq!(secret.format, SecretFormat::Plain);
    }

    #[test]
    fn another_rotation_keeps_the_last_two_secrets() {
        for (first, second) in [(None, None), (Some("r1"), None), (None, Some("r2")), (Some("r1"), Some("r2"))] {
            let mut secret = webhook().secret;
            assert!(secret.rotate((&fingerprint(2), SecretFormat::Whsec), first, OVERLAP, at(0)));
            assert!(secret.rotate((&fingerprint(3), SecretFormat::Whsec), second, OVERLAP, at(40)));
            assert_eq!(secret.signing(at(41)).collect::<Vec<_>>(), [&fingerprint(3), &fingerprint(2)]);
        }
    }

    #[test]
    fn a_rotation_to_the_current_secret_changes_nothing() {
        let mut secret = webhook().secret;
        secret.rotate((&fingerprint(2), SecretFormat::Whsec), Some("r1"), OVERLAP, at(0));
        for rotation in [None, Some("r1"), Some("r2")] {
            let before = secret.clone();
            assert!(!secret.rotate((&fingerprint(2), SecretFormat::Whsec), rotation, Duration::ZERO, at(1)));
            assert_eq!(secret, before);
        }
    }
}
