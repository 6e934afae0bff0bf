//! Who calls the API: what the authorizer tells the api, and all that the api believes.

use serde::{Deserialize, Serialize};

/// The context that the authorizer returns and API Gateway hands on.
///
/// An HTTP API answers a refusal with 403 and in its own words. So a token that is refused passes *without an identity* and
/// with the reason, and the api answers 401; without an identity it answers nothing else.
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
    /// The roles, with spaces in between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<String>,
    /// What the token is narrowed to, with spaces in between; nothing if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<String>,
    /// When the token ends, in seconds since 1970: API Gateway may keep this answer for longer.
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

    use super::*;

    #[test]
    fn names_are_logged_as_they_are() {
        for name in ["acme", "auth0|5f7c8ec7c33c6c004bbafe82", "anna@example.com", "key_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"] {
            assert_eq!(for_log(name), name);
        }
        assert_eq!(for_log("a\",\"status\":\"200\\\n$context.é"), "a???status?:?200???context.?");
    }

    proptest! {
        #[test]
        fn whatever_is_logged_stays_within_its_quotes(text in any::<String>()) {
            let line = format!("{{\"subject\":\"{}\"}}", for_log(&text));
            let logged: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(logged["subject"].as_str().unwrap(), for_log(&text));
        }
    }
}
