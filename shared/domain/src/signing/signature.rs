//! Signing: what proves to a receiver that a delivery is ours, and to us that a call is a sender's.
//!
//! [`sign`](super::sign::sign) writes the headers of as many [`Signature`]s as a webhook asks for, [`verify`](super::verify::verify) reads those of a call;
//! [`keys`](super::keys) has the tenants' own key pairs, whose public half anybody may have.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::secret::SecretFormat;

/// The header of the plain scheme, unless the webhook names another one.
const PLAIN_HEADER: &str = "x-signature-256";

/// What stands at the end of the name of the header that has the signature of the secret before.
pub(super) const PREVIOUS: &str = "-previous";

/// How requests are signed: with HMAC-SHA256 under the webhook's secret, or with the tenant's key pair, each scheme over other
/// bytes and in another form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureScheme {
    /// [Standard Webhooks][1] 1.0.0: `v1,` and base64 over `<id>.<timestamp>.<body>`; the key is what `whsec_` encodes.
    ///
    /// [1]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    #[default]
    StandardWebhooks,
    /// The same with Ed25519: `v1a,` and base64; the key is the tenant's, and its public half is served to everybody.
    StandardWebhooksEd25519,
    /// `X-Signature-256`, or a header of one's own: hexadecimal or base64 over the body; the key is the secret's text.
    HmacSha256,
    /// [`X-Hub-Signature-256`][1]: `sha256=` and hexadecimal over the body; the key is the secret's text.
    ///
    /// [1]: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    Github,
    /// [`Stripe-Signature`][1]: `t=…,v1=` and hexadecimal over `<timestamp>.<body>`; the key is the secret's text.
    ///
    /// [1]: https://docs.stripe.com/webhooks#verify-manually
    Stripe,
    /// [`X-SuperOffice-Signature`][1]: base64 over the body; the key is the secret's text.
    ///
    /// [1]: https://docs.superoffice.com/en/automation/webhook/security.html
    #[serde(rename = "superoffice")]
    SuperOffice,
    /// [`X-Shopify-Hmac-Sha256`][1]: base64 over the body; the key is the secret's text.
    ///
    /// [1]: https://shopify.dev/docs/apps/build/webhooks/verify-deliveries
    Shopify,
}

impl SignatureScheme {
    /// Says whether a secret that looks like this can sign.
    #[must_use]
    pub fn takes(self, format: SecretFormat) -> bool {
        self != Self::StandardWebhooks || format == SecretFormat::Whsec
    }

    /// Returns the headers that carry the signatures, in lower case: the first that of the current secret.
    const fn headers(self) -> &'static [&'static str] {
        match self {
            Self::StandardWebhooks | Self::StandardWebhooksEd25519 => &["webhook-signature"],
            Self::HmacSha256 => &[PLAIN_HEADER, "x-signature-256-previous"],
            Self::Github => &["x-hub-signature-256", "x-hub-signature-256-previous"],
            Self::Stripe => &["stripe-signature"],
            Self::SuperOffice => &["x-superoffice-signature", "x-superoffice-signature-previous"],
            Self::Shopify => &["x-shopify-hmac-sha256", "x-shopify-hmac-sha256-previous"],
        }
    }

    /// Returns the headers that the vendor sends beside the signature.
    pub(super) const fn companions(self) -> &'static [&'static str] {
        match self {
            Self::StandardWebhooks | Self::StandardWebhooksEd25519 | Self::HmacSha256 | Self::Github | Self::Stripe => {
                &[]
            }
            Self::SuperOffice => &["x-superoffice-event", "x-superoffice-eventid", "x-superoffice-retry"],
            Self::Shopify => &["x-shopify-topic", "x-shopify-webhook-id"],
        }
    }
}

/// How the bytes of a plain signature are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// 64 hexadecimal digits, in lower case.
    #[default]
    Hex,
    /// 44 characters of base64.
    Base64,
}

/// One signature of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// What is signed, and how it is written.
    #[schema(inline)]
    pub scheme: SignatureScheme,
    /// The header that carries it, for `hmac-sha256`: `X-Signature-256` unless given.
    #[serde(default)]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
        examples("X-Acme-Signature")
    )]
    pub header: Option<String>,
    /// How its bytes are written, for `hmac-sha256`.
    #[serde(default)]
    #[schema(inline)]
    pub encoding: Encoding,
}

impl From<SignatureScheme> for Signature {
    fn from(scheme: SignatureScheme) -> Self {
        Self { scheme, header: None, encoding: Encoding::Hex }
    }
}

impl Signature {
    /// Returns the name of the header that carries it, in lower case.
    #[must_use]
    pub fn header(&self) -> String {
        match &self.header {
            Some(name) if self.scheme == SignatureScheme::HmacSha256 => name.to_ascii_lowercase(),
            _ => self.scheme.headers()[0].to_owned(),
        }
    }

    /// Returns the names of all headers that come with it, in lower case, whether two secrets sign now or not.
    pub fn headers(&self) -> impl Iterator<Item = String> {
        let name = self.header();
        let previous = (self.scheme.headers().len() > 1).then(|| format!("{name}{PREVIOUS}"));
        let companions = self.scheme.companions().iter().map(|name| (*name).to_owned());
        std::iter::once(name).chain(previous).chain(companions)
    }

    /// Says whether it can stand in one header with the other: the two of Standard Webhooks are made for that.
    #[must_use]
    pub fn shares_header_with(&self, other: &Self) -> bool {
        use SignatureScheme::{StandardWebhooks, StandardWebhooksEd25519};
        matches!(
            (self.scheme, other.scheme),
            (StandardWebhooks, StandardWebhooksEd25519) | (StandardWebhooksEd25519, StandardWebhooks)
        )
    }
}
