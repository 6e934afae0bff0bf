//! Schemas of requests about webhooks, for the contract. [`input`](super::input) and the domain read the values.

use domain::webhook::authorization::ClientAuthentication;
use serde::Deserialize;
use utoipa::ToSchema;

/// The fields of a new webhook that are not settings: its secret, its authorization, and other names of settings.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the schema; `input` reads the values")]
pub(crate) struct NewWebhookOnly {
    /// A secret of your own: `whsec_` and 24 to 64 bytes in base64, or a string of at least 8 characters, which cannot
    /// sign `standard-webhooks`. Default: a generated secret.
    #[schema(min_length = 8, max_length = 400)]
    secret: Option<String>,
    /// How its requests are authorized, in addition to the signature.
    authorization: Option<AuthorizationWithSecret>,
    /// The same as `url`.
    #[schema(nullable = false, max_length = 4000)]
    target_url: Option<String>,
    /// The same as `event_types`, separated by commas.
    #[schema(nullable = false, max_length = 4000, examples("contact.created,person.changed"))]
    events: Option<String>,
    /// The same as `enabled`: 1 is `true`, 2 is `false`.
    #[schema(nullable = false, minimum = 1, maximum = 2)]
    state: Option<u8>,
    /// The token's tenant; no other value is accepted.
    #[schema(nullable = false)]
    tenant_id: Option<String>,
    /// The same as `tenant_id`.
    #[schema(nullable = false)]
    company_id: Option<String>,
}

/// An authorization, including its secret.
// Only describes the schema. The domain reads the values, so that no error quotes one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
#[schema(as = NewAuthorization)]
#[expect(dead_code, reason = "describes the schema; the domain reads the values")]
pub(crate) enum AuthorizationWithSecret {
    /// A user name and a password.
    Basic {
        /// The user name, without a colon. It is not secret: it is stored in plain text.
        #[schema(max_length = 255)]
        username: String,
        /// The password. It may be empty, or the user name may.
        #[schema(max_length = 4096)]
        password: String,
    },
    /// A fixed token.
    Bearer {
        /// The token, without `Bearer`.
        #[schema(min_length = 1, max_length = 4096, pattern = "^[!-~]+$")]
        token: String,
    },
    /// A token that an authorization server issues for client credentials.
    OAuth2 {
        /// Where tokens are fetched. The same restrictions apply as to the webhook's `url`.
        #[schema(max_length = 4000, examples("https://login.example.com/oauth2/token"))]
        token_url: String,
        /// The client's id at the authorization server.
        #[schema(min_length = 1, max_length = 255)]
        client_id: String,
        /// The client's secret.
        #[schema(min_length = 1, max_length = 4096)]
        client_secret: String,
        /// The scopes of the token, separated by single spaces.
        #[schema(min_length = 1, max_length = 1024)]
        scope: Option<String>,
        /// The audience of the token, if the server requires one.
        #[schema(min_length = 1, max_length = 255)]
        audience: Option<String>,
        /// Where the token request carries the client's id and secret.
        #[serde(default)]
        client_authentication: ClientAuthentication,
    },
}
