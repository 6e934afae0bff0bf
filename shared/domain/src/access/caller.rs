//! The caller's identity, as the authorizer passes it to the API.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::api_key::Scope;
use crate::id::{ApiKeyId, PortalLinkId};

/// Who the holder of a token or an API key is, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The subject: a person, or a service.
    pub subject: String,
    /// The tenant, if the token names one.
    pub tenant: Option<String>,
    /// The application, if the token belongs to one.
    pub app: Option<String>,
    /// The roles, named as the issuer names them.
    pub roles: Vec<String>,
    /// The scopes that an API key is limited to. Empty: no limit.
    pub scopes: Vec<Scope>,
    /// The API key, if one was used.
    pub api_key: Option<ApiKeyId>,
    /// When the identity expires, in seconds since 1970, including the tolerated clock skew.
    pub expires_at: i64,
}

impl Identity {
    /// Returns the portal link that the caller uses, if they use one.
    ///
    /// A link's key is an API key whose subject is the link. An API of an earlier version sees an API key that does not
    /// exist, and therefore refuses its writes and lets it manage no API keys.
    #[must_use]
    pub fn portal_link(&self) -> Option<PortalLinkId> {
        let key = self.api_key?;
        self.subject.parse().ok().filter(|link| key == ApiKeyId::from(*link))
    }
}

/// The context that the authorizer returns and API Gateway passes on.
///
/// An HTTP API answers a refusal with 403 and a text of its own. A refused token is therefore let through *without an
/// identity* and with the reason, and the API answers 401. Without an identity, no request gets any other answer.
///
/// API Gateway passes on only strings and numbers, so lists are JSON texts. A role therefore stays one role, whatever
/// characters it contains.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallerContext {
    /// The subject of the token. Present exactly if there is an identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The tenant, if the token names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The application, if the token belongs to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The roles: a JSON list of strings. Earlier versions wrote `roles`, separated by spaces, which is not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_list: Option<String>,
    /// The scopes that the token is limited to: a JSON list, empty without a limit. Earlier versions wrote `scopes`,
    /// which is not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope_list: Option<String>,
    /// The id of the API key, if one was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKeyId>,
    /// When the identity expires, in seconds since 1970. API Gateway may cache this answer for longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    /// The tenant for the access log of API Gateway, which does not guarantee escaping. For logs only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_tenant: Option<String>,
    /// The subject for the same log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_subject: Option<String>,
    /// Why there is no identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// If the token could not be checked because the issuer's keys are unavailable: after how many seconds to retry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
}

/// Why a context contains no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoIdentity {
    /// The authorizer refused the token, or none was sent.
    #[error("{0}")]
    Refused(String),
    /// The authorizer has no keys to check the token with. It fetches them again after this many seconds.
    #[error("the keys of the tokens' issuer cannot be fetched now")]
    Unchecked(u32),
    /// A different version of the authorizer wrote the context, which API Gateway caches for a minute.
    #[error("the authorizer's context is of another version")]
    OtherVersion,
}

impl CallerContext {
    /// Returns the context of an identity.
    #[must_use]
    pub fn of(identity: Identity) -> Self {
        Self {
            log_subject: Some(for_log(&identity.subject)),
            log_tenant: identity.tenant.as_deref().map(for_log),
            subject: Some(identity.subject),
            tenant: identity.tenant,
            app: identity.app,
            role_list: serde_json::to_string(&identity.roles).ok(),
            scope_list: serde_json::to_string(&identity.scopes).ok(),
            api_key: identity.api_key,
            expires_at: Some(identity.expires_at),
            refusal: None,
            retry_after: None,
        }
    }

    /// Returns the context of a refused token.
    #[must_use]
    pub fn refusing(reason: String) -> Self {
        Self { refusal: Some(reason), ..Self::default() }
    }

    /// Returns the context of a token that could not be checked, with the seconds until a retry.
    #[must_use]
    pub fn unchecked(retry_after: u32) -> Self {
        let refusal = NoIdentity::Unchecked(retry_after).to_string();
        Self { retry_after: Some(retry_after), ..Self::refusing(refusal) }
    }

    /// Returns the identity.
    ///
    /// # Errors
    ///
    /// If it is missing, or a different version of the authorizer wrote the context.
    pub fn identity(self) -> Result<Identity, NoIdentity> {
        let Some(subject) = self.subject else {
            if let Some(seconds) = self.retry_after {
                return Err(NoIdentity::Unchecked(seconds));
            }
            let advice = || "send a token as Authorization: Bearer <token>".to_owned();
            return Err(NoIdentity::Refused(self.refusal.unwrap_or_else(advice)));
        };
        Ok(Identity {
            subject,
            tenant: self.tenant,
            app: self.app,
            roles: list(self.role_list.as_deref())?,
            scopes: list(self.scope_list.as_deref())?,
            api_key: self.api_key,
            expires_at: self.expires_at.ok_or(NoIdentity::OtherVersion)?,
        })
    }
}

fn list<T: DeserializeOwned>(json: Option<&str>) -> Result<Vec<T>, NoIdentity> {
    json.and_then(|json| serde_json::from_str(json).ok()).ok_or(NoIdentity::OtherVersion)
}

/// The longest text for a log, in characters.
const MAX_LOGGED: usize = 128;

/// Makes a text safe between the quotes of a JSON string without escaping: every character except letters, digits and
/// the punctuation of names and addresses becomes `?`.
#[must_use]
pub fn for_log(text: &str) -> String {
    let safe = |character: char| character.is_ascii_alphanumeric() || "-_.:@+=|/".contains(character);
    text.chars().take(MAX_LOGGED).map(|character| if safe(character) { character } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::subsequence;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::link("lnk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK", Some("key_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"), true)]
    #[case::api_key("key_01JD3V7Q5N8Z4T6W9X2Y1R0PMK", Some("key_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"), false)]
    #[case::subject_of_a_token("lnk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK", None, false)]
    #[case::another_key("lnk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK", Some("key_01JD3V7Q5N8Z4T6W9X2Y1R0PMM"), false)]
    fn a_portal_link_is_an_api_key_with_its_own_subject(
        #[case] subject: &str,
        #[case] api_key: Option<&str>,
        #[case] is_link: bool,
    ) {
        let identity = Identity {
            subject: subject.to_owned(),
            tenant: None,
            app: None,
            roles: Vec::new(),
            scopes: Vec::new(),
            api_key: api_key.map(|key| key.parse().unwrap()),
            expires_at: 1,
        };
        assert_eq!(identity.portal_link(), is_link.then(|| subject.parse().unwrap()));
    }

    #[test]
    fn names_are_logged_as_they_are() {
        for name in ["acme", "auth0|5f7c8ec7c33c6c004bbafe82", "anna@example.com", "key_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"] {
            assert_eq!(for_log(name), name);
        }
        assert_eq!(for_log("a\",\"status\":\"200\\\n$context.é"), "a???status?:?200???context.?");
    }

    #[rstest]
    // The context of the previous version: its roles are ignored, and its scopes cause a refusal.
    #[case::joined_roles(json!({"subject": "anna", "roles": "not ADMIN", "expires_at": 1}), NoIdentity::OtherVersion)]
    #[case::joined_scopes(json!({"subject": "key", "role_list": "[\"ADMIN\"]", "scopes": "events:read", "expires_at": 1}),
        NoIdentity::OtherVersion)]
    #[case::unknown_scope(json!({"subject": "key", "role_list": "[]", "scope_list": "[\"all\"]", "expires_at": 1}),
        NoIdentity::OtherVersion)]
    #[case::no_list(json!({"subject": "a", "role_list": "ADMIN", "scope_list": "[]", "expires_at": 1}), NoIdentity::OtherVersion)]
    #[case::no_end(json!({"subject": "a", "role_list": "[]", "scope_list": "[]"}), NoIdentity::OtherVersion)]
    #[case::refused(json!({"refusal": "the token has expired", "role_list": "[\"ADMIN\"]"}),
        NoIdentity::Refused("the token has expired".to_owned()))]
    #[case::unchecked(json!({"refusal": "the keys …", "retry_after": 60}), NoIdentity::Unchecked(60))]
    #[case::nothing(json!({}), NoIdentity::Refused("send a token as Authorization: Bearer <token>".to_owned()))]
    fn refuses_invalid_contexts(#[case] context: serde_json::Value, #[case] why: NoIdentity) {
        let context: CallerContext = serde_json::from_value(context).unwrap();
        assert_eq!(context.identity(), Err(why));
    }

    /// As passed through API Gateway, and for an API of the previous version, which answers 401 with this reason.
    #[test]
    fn an_unchecked_token_gives_no_identity() {
        let context = serde_json::to_value(CallerContext::unchecked(60)).unwrap();
        assert_eq!(
            context,
            json!({"refusal": "the keys of the tokens' issuer cannot be fetched now", "retry_after": 60})
        );
        let context: CallerContext = serde_json::from_value(context).unwrap();
        assert_eq!(context.identity(), Err(NoIdentity::Unchecked(60)));
    }

    fn role() -> impl Strategy<Value = String> {
        prop_oneof!["(ADMIN|OPERATOR)", "[ADMIN OPERATOR\",\\[\\]\\\\\u{a0}\n]{0,12}", any::<String>()]
    }

    proptest! {
        #[test]
        fn whatever_is_logged_stays_within_its_quotes(text in any::<String>()) {
            let line = format!("{{\"subject\":\"{}\"}}", for_log(&text));
            let logged: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(logged["subject"].as_str().unwrap(), for_log(&text));
        }

        /// As passed from the authorizer through API Gateway to the API.
        #[test]
        fn an_identity_arrives_as_it_is(
            subject in any::<String>(),
            tenant in any::<Option<String>>(),
            app in any::<Option<String>>(),
            roles in prop::collection::vec(role(), 0..4),
            scopes in subsequence(&Scope::ALL, 0..=5),
            expires_at in any::<i64>(),
        ) {
            let identity = Identity { subject, tenant, app, roles, scopes, api_key: None, expires_at };
            let context = serde_json::to_value(CallerContext::of(identity.clone())).unwrap();
            let values = context.as_object().unwrap().values();
            prop_assert!(values.into_iter().all(|value| value.is_string() || value.is_number()), "{context}");
            let context: CallerContext = serde_json::from_value(context).unwrap();
            prop_assert_eq!(context.identity(), Ok(identity));
        }
    }
}
