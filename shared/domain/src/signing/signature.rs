//! Signatures authenticate deliveries to receivers, and inbound calls to Dynahook.
//!
//! [`sign`](super::sign::sign) writes the headers of all [`Signature`]s of a webhook, and
//! [`verify`](super::verify::verify) checks those of a call. [`keys`](super::keys) has the key pairs, whose public keys
//! are published.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::secret::SecretFormat;

/// The default header of the plain scheme.
const PLAIN_HEADER: &str = "X-Signature-256";

/// How requests are signed: HMAC-SHA256 with the webhook's secret, or Ed25519 with a key pair. The schemes differ in
/// the bytes that they sign and in the form of the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureScheme {
    /// [Standard Webhooks][1] 1.0.0: `v1,` and base64 over `<id>.<timestamp>.<body>`; the key is what `whsec_` encodes.
    ///
    /// [1]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    #[default]
    StandardWebhooks,
    /// The same with Ed25519: `v1a,` and base64. The key is the webhook's or the tenant's, and its public half is
    /// published.
    StandardWebhooksEd25519,
    /// `X-Signature-256` or a custom header: hexadecimal or base64 over the body; the key is the secret's text.
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
    /// Returns whether a secret of this format can sign.
    #[must_use]
    pub fn takes(self, format: SecretFormat) -> bool {
        self != Self::StandardWebhooks || format == SecretFormat::Whsec
    }

    /// Returns the header of the signature, as the vendor writes it.
    const fn header(self) -> &'static str {
        match self {
            Self::StandardWebhooks | Self::StandardWebhooksEd25519 => "webhook-signature",
            Self::HmacSha256 => PLAIN_HEADER,
            Self::Github => "X-Hub-Signature-256",
            Self::Stripe => "Stripe-Signature",
            Self::SuperOffice => "X-SuperOffice-Signature",
            Self::Shopify => "X-Shopify-Hmac-Sha256",
        }
    }

    /// Returns whether the signature of the previous secret has a header of its own. Otherwise one header lists both.
    const fn has_previous_header(self) -> bool {
        match self {
            Self::StandardWebhooks | Self::StandardWebhooksEd25519 | Self::Stripe => false,
            Self::HmacSha256 | Self::Github | Self::SuperOffice | Self::Shopify => true,
        }
    }

    /// Returns the headers that the vendor sends in addition to the signature, as the vendor writes them.
    pub(super) const fn companions(self) -> &'static [&'static str] {
        match self {
            Self::StandardWebhooks | Self::StandardWebhooksEd25519 | Self::HmacSha256 | Self::Github | Self::Stripe => {
                &[]
            }
            Self::SuperOffice => &["X-SuperOffice-Event", "X-SuperOffice-EventId", "X-SuperOffice-Retry"],
            Self::Shopify => &["X-Shopify-Topic", "X-Shopify-Webhook-Id"],
        }
    }
}

/// The encoding of a plain signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SignatureEncoding)]
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
    /// What is signed, and the form of the signature.
    pub scheme: SignatureScheme,
    /// The header that carries it, for `hmac-sha256`. Default: `X-Signature-256`.
    #[serde(default)]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
        examples("X-Acme-Signature")
    )]
    pub header: Option<String>,
    /// The encoding of the signature, for `hmac-sha256`.
    #[serde(default)]
    pub encoding: Encoding,
}

impl From<SignatureScheme> for Signature {
    fn from(scheme: SignatureScheme) -> Self {
        Self { scheme, header: None, encoding: Encoding::Hex }
    }
}

impl Signature {
    /// Returns the name of its header, as the vendor or the webhook's owner writes it.
    #[must_use]
    pub fn header(&self) -> &str {
        match &self.header {
            Some(name) if self.scheme == SignatureScheme::HmacSha256 => name,
            _ => self.scheme.header(),
        }
    }

    /// Returns the name of the header with the signature of the previous secret, in the style of the other's.
    pub(super) fn previous_header(&self) -> String {
        let name = self.header();
        let is_lower = !name.contains(|c: char| c.is_ascii_uppercase());
        format!("{name}{}", if is_lower { "-previous" } else { "-Previous" })
    }

    /// Returns the names of all its headers, in lower case, whether or not two secrets currently sign.
    pub fn headers(&self) -> impl Iterator<Item = String> {
        let previous = self.scheme.has_previous_header().then(|| self.previous_header());
        let companions = self.scheme.companions().iter().map(|name| (*name).to_owned());
        let names = std::iter::once(self.header().to_owned()).chain(previous).chain(companions);
        names.map(|name| name.to_ascii_lowercase())
    }

    /// Returns whether both signatures can be in one header, as the two schemes of Standard Webhooks can.
    #[must_use]
    pub fn shares_header_with(&self, other: &Self) -> bool {
        use SignatureScheme::{StandardWebhooks, StandardWebhooksEd25519};
        matches!(
            (self.scheme, other.scheme),
            (StandardWebhooks, StandardWebhooksEd25519) | (StandardWebhooksEd25519, StandardWebhooks)
        )
    }
}
