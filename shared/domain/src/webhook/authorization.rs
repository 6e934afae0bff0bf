//! The `Authorization` header, which authenticates Dynahook to a receiver in addition to the signature.
//!
//! Secret parts are stored in Secrets Manager at a path of their own. The types in this module can be shown, except
//! [`NewAuthorization`], which is what a caller sends.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::signing::secret::{Fingerprint, WebhookSecret};

pub mod binding;
mod input;
pub mod origin;
pub mod token;

use origin::{Origin, SetBy};

/// How a webhook's requests are authorized, and where the secret is stored; never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Authorization {
    /// What is sent.
    #[serde(flatten)]
    pub method: Method,
    /// The path of its secret.
    pub vault_path: String,
    /// Identifies the secret: a keyed hash.
    #[schema(value_type = String)]
    pub fingerprint: Fingerprint,
    /// The scheme, host and port for which it was set; it is sent to no other. `null` if it was set by a version that
    /// did not record this, and is bound to the webhook's URL.
    #[serde(default)]
    #[schema(value_type = Option<String>, required, examples("https://example.com"))]
    pub for_origin: Option<Origin>,
    /// Who set it: an admin of the tenant, or the webhook's application.
    #[serde(default)]
    #[schema(required)]
    pub set_by: SetBy,
}

/// What is sent, without the secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
#[schema(as = AuthorizationMethod)]
pub enum Method {
    /// A user name and a password ([RFC 7617](https://www.rfc-editor.org/rfc/rfc7617)).
    Basic {
        /// The user name.
        username: String,
    },
    /// A fixed token ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750)).
    Bearer,
    /// A token that an authorization server issues for client credentials. A new one is fetched when it expires.
    OAuth2(OAuth2),
}

/// Client credentials ([RFC 6749](https://www.rfc-editor.org/rfc/rfc6749#section-4.4)), without the client's secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct OAuth2 {
    /// Where tokens are fetched.
    pub token_url: String,
    /// The client's id at the authorization server.
    pub client_id: String,
    /// The scopes of the token, separated by spaces.
    #[serde(default)]
    #[schema(required)]
    pub scope: Option<String>,
    /// The audience of the token, if the server requires one.
    #[serde(default)]
    #[schema(required)]
    pub audience: Option<String>,
    /// Where the token request carries the client's id and secret.
    #[serde(default)]
    #[schema(required)]
    pub client_authentication: ClientAuthentication,
}

/// Where a token request carries the client's id and secret.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuthentication {
    /// In its `Authorization` header, form-encoded as the RFC requires.
    #[default]
    Basic,
    /// In its body, for servers that require it there.
    Body,
}

/// An authorization as a caller sends it, with its secret.
#[derive(Debug)]
pub struct NewAuthorization {
    /// What is sent.
    pub method: Method,
    /// The password, the token or the client's secret.
    pub secret: WebhookSecret,
}

impl Method {
    /// Returns the header value made from the secret, or `None` if the secret must first be exchanged for a token.
    #[must_use]
    pub fn header(&self, secret: &SecretString) -> Option<SecretString> {
        match self {
            Self::Basic { username } => {
                let password = Some(secret.expose_secret()).filter(|password| *password != EMPTY_PASSWORD);
                let pair: SecretString = format!("{username}:{}", password.unwrap_or_default()).into();
                Some(format!("Basic {}", BASE64.encode(pair.expose_secret())).into())
            }
            Self::Bearer => Some(bearer(secret)),
            Self::OAuth2(_) => None,
        }
    }

    /// Returns the header value with the secret masked.
    #[must_use]
    pub fn masked(&self) -> &'static str {
        match self {
            Self::Basic { .. } => "Basic ***",
            Self::Bearer | Self::OAuth2(_) => "Bearer ***",
        }
    }
}

/// What is stored for an empty password, because Secrets Manager stores no empty text. No password is or contains it.
const EMPTY_PASSWORD: &str = "\n";

/// Returns the header value for a token.
#[must_use]
pub fn bearer(token: &SecretString) -> SecretString {
    format!("Bearer {}", token.expose_secret()).into()
}

/// Returns whether a token is allowed in a header: visible ASCII without spaces.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Returns the path of the secret, derived from that of the signing secret.
///
/// Like that one, it is built here and never taken from a request.
#[must_use]
pub fn vault_path(signing: &str) -> String {
    format!("{signing}/authorization")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use secrecy::ExposeSecret;
    use serde_json::{Value, json};

    use super::*;
    use crate::signing::secret::tests::fingerprint;

    #[rstest]
    // The example from the RFC.
    #[case::basic(json!({"type": "basic", "username": "Aladdin"}), "open sesame", Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="))]
    #[case::basic_beyond_ascii(json!({"type": "basic", "username": "test"}), "123£", Some("Basic dGVzdDoxMjPCow=="))]
    #[case::bearer(json!({"type": "bearer"}), "1|abc", Some("Bearer 1|abc"))]
    #[case::oauth2(json!({"type": "oauth2", "token_url": "https://a.example/", "client_id": "c"}), "s", None)]
    fn makes_the_header(#[case] method: Value, #[case] secret: &str, #[case] expected: Option<&str>) {
        let method: Method = serde_json::from_value(method).unwrap();
        let header = method.header(&secret.to_owned().into());
        assert_eq!(header.as_ref().map(ExposeSecret::expose_secret), expected);
        assert!(!method.masked().contains(secret));
    }

    #[test]
    fn stored_form_has_no_secret_and_round_trips() {
        let method: Method = serde_json::from_value(json!({
            "type": "oauth2", "token_url": "https://a.example/token", "client_id": "c", "scope": "events",
        }))
        .unwrap();
        let kept = Authorization {
            method,
            vault_path: vault_path("/local/webhooks/acme/whk_1"),
            fingerprint: fingerprint(1),
            for_origin: Origin::of("https://b.example/hook"),
            set_by: SetBy::Application,
        };
        let text = serde_json::to_value(&kept).unwrap();
        assert_eq!(
            text,
            json!({
                "type": "oauth2", "token_url": "https://a.example/token", "client_id": "c", "scope": "events",
                "audience": null, "client_authentication": "basic",
                "vault_path": "/local/webhooks/acme/whk_1/authorization", "fingerprint": fingerprint(1).as_str(),
                "for_origin": "https://b.example", "set_by": "application",
            })
        );
        assert_eq!(serde_json::from_value::<Authorization>(text.clone()).unwrap(), kept);
        // The serialized form of the previous version.
        let mut text = text;
        text.as_object_mut().unwrap().retain(|name, _| name != "for_origin" && name != "set_by");
        let read: Authorization = serde_json::from_value(text).unwrap();
        assert_eq!((read.for_origin, read.set_by), (None, SetBy::Tenant));
    }
}
