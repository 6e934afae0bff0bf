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
    /// Why there is no identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}
