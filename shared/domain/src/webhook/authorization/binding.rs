//! Binds a credential to the origin that it was given for. It is sent to no other origin.

use super::Authorization;
use super::origin::{Origin, SetBy};
use crate::fault::FieldError;
use crate::webhook::Webhook;
use crate::webhook::settings::Settings;

/// The credential would be sent to a different origin than the one that it was given for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the authorization was given for {}, but the URL is at {}: set the authorization again", shown(.given.as_ref()), shown(.asked.as_ref()))]
pub struct OtherOrigin {
    given: Option<Origin>,
    asked: Option<Origin>,
}

fn shown(origin: Option<&Origin>) -> &str {
    origin.map_or("no origin", Origin::as_str)
}

impl Authorization {
    /// Checks that the credential may be sent to a URL.
    ///
    /// A credential stored before origins were recorded is allowed: since then, no write has changed the origin of a
    /// webhook's URL without recording the origin.
    ///
    /// # Errors
    ///
    /// If it was given for another origin.
    pub fn allows(&self, url: &str) -> Result<(), OtherOrigin> {
        let asked = Origin::of(url);
        if self.for_origin.is_none() || self.for_origin == asked {
            Ok(())
        } else {
            Err(OtherOrigin { given: self.for_origin.clone(), asked })
        }
    }
}

/// The settings that determine where a request goes and what it contains besides the event.
///
/// An application that could change one of these could send requests of its choice with a credential that it was never
/// shown.
fn request_fields(before: &Settings, now: &Settings) -> Option<&'static str> {
    let changed = [
        ("url", before.url != now.url),
        ("headers", before.headers != now.headers),
        ("payload_format", before.payload_format != now.payload_format),
        ("template", before.template != now.template),
        ("properties", before.properties != now.properties),
    ];
    changed.into_iter().find(|(_, changed)| *changed).map(|(field, _)| field)
}

impl Webhook {
    /// Checks a change of the webhook: a credential that the change does not include must keep its origin, or the
    /// change is refused.
    ///
    /// Must be called before every write of a changed webhook. It also records the origin of a credential that was
    /// stored without one: the origin of the webhook's URL before the change.
    ///
    /// # Errors
    ///
    /// The field, and what to send.
    pub fn keep_credentials(&mut self, before: &Self, by: SetBy) -> Result<(), FieldError> {
        let Some(kept) = self.authorization.as_mut() else { return Ok(()) };
        if before.authorization.as_ref() != Some(&*kept) {
            // The change includes the credential, for the URL after the change.
            return kept.allows(&self.settings.url).map_err(|other| FieldError::new("/url", other));
        }
        if by == SetBy::Application
            && kept.set_by == SetBy::Tenant
            && let Some(field) = request_fields(&before.settings, &self.settings)
        {
            let detail = "cannot be changed by an application while an admin of the tenant's authorization is sent: send your own \
                          `authorization` with the change, or null to remove it";
            return Err(FieldError::new(&format!("/{field}"), detail));
        }
        if kept.for_origin.is_none() {
            kept.for_origin = Origin::of(&before.settings.url);
        }
        kept.allows(&self.settings.url).map_err(|OtherOrigin { given, .. }| {
            let given = shown(given.as_ref());
            let detail = format!("must keep its origin, because `authorization` was given for {given}: send `authorization` again with the change, or null to remove it");
            FieldError::new("/url", detail)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::webhook::tests::webhook;

    fn authorization(for_origin: Option<&str>, set_by: SetBy) -> Authorization {
        let stored = json!({
            "type": "basic", "username": "anna", "vault_path": "/v", "fingerprint": "f", "for_origin": for_origin, "set_by": set_by,
        });
        serde_json::from_value(stored).unwrap()
    }

    fn before(for_origin: Option<&str>, set_by: SetBy) -> Webhook {
        let mut webhook = webhook();
        webhook.settings.url = "https://a.example/hook".to_owned();
        webhook.authorization = Some(authorization(for_origin, set_by));
        webhook
    }

    #[rstest]
    #[case::another_path("https://a.example/other", true)]
    #[case::same_origin_in_other_words("https://A.example.:443/", true)]
    #[case::another_host("https://b.example/hook", false)]
    #[case::another_port("https://a.example:8443/hook", false)]
    #[case::another_scheme("http://a.example/hook", false)]
    fn a_credential_stays_at_its_origin(
        #[case] url: &str,
        #[case] allowed: bool,
        #[values(Some("https://a.example"), None)] stored: Option<&str>,
    ) {
        let before = before(stored, SetBy::Tenant);
        let mut now = before.clone();
        url.clone_into(&mut now.settings.url);
        let kept = now.keep_credentials(&before, SetBy::Tenant);
        assert_eq!(kept.is_ok(), allowed);
        if let Err(fault) = kept {
            assert_eq!(fault.pointer, "/url");
            assert!(fault.detail.contains("given for https://a.example:"), "{}", fault.detail);
        }
        // The first write records the origin, and `deliver` checks it too.
        let noted = now.authorization.unwrap();
        assert_eq!(noted.for_origin, Origin::of("https://a.example/"));
        assert_eq!(noted.allows(url).is_ok(), allowed);
    }

    #[test]
    fn a_change_may_bring_another_one_or_remove_it() {
        let before = before(Some("https://a.example"), SetBy::Tenant);
        let mut now = before.clone();
        now.settings.url = "https://b.example/".to_owned();
        now.authorization = None;
        assert_eq!(now.keep_credentials(&before, SetBy::Application), Ok(()));
        now.authorization = Some(authorization(Some("https://b.example"), SetBy::Application));
        assert_eq!(now.keep_credentials(&before, SetBy::Application), Ok(()));
        // Given for the previous URL.
        now.authorization = Some(authorization(Some("https://c.example"), SetBy::Tenant));
        assert_eq!(now.keep_credentials(&before, SetBy::Tenant).unwrap_err().pointer, "/url");
    }

    #[rstest]
    #[case::path(json!({"url": "https://a.example/admin"}), Some("/url"))]
    #[case::headers(json!({"headers": {"X-Action": "delete"}}), Some("/headers"))]
    #[case::template(json!({"payload_format": "template", "template": "{}"}), Some("/payload_format"))]
    #[case::properties(json!({"properties": {"grant": "all"}}), Some("/properties"))]
    #[case::name(json!({"name": "other"}), None)]
    #[case::event_types(json!({"event_types": ["order.deleted"]}), None)]
    fn an_application_cannot_change_requests_with_an_admins_credential(
        #[case] more: serde_json::Value,
        #[case] pointer: Option<&str>,
    ) {
        for (set_by, by, refused) in [
            (SetBy::Tenant, SetBy::Application, pointer),
            (SetBy::Tenant, SetBy::Tenant, None),
            (SetBy::Application, SetBy::Application, None),
        ] {
            let before = before(Some("https://a.example"), set_by);
            let mut now = before.clone();
            let mut settings = serde_json::to_value(&now.settings).unwrap();
            settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            now.settings = serde_json::from_value(settings).unwrap();
            let fault = now.keep_credentials(&before, by).err();
            assert_eq!(fault.as_ref().map(|fault| fault.pointer.as_str()), refused);
        }
    }

    #[test]
    fn deliver_refuses_what_a_row_should_not_hold() {
        let held = authorization(Some("https://a.example"), SetBy::Tenant);
        let error = held.allows("https://b.example/").unwrap_err().to_string();
        assert_eq!(
            error,
            "the authorization was given for https://a.example, but the URL is at https://b.example: set the authorization again"
        );
        assert!(held.allows("").is_err());
    }

    proptest! {
        /// No sequence of changes moves a credential to an origin that it was not given for.
        #[test]
        fn no_chain_of_changes_moves_a_credential(urls in prop::collection::vec("https?://[ab]\\.example(\\.|:80|:443|:8443)?/[a-z]?", 1..12), noted: bool) {
            let mut current = before(noted.then_some("https://a.example"), SetBy::Tenant);
            for url in urls {
                let mut now = current.clone();
                now.settings.url = url;
                if now.keep_credentials(&current, SetBy::Tenant).is_ok() {
                    current = now;
                }
                prop_assert_eq!(Origin::of(&current.settings.url), Origin::of("https://a.example/"));
            }
        }
    }
}
