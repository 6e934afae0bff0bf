//! Who calls the API: what the authorizer tells the api, and all that the api believes.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::api_key::Scope;
use crate::id::ApiKeyId;

/// Who the bearer of a token or an API key is, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The subject: a person, or a service.
    pub subject: String,
    /// The tenant, if the token names one.
    pub tenant: Option<String>,
    /// The application, if the token is one's.
    pub app: Option<String>,
    /// The roles, each as the issuer names it.
    pub roles: Vec<String>,
    /// What an API key is narrowed to; nothing if it is not.
    pub scopes: Vec<Scope>,
    /// The API key, if it is one.
    pub api_key: Option<ApiKeyId>,
    /// When this ends, in seconds since 1970. Whatever clocks may differ by is in it already.
    pub expires_at: i64,
}

/// The context that the authorizer returns and API Gateway hands on.
///
/// An HTTP API answers a refusal with 403 and in its own words. So a token that is refused passes *without an identity* and
/// with the reason, and the api answers 401; without an identity it answers nothing else.
///
/// API Gateway hands on texts and numbers only, so lists are JSON texts: whatever stands between two members, a role stays one role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallerContext {
    /// The subject of the token; there is an identity exactly if this is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The tenant, if the token names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The application, if the token is one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The roles: a JSON list of texts. Versions before wrote `roles`, with spaces in between, which is not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_list: Option<String>,
    /// What the token is narrowed to: a JSON list of scopes, empty if it is not. Versions before wrote `scopes`, which is not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope_list: Option<String>,
    /// The id of the API key, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKeyId>,
    /// When the identity ends, in seconds since 1970: API Gateway may keep this answer for longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    /// The tenant for the access log of API Gateway, which does not promise to escape what it writes; nothing to rely on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_tenant: Option<String>,
    /// The subject for the same log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_subject: Option<String>,
    /// Why there is no identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// If the token could not be checked, because the issuer's keys are not known: in how many seconds it is worth
    /// another try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
}

/// Why a context gives no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoIdentity {
    /// The authorizer refused the token, or none was sent.
    #[error("{0}")]
    Refused(String),
    /// The authorizer has no keys to check the token with; it asks for them again after so many seconds.
    #[error("the keys of the tokens' issuer cannot be fetched now")]
    Unchecked(u32),
    /// The authorizer of another version wrote the context, which API Gateway keeps for a minute.
    #[error("the authorizer's context is of another version")]
    OtherVersion,
}

impl CallerContext {
    /// Says who the bearer is.
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

    /// Says why there is no identity.
    #[must_use]
    pub fn refusing(reason: String) -> Self {
        Self { refusal: Some(reason), ..Self::default() }
    }

    /// Says that the token could not be checked, and in how many seconds it is worth another try.
    #[must_use]
    pub fn unchecked(retry_after: u32) -> Self {
        let refusal = NoIdentity::Unchecked(retry_after).to_string();
        Self { retry_after: Some(retry_after), ..Self::refusing(refusal) }
    }

    /// Returns the identity.
    ///
    /// # Errors
    ///
    /// If there is none, or one that another version of the authorizer wrote.
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

/// Returns a text that is safe between the quotes of a JSON string without escaping: every character but letters, digits and the
/// punctuation of names and addresses becomes `?`.
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

    #[test]
    fn names_are_logged_as_they_are() {
        for name in ["acme", "auth0|5f7c8ec7c33c6c004bbafe82", "anna@example.com", "key_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"] {
            assert_eq!(for_log(name), name);
        }
        assert_eq!(for_log("a\",\"status\":\"200\\\n$context.é"), "a???status?:?200???context.?");
    }

    #[rstest]
    // What the authorizer of the version before wrote: its roles are not believed, and its scopes not overlooked.
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
    fn is_no_identity(#[case] context: serde_json::Value, #[case] why: NoIdentity) {
        let context: CallerContext = serde_json::from_value(context).unwrap();
        assert_eq!(context.identity(), Err(why));
    }

    /// On the way through API Gateway, and for an api of the version before, which answers 401 with this reason.
    #[test]
    fn what_could_not_be_checked_is_no_identity() {
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

        /// On the way from the authorizer through API Gateway to the api.
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
