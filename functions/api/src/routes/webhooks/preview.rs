//! Previews: the request that would be sent, for a configuration or for a registered webhook.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use domain::delivery::redelivery::Refusal;
use domain::delivery::request::{Sending, request};
use domain::event::Event;
use domain::payload::RenderError;
use domain::signing::keys::SigningKey;
use domain::signing::secret::WebhookSecret;
use domain::signing::sign::Keys;
use domain::webhook::sample::Sample;
use domain::webhook::settings::{Direction, Settings};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::Ref;

use crate::App;
use crate::body::{JsonBody, OptionalJson};
use crate::caller::Admin;
use crate::parameters::WebhookPath;
use crate::problem::{Fault, Problem, ProblemBody};
use crate::registration::input::{Input, NewWebhook};
use crate::registration::visible;
use crate::sample::{SampleBody, sample_event};

/// The configuration and event to preview.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewRequest {
    /// The configuration, as for a new webhook.
    #[schema(schema_with = new_webhook)]
    webhook: Input,
    /// The event.
    #[serde(default)]
    sample: SampleBody,
}

fn new_webhook() -> Ref {
    Ref::from_schema_name("NewWebhook")
}

/// The exact request that would be sent.
#[derive(Debug, Serialize, ToSchema)]
pub struct Preview {
    request: PreviewedRequest,
    form: Form,
}

/// A request.
#[derive(Debug, Serialize, ToSchema)]
pub struct PreviewedRequest {
    method: &'static str,
    url: String,
    /// The headers that Dynahook sets. Signed with the given secret, or with a sample secret. Sample and key-pair
    /// signatures cannot be verified. Authorization is masked.
    #[schema(value_type = std::collections::HashMap<String, String>)]
    headers: serde_json::Map<String, serde_json::Value>,
    /// The payload. These bytes are signed and sent; with `content_encoding: gzip`, their compressed form is.
    body: String,
}

/// Values for a configuration form ("Form RAW Response"), taken from the sample.
#[derive(Debug, Serialize, ToSchema)]
pub struct Form {
    /// Whether the item is soft deleted.
    #[serde(rename = "softRemoved")]
    soft_removed: bool,
    /// The item's status.
    status: Option<String>,
    /// The provider for which the webhook was configured.
    #[serde(rename = "integrationProvider")]
    integration_provider: Option<IntegrationProvider>,
}

/// An integration provider.
#[derive(Debug, Serialize, ToSchema)]
pub struct IntegrationProvider {
    path: String,
    segments: Vec<String>,
}

/// Previews a delivery
///
/// Nothing is stored and nothing is sent.
#[utoipa::path(post, path = "/webhooks/preview", tag = "Webhooks", request_body = PreviewRequest,
    responses((status = 200, description = "What would be sent", body = Preview)))]
pub(crate) async fn preview(
    State(app): State<Arc<App>>,
    admin: Admin,
    JsonBody(PreviewRequest { webhook: given, sample }): JsonBody<PreviewRequest>,
) -> Result<Json<Preview>, Problem> {
    let new = NewWebhook::read(&app, &admin, given).map_err(|problem| problem.below("/webhook"))?;
    let NewWebhook { settings, secret, authorization } = new;
    let authorization = authorization.map(|new| new.method.masked());
    let sample = Sample::from(sample);
    let event = sample_event(&app, sample, admin.app.as_ref(), admin.tenant, &settings).await?;
    let preview = previewed(settings, secret, authorization, &event, app.clock.now());
    Ok(Json(preview.map_err(|error| Problem::Invalid(vec![Fault::field("/webhook/template", error)]))?))
}

/// Previews a delivery of a registered webhook
///
/// Nothing is stored and nothing is sent. The body is the sample, as for a test. The signatures are made with a sample
/// secret, because the API cannot read the webhook's.
#[utoipa::path(post, path = "/webhooks/{id}/preview", tag = "Webhooks", params(WebhookPath),
    request_body = Option<SampleBody>,
    responses(
        (status = 200, description = "What would be sent", body = Preview),
        (status = 409, description = "The webhook is inbound, or its template fails", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn preview_saved(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
    OptionalJson(sample): OptionalJson<SampleBody>,
) -> Result<Json<Preview>, Problem> {
    let webhook = visible(&app, &admin, &id).await?.webhook;
    if webhook.settings.direction == Direction::Inbound {
        return Err(Problem::Conflict(Refusal::Inbound.to_string()));
    }
    let sample = Sample::from(sample);
    let event = sample_event(&app, sample, webhook.app.as_ref(), webhook.tenant, &webhook.settings).await?;
    let authorization = webhook.authorization.map(|authorization| authorization.method.masked());
    let preview = previewed(webhook.settings, None, authorization, &event, app.clock.now());
    Ok(Json(preview.map_err(|error| Problem::Conflict(error.to_string()))?))
}

/// Returns the request that would be sent for an event. Without a secret, the signatures are made with a sample.
fn previewed(
    settings: Settings,
    secret: Option<WebhookSecret>,
    masked_authorization: Option<&str>,
    event: &Event,
    at: Timestamp,
) -> Result<Preview, RenderError> {
    let secret = secret.unwrap_or_else(|| WebhookSecret::from_random([0; domain::signing::secret::GENERATED_BYTES]));
    let rendering = settings.rendering();
    let body = rendering.render(event, &event.event_type)?;
    let keys = Keys { secrets: &[&secret], signing_keys: &[&SigningKey::from_random([0; 32])] };
    let sending = Sending {
        event: event.id,
        event_type: &event.event_type,
        sequence: Some(&event.sequence),
        hops: event.hops.next().unwrap_or(event.hops),
        traceparent: event.traceparent,
        test: false,
        attempt: 1,
        content_type: rendering.content_type(),
        body: &body,
        at,
    };
    let headers = request(&settings, keys, &sending).headers;
    let authorization = masked_authorization.map(|masked| ("authorization".to_owned(), masked.into()));
    let headers = headers.into_iter().map(|(name, value)| (name, value.into())).chain(authorization);
    Ok(Preview {
        form: form(event, settings.integration_provider.clone()),
        request: PreviewedRequest { method: "POST", url: settings.url, headers: headers.collect(), body },
    })
}

fn form(event: &Event, integration_provider: Option<String>) -> Form {
    let state = event.new.as_ref().or(event.old.as_ref());
    let property = |name: &str| state.and_then(|state| state.properties.get(name));
    Form {
        soft_removed: property("softRemoved") == Some(&domain::value::Value::Bool(true)),
        status: property("status").and_then(domain::value::Value::as_text).map(str::to_owned),
        integration_provider: integration_provider
            .map(|path| IntegrationProvider { segments: path.split('/').map(str::to_owned).collect(), path }),
    }
}
