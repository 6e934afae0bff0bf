//! API keys: authenticate an application without an identity provider.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

use super::tenant::{AppId, TenantId};
use crate::id::{ApiKeyId, PortalLinkId};

/// The number of random bytes in a key. With this many, its hash needs no salt and no stretching.
const KEY_BYTES: usize = 32;

/// How long API Gateway caches the authorizer's answer for a key: `AuthorizerResultTtlInSeconds` in the template.
const KEPT: SignedDuration = SignedDuration::from_secs(60);

/// An API key of an application or of a whole tenant, without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its id, the first part of its text.
    pub id: ApiKeyId,
    /// Its tenant.
    pub tenant: TenantId,
    /// The application that uses it. Without one, the key acts for the whole tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppId>,
    /// A display name.
    pub name: String,
    /// What it may do. Without scopes: everything that an admin may.
    pub scopes: Vec<Scope>,
    /// When it was created.
    pub created_at: Timestamp,
    /// The subject of the token that created it.
    pub created_by: String,
    /// When it expires. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

impl ApiKey {
    /// Returns whether the key is valid at that time.
    #[must_use]
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|until| until > now)
    }

    /// Returns when a key that is revoked now stops working: API Gateway may cache the authorizer's answer until then,
    /// but not beyond the key's own expiry.
    #[must_use]
    pub fn ends_at(&self, revoked_at: Timestamp) -> Timestamp {
        ends_at(self.expires_at, revoked_at)
    }
}

/// Returns when a key with that expiry stops working if it is revoked now; see [`ApiKey::ends_at`].
pub(super) fn ends_at(expires_at: Option<Timestamp>, revoked_at: Timestamp) -> Timestamp {
    let kept = revoked_at.saturating_add(KEPT).unwrap_or(Timestamp::MAX);
    expires_at.map_or(kept, |until| until.clamp(revoked_at.min(kept), kept))
}

/// A permission that a key may be limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum Scope {
    /// Read webhooks.
    #[serde(rename = "webhooks:read")]
    WebhooksRead,
    /// Create, change, test and delete webhooks.
    #[serde(rename = "webhooks:write")]
    WebhooksWrite,
    /// Read deliveries.
    #[serde(rename = "deliveries:read")]
    DeliveriesRead,
    /// Read events, and the catalog of their types.
    #[serde(rename = "events:read")]
    EventsRead,
    /// Publish events.
    #[serde(rename = "events:write")]
    EventsWrite,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::WebhooksRead, Self::WebhooksWrite, Self::DeliveriesRead, Self::EventsRead, Self::EventsWrite];
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WebhooksRead => "webhooks:read",
            Self::WebhooksWrite => "webhooks:write",
            Self::DeliveriesRead => "deliveries:read",
            Self::EventsRead => "events:read",
            Self::EventsWrite => "events:write",
        })
    }
}

/// The length of a key's id, in characters: `key_` and a ULID.
const ID_CHARACTERS: usize = 30;

/// The length of [`KEY_BYTES`] in base64, in characters.
const RANDOM_CHARACTERS: usize = 43;

/// What a portal link's key has between its id and its random characters. No other key is as long.
const LINK_INFIX: &str = "_link_";

/// The text of a key: `<id>_<43 characters>`, or `<id>_link_<43 characters>` for that of a portal link. `Debug` shows
/// nothing of it.
#[derive(Debug)]
pub struct KeyText {
    id: ApiKeyId,
    text: SecretString,
}

/// The text is not an API key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an API key")]
pub struct ParseKeyError;

impl KeyText {
    /// Creates a key from the caller's random bytes.
    #[must_use]
    pub fn from_random(id: ApiKeyId, bytes: [u8; KEY_BYTES]) -> Self {
        Self { id, text: format!("{id}_{}", BASE64.encode(bytes)).into() }
    }

    /// Creates the key of a portal link from the caller's random bytes.
    #[must_use]
    pub fn of_link(id: PortalLinkId, bytes: [u8; KEY_BYTES]) -> Self {
        let id = ApiKeyId::from(id);
        Self { id, text: format!("{id}{LINK_INFIX}{}", BASE64.encode(bytes)).into() }
    }

    /// Returns the portal link that the key belongs to, if it has the form of a link's key.
    #[must_use]
    pub fn portal_link(&self) -> Option<PortalLinkId> {
        let random = self.text.expose_secret().get(ID_CHARACTERS..)?.strip_prefix(LINK_INFIX)?;
        (random.len() == RANDOM_CHARACTERS).then(|| self.id.into())
    }

    /// Returns whether a bearer token looks like an API key rather than a JWT.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("key_")
    }

    /// Returns the key's id.
    #[must_use]
    pub fn id(&self) -> ApiKeyId {
        self.id
    }

    /// Returns the text, to be shown once.
    #[must_use]
    pub fn text(&self) -> &SecretString {
        &self.text
    }

    /// Returns the hash, which is the only part that is stored.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash(hex::encode(Sha256::digest(self.text.expose_secret())))
    }
}

impl FromStr for KeyText {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (id, _) = text.split_at_checked(ID_CHARACTERS).ok_or(ParseKeyError)?;
        Ok(Self { id: id.parse().map_err(|_| ParseKeyError)?, text: text.to_owned().into() })
    }
}

/// The hash of a key's text: SHA-256, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(String);

impl KeyHash {
    /// Compares in constant time.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn key(byte: u8) -> KeyText {
        KeyText::from_random(ApiKeyId::from_parts(Timestamp::UNIX_EPOCH, 1), [byte; KEY_BYTES])
    }

    fn api_key() -> ApiKey {
        ApiKey {
            id: key(1).id(),
            tenant: "acme".parse().unwrap(),
            app: "crm".parse().ok(),
            name: "crm".to_owned(),
            scopes: Vec::new(),
            created_at: Timestamp::UNIX_EPOCH,
            created_by: "anna".to_owned(),
            expires_at: None,
            revoked_at: None,
        }
    }

    #[test]
    fn a_key_is_found_by_its_id_and_known_by_its_hash() {
        let text = key(1).text().expose_secret().to_owned();
        assert!(KeyText::is_meant(&text));
        let again: KeyText = text.parse().unwrap();
        assert_eq!(again.id(), key(1).id());
        assert!(again.hash().matches(&key(1).hash()));
        assert!(!again.hash().matches(&key(2).hash()));
        assert!(!format!("{again:?}").contains(&text[31..]));
    }

    #[test]
    fn the_key_of_a_portal_link_is_recognized_by_its_form() {
        let link = PortalLinkId::from_parts(Timestamp::UNIX_EPOCH, 1);
        let text = KeyText::of_link(link, [1; KEY_BYTES]);
        let again: KeyText = text.text().expose_secret().parse().unwrap();
        assert_eq!((again.id(), again.portal_link()), (link.into(), Some(link)));
        assert!(KeyText::is_meant(text.text().expose_secret()));
        assert!(!text.hash().matches(&key(1).hash()));
        assert_eq!(key(1).portal_link(), None);
        // The random characters of an API key may begin like this.
        let disguised = format!("{}_link_{}", key(1).id(), "a".repeat(38));
        assert_eq!(disguised.len(), key(1).text().expose_secret().len());
        assert_eq!(disguised.parse::<KeyText>().unwrap().portal_link(), None);
    }

    #[rstest]
    #[case::nothing("")]
    #[case::prefix_only("key_")]
    #[case::a_jwt("eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYSIsInR5cCI6IkpXVCJ9.e30.x")]
    #[case::another_id("whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK_abc")]
    #[case::cut_within_a_character("key_01JD3V7Q5N8Z4T6W9X2Y1R0PMé_abc")]
    fn refuses_invalid_keys(#[case] text: &str) {
        assert!(text.parse::<KeyText>().is_err());
    }

    #[rstest]
    #[case::kept_for_a_minute(None, 70)]
    #[case::lasts_longer(Some(100), 70)]
    #[case::ends_before(Some(40), 40)]
    #[case::has_ended(Some(5), 10)]
    fn a_revoked_key_opens_nothing_after_a_minute(#[case] expires: Option<i64>, #[case] ends: i64) {
        let at = |second| Timestamp::from_second(second).unwrap();
        let key = ApiKey { expires_at: expires.map(at), ..api_key() };
        assert_eq!(key.ends_at(at(10)), at(ends));
    }

    #[test]
    fn the_template_keeps_what_the_authorizer_said_for_as_long() {
        let template = include_str!("../../../../infra/template.yaml");
        assert!(template.contains(&format!("AuthorizerResultTtlInSeconds: {}\n", KEPT.as_secs())));
    }

    #[rstest]
    #[case::good(None, None, true)]
    #[case::not_yet_over(Some(11), None, true)]
    #[case::over(Some(10), None, false)]
    #[case::revoked(None, Some(3), false)]
    fn ends(#[case] expires: Option<i64>, #[case] revoked: Option<i64>, #[case] good: bool) {
        let at = |second| Timestamp::from_second(second).unwrap();
        let key = ApiKey { expires_at: expires.map(at), revoked_at: revoked.map(at), ..api_key() };
        assert_eq!(key.is_good(at(10)), good);
    }
}
