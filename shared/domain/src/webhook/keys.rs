//! Whose key pair signs a webhook's deliveries, and who may choose that.

use super::Webhook;
use super::authorization::origin::SetBy;
use super::settings::{Settings, SigningKeyOf};
use crate::fault::FieldError;
use crate::signing::keys::KeyOwner;

impl Webhook {
    /// Returns whose key pair signs its deliveries, if one does.
    #[must_use]
    pub fn key_owner(&self) -> Option<KeyOwner> {
        if !self.settings.signs_with_key_pair() {
            return None;
        }
        let webhook = (self.settings.signing_key() == SigningKeyOf::Webhook).then_some(self.id);
        Some(KeyOwner { tenant: self.tenant.clone(), webhook })
    }

    /// Returns the owner of the webhook's own key pair, whether or not it exists.
    #[must_use]
    pub fn own_key_owner(&self) -> KeyOwner {
        KeyOwner { tenant: self.tenant.clone(), webhook: Some(self.id) }
    }

    /// Checks that an application does not have anything signed with the tenant's key pair. Otherwise it could register
    /// a webhook, publish a body of its choice, and show other receivers a signature that they accept as the tenant's.
    ///
    /// An application may still enable and disable a webhook that it registered so with an earlier version.
    ///
    /// # Errors
    ///
    /// The field, and the value to send.
    pub fn check_key_owner(&self, before: Option<&Self>, by: SetBy) -> Result<(), FieldError> {
        let uses_tenants = self.key_owner().is_some_and(|owner| owner.webhook.is_none());
        let unchanged = before.is_some_and(|before| {
            let Settings { enabled, signing_key, .. } = self.settings;
            let same = Settings { signing_key, enabled, ..before.settings.clone() } == self.settings;
            same && before.key_owner() == self.key_owner()
        });
        if by == SetBy::Tenant || !uses_tenants || unchanged {
            return Ok(());
        }
        let detail = "must be `webhook` for an application; only admins of the tenant may have deliveries signed with the tenant's key";
        Err(FieldError::new("/signing_key", detail))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::webhook::settings;
    use crate::webhook::tests::webhook;

    fn signing(signing_key: &str, scheme: &str) -> Webhook {
        let mut webhook = webhook();
        let more = serde_json::json!({"signing_key": serde_json::from_str::<serde_json::Value>(signing_key).unwrap(), "signature_scheme": scheme});
        webhook.settings = settings::tests::parse(&more).unwrap();
        webhook
    }

    #[rstest]
    #[case::own("\"webhook\"", "standard-webhooks-ed25519", Some(true))]
    #[case::shared("\"tenant\"", "standard-webhooks-ed25519", Some(false))]
    // As earlier versions stored it: receivers have the tenant's key.
    #[case::not_said("null", "standard-webhooks-ed25519", Some(false))]
    #[case::no_key_pair("\"tenant\"", "standard-webhooks", None)]
    fn says_whose_key_signs(#[case] signing_key: &str, #[case] scheme: &str, #[case] own: Option<bool>) {
        let webhook = signing(signing_key, scheme);
        assert_eq!(webhook.key_owner().map(|owner| owner.webhook == Some(webhook.id)), own);
    }

    #[test]
    fn the_signing_key_stays_unless_set() {
        let resolved = |before: Option<&Webhook>, now: &Webhook| {
            let mut settings = now.settings.clone();
            settings.resolve_signing_key(before.map(|before| &before.settings));
            settings.signing_key.unwrap()
        };
        let (legacy, plain) = (signing("null", "standard-webhooks-ed25519"), signing("null", "github"));
        assert_eq!(resolved(None, &legacy), SigningKeyOf::Webhook, "a new one has its own");
        assert_eq!(resolved(Some(&legacy), &legacy), SigningKeyOf::Tenant);
        assert_eq!(resolved(Some(&plain), &legacy), SigningKeyOf::Webhook);
        let moved = signing("\"webhook\"", "standard-webhooks-ed25519");
        assert_eq!(resolved(Some(&legacy), &moved), SigningKeyOf::Webhook);
        assert_eq!(resolved(Some(&moved), &legacy), SigningKeyOf::Webhook);
    }

    #[test]
    fn an_application_has_nothing_signed_with_the_tenants_key() {
        let shared = signing("\"tenant\"", "standard-webhooks-ed25519");
        let own = signing("\"webhook\"", "standard-webhooks-ed25519");
        assert_eq!(shared.check_key_owner(None, SetBy::Tenant), Ok(()));
        assert_eq!(shared.check_key_owner(None, SetBy::Application).unwrap_err().pointer, "/signing_key");
        assert_eq!(own.check_key_owner(Some(&shared), SetBy::Application), Ok(()));
        let mut renamed = shared.clone();
        renamed.settings.name = "other".to_owned();
        assert!(renamed.check_key_owner(Some(&shared), SetBy::Application).is_err());
        let mut disabled = shared.clone();
        disabled.settings.enabled = false;
        assert_eq!(disabled.check_key_owner(Some(&shared), SetBy::Application), Ok(()));
        assert!(shared.check_key_owner(Some(&own), SetBy::Application).is_err());
    }
}
