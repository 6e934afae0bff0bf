//! What works but should be changed about a webhook. Warnings are in the answer to the request that wrote it.

use domain::access::tenant::{AppId, TenantId};
use domain::fault::FieldError;
use domain::matching::filter::Filter;
use domain::signing::secret::{WEAK_BELOW_CHARACTERS, WebhookSecret};
use domain::signing::signature::SignatureScheme;
use domain::webhook::Webhook;
use domain::webhook::encoding::ContentEncoding;
use domain::webhook::settings::{Direction, Settings};
use domain::webhook::unknown::{Kind, Known, Unknown};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use utoipa::ToSchema;

use super::representation::WebhookBody;
use crate::{App, help};

/// How many types of the catalog are read. If there are more, no type is called unknown.
const MAX_TYPES: usize = 500;

/// A webhook with its secret. No other response contains the secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookWithSecret {
    #[serde(flatten)]
    webhook: WebhookBody,
    /// The signing secret, which the receiver needs. Missing if an idempotency key repeats the request.
    #[schema(required = false, examples("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))]
    secret: String,
    /// What should be changed about it. Missing like the secret.
    #[schema(required = false)]
    warnings: Vec<Warning>,
}

impl WebhookWithSecret {
    pub(crate) fn new(webhook: WebhookBody, secret: &WebhookSecret, others: Vec<Warning>) -> Self {
        let warnings = secret.is_weak().then(Warning::weak_secret).into_iter().chain(others).collect();
        Self { webhook, secret: secret.to_text().expose_secret().to_owned(), warnings }
    }
}

/// A webhook that was changed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChangedWebhook {
    #[serde(flatten)]
    pub(crate) webhook: WebhookBody,
    /// What should be changed about it, as far as the request wrote it.
    pub(crate) warnings: Vec<Warning>,
}

/// Something that works but should be changed.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Warning {
    code: WarningCode,
    /// The field as a JSON pointer in fragment form; for a query parameter, `?` and its name (`?entity`).
    #[schema(examples("#/event_types/0"))]
    pointer: String,
    /// What it means.
    detail: String,
    /// The page that explains the warning, relative to this server.
    #[schema(examples("/docs/use/warnings#unknown_event_type"))]
    help: String,
}

/// What a warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WarningCode {
    /// The secret can be guessed.
    WeakSecret,
    /// The webhook has no URL, and sends nothing.
    NoUrl,
    /// No event of that type is known.
    UnknownEventType,
    /// No table of that name is a source.
    UnknownSource,
    /// No source has a collection of that name.
    UnknownCollection,
    /// A condition probably means something else.
    DoubtfulFilter,
    /// The signature covers compressed bytes, which common libraries cannot verify.
    CompressedSignature,
}

impl WarningCode {
    /// Returns the name used in the API.
    const fn as_str(self) -> &'static str {
        match self {
            Self::WeakSecret => "weak_secret",
            Self::NoUrl => "no_url",
            Self::UnknownEventType => "unknown_event_type",
            Self::UnknownSource => "unknown_source",
            Self::UnknownCollection => "unknown_collection",
            Self::DoubtfulFilter => "doubtful_filter",
            Self::CompressedSignature => "compressed_signature",
        }
    }
}

impl Warning {
    /// Returns a warning about the field at that pointer.
    fn new(code: WarningCode, pointer: &str, detail: String) -> Self {
        // The name of a query parameter has its question mark.
        let pointer = if pointer.starts_with('?') { pointer.to_owned() } else { format!("#{pointer}") };
        Self { code, pointer, detail, help: help::of_warning(code.as_str()) }
    }

    /// Warns of a secret that can be guessed.
    fn weak_secret() -> Self {
        let detail = format!(
            "the secret has fewer than {WEAK_BELOW_CHARACTERS} characters and can be guessed; rotate it to a generated one"
        );
        Self::new(WarningCode::WeakSecret, "/secret", detail)
    }

    /// Warns of a webhook that cannot send anything.
    fn no_url() -> Self {
        let detail = "the webhook is disabled until it has a `url` and `enabled` is set to true".to_owned();
        Self::new(WarningCode::NoUrl, "/url", detail)
    }

    /// Warns of a condition that probably means something else.
    fn doubtful_filter(doubt: FieldError) -> Self {
        Self::new(WarningCode::DoubtfulFilter, &format!("/filter{}", doubt.pointer), doubt.detail)
    }

    /// Warns of signatures that common libraries cannot verify.
    fn compressed_signature() -> Self {
        let detail = "the signature covers the compressed bytes, which the libraries of Standard Webhooks, GitHub, Stripe and Shopify cannot verify: they take the body as text; use identity, or verify the raw bytes";
        Self::new(WarningCode::CompressedSignature, "/content_encoding", detail.to_owned())
    }
}

impl From<Unknown> for Warning {
    fn from(unknown: Unknown) -> Self {
        let Unknown { pointer, kind, name, nearest } = unknown;
        let (code, what) = match kind {
            Kind::Source => (WarningCode::UnknownSource, format!("no table {name} is a source")),
            Kind::Collection => (WarningCode::UnknownCollection, format!("no source has the collection {name}")),
            Kind::EventType => {
                let what =
                    format!("no event of {name} is known: no source makes it, and none was published or described");
                (WarningCode::UnknownEventType, what)
            }
        };
        let nearest = nearest.map(|nearest| format!("; the nearest known name is {nearest}")).unwrap_or_default();
        Self::new(code, &pointer, format!("{what}{nearest}"))
    }
}

/// Returns what should be changed about the conditions and the URL of a webhook that was just written.
///
/// The webhook is written already, so an outage of the table only means that there are no warnings.
pub(crate) async fn of(app: &App, webhook: &Webhook) -> Vec<Warning> {
    let settings = &webhook.settings;
    if settings.direction == Direction::Inbound {
        // The events of an inbound webhook exist because of it.
        return Vec::new();
    }
    let mut warnings: Vec<_> = settings.url.is_empty().then(Warning::no_url).into_iter().collect();
    let doubts = settings.filter.iter().flat_map(Filter::doubts);
    warnings.extend(doubts.map(Warning::doubtful_filter));
    warnings.extend(is_compressed_for_libraries(settings).then(Warning::compressed_signature));
    if settings.event_types.is_empty() && settings.sources.is_empty() && settings.collections.is_empty() {
        return warnings;
    }
    let catalog = app.registry.event_types(&webhook.tenant, None, MAX_TYPES);
    match futures::future::try_join(app.registry.sources(), catalog).await {
        Ok((sources, catalog)) => {
            let types = catalog.entries.into_iter().map(|entry| entry.event_type);
            let known = Known::new(&sources, types, catalog.more, &webhook.tenant, webhook.app.as_ref());
            warnings.extend(known.unknown_names(settings).into_iter().map(Warning::from));
        }
        Err(error) => tracing::warn!(webhook.id = %webhook.id, %error, "the names in a webhook were not checked"),
    }
    warnings
}

/// Returns what should be changed about the path of an entity for which nothing was found. An outage of the table only
/// means that there are no warnings.
pub(crate) async fn of_entity(app: &App, tenant: &TenantId, of_app: Option<&AppId>, path: &str) -> Vec<Warning> {
    let catalog = app.registry.event_types(tenant, None, MAX_TYPES);
    match futures::future::try_join(app.registry.sources(), catalog).await {
        // A collection of a type that was not read may be the right one.
        Ok((_, catalog)) if catalog.more => Vec::new(),
        Ok((sources, catalog)) => {
            let types = catalog.entries.into_iter().map(|entry| entry.event_type);
            let known = Known::new(&sources, types, false, tenant, of_app);
            known.unknown_collection_of(path).map(Warning::from).into_iter().collect()
        }
        Err(error) => {
            tracing::warn!(tenant.id = %tenant, %error, "the path of an entity was not checked");
            Vec::new()
        }
    }
}

/// Returns whether a signature that libraries verify as text covers compressed bytes.
fn is_compressed_for_libraries(settings: &Settings) -> bool {
    let mut schemes = settings.signatures().into_iter().map(|signature| signature.scheme);
    settings.content_encoding == ContentEncoding::Gzip
        && schemes.any(|scheme| match scheme {
            SignatureScheme::StandardWebhooks
            | SignatureScheme::StandardWebhooksEd25519
            | SignatureScheme::Github
            | SignatureScheme::Stripe
            | SignatureScheme::Shopify => true,
            SignatureScheme::HmacSha256 | SignatureScheme::SuperOffice => false,
        })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::standard("standard-webhooks", "gzip", true)]
    #[case::ed25519("standard-webhooks-ed25519", "gzip", true)]
    #[case::github("github", "gzip", true)]
    #[case::stripe("stripe", "gzip", true)]
    #[case::shopify("shopify", "gzip", true)]
    #[case::superoffice("superoffice", "gzip", false)]
    #[case::of_the_bytes("hmac-sha256", "gzip", false)]
    #[case::not_compressed("standard-webhooks", "identity", false)]
    fn a_signature_that_libraries_cannot_verify_is_told(
        #[case] scheme: &str,
        #[case] encoding: &str,
        #[case] warned: bool,
    ) {
        let settings = serde_json::json!({"name": "n", "signature_scheme": scheme, "content_encoding": encoding});
        assert_eq!(is_compressed_for_libraries(&serde_json::from_value(settings).unwrap()), warned);
    }

    #[rstest]
    #[case::nearest(
        Some("packet.created"),
        "no event of pakcet.created is known: no source makes it, and none was published or described; the nearest known name is packet.created"
    )]
    #[case::none(None, "no event of pakcet.created is known: no source makes it, and none was published or described")]
    fn an_unknown_name_is_told_with_the_nearest(#[case] nearest: Option<&str>, #[case] detail: &str) {
        let unknown = Unknown {
            pointer: "/event_types/1".to_owned(),
            kind: Kind::EventType,
            name: "pakcet.created".to_owned(),
            nearest: nearest.map(str::to_owned),
        };
        let expected = Warning {
            code: WarningCode::UnknownEventType,
            pointer: "#/event_types/1".to_owned(),
            detail: detail.to_owned(),
            help: "/docs/use/warnings#unknown_event_type".to_owned(),
        };
        assert_eq!(Warning::from(unknown), expected);
    }
}
