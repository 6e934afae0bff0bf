//! `/notices`: who is notified of what happens to the tenant's webhooks. For an admin of the tenant.
//!
//! The use cases are in [`crate::notices`].

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use domain::delivery::State as DeliveryState;
use domain::value::Map;
use domain::webhook::notice::NoticeSettings;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::body::{JsonBody, OptionalJson};
use crate::caller::Admin;
use crate::etag::{IfMatch, etag};
use crate::idempotency::FirstTry;
use crate::notices::{self, NoticeBody, TestBody};
use crate::parameters::IfMatchHeader;
use crate::problem::{Problem, ProblemBody};

/// The id of a notice.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes path parameters")]
pub struct NoticePath {
    /// `ntc_` and a ULID.
    #[param(pattern = "^ntc_[0-7][0-9A-HJKMNP-TV-Z]{25}$", example = "ntc_01JD3V7Q5N8Z4T6W9X2Y1R0PMK")]
    id: String,
}

/// All notices of a tenant.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NoticeList {
    /// Oldest first; at most 20.
    data: Vec<NoticeBody>,
}

/// A change of a notice. Fields that are not sent stay as they are, `null` resets one, and `channel` is replaced as a
/// whole.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the schema; the body is merged before it is read")]
pub(super) struct NoticePatch {
    #[schema(min_length = 1, max_length = 400)]
    name: Option<String>,
    channel: Option<domain::webhook::notice::Channel>,
    #[schema(max_items = 20)]
    event_types: Option<Vec<String>>,
    #[schema(max_items = 20)]
    webhook_ids: Option<Vec<String>>,
    enabled: Option<bool>,
}

/// The code of an address.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// The code of the mail. Without one, each address that is not confirmed gets a new one.
    #[serde(default)]
    #[schema(examples("5f0c1b2a9d8e7f6a5b4c"))]
    code: Option<String>,
}

type Tagged = ([(HeaderName, HeaderValue); 1], Json<NoticeBody>);

fn tagged(notice: NoticeBody) -> Tagged {
    (etag(notice.version), Json(notice))
}

/// Creates a notice
///
/// A notice tells people once an hour at most of the same kind of event about the same webhook. Each e-mail address gets
/// a mail with a code, and nothing else until the code is sent to `POST /notices/{id}/confirm`.
#[utoipa::path(post, path = "/notices", tag = "Notices",
    request_body = NoticeSettings,
    responses(
        (status = 201, description = "The notice", body = NoticeBody),
        (status = 409, description = "The tenant has 20 notices", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    admin: Admin,
    first_try: Option<Extension<FirstTry>>,
    JsonBody(settings): JsonBody<NoticeSettings>,
) -> Result<Response, Problem> {
    admin.of_the_tenant()?;
    let notice = notices::create(&app, &admin, first_try.as_deref(), settings).await?;
    let location = format!("{}/api/v1/integration/notices/{}", app.public_url, notice.id);
    let location = HeaderValue::from_str(&location).ok().map(|location| (LOCATION, location));
    let mut response = (StatusCode::CREATED, tagged(notice)).into_response();
    response.headers_mut().extend(location);
    Ok(response)
}

/// Lists notices
#[utoipa::path(get, path = "/notices", tag = "Notices",
    responses((status = 200, description = "All notices", body = NoticeList)))]
pub(super) async fn list(State(app): State<Arc<App>>, admin: Admin) -> Result<Json<NoticeList>, Problem> {
    admin.of_the_tenant()?;
    Ok(Json(NoticeList { data: notices::list(&app, &admin).await? }))
}

/// Reads a notice
#[utoipa::path(get, path = "/notices/{id}", tag = "Notices", params(NoticePath),
    responses((status = 200, description = "The notice; its version is the ETag", body = NoticeBody)))]
pub(super) async fn get(State(app): State<Arc<App>>, admin: Admin, Path(id): Path<String>) -> Result<Tagged, Problem> {
    admin.of_the_tenant()?;
    Ok(tagged(notices::get(&app, &admin, &id).await?))
}

/// Changes a notice
///
/// A JSON merge patch (RFC 7396), except that `channel` is replaced as a whole. An address that is in the list already
/// stays confirmed; a new one gets a mail with a code. A notice that was paused because it could not be sent is resumed.
#[utoipa::path(patch, path = "/notices/{id}", tag = "Notices", params(NoticePath, IfMatchHeader),
    request_body(content = NoticePatch, example = json!({"enabled": false})),
    responses((status = 200, description = "The notice as it is now", body = NoticeBody)))]
pub(super) async fn patch(
    State(app): State<Arc<App>>,
    admin: Admin,
    if_match: IfMatch,
    Path(id): Path<String>,
    JsonBody(patch): JsonBody<Map>,
) -> Result<Tagged, Problem> {
    admin.of_the_tenant()?;
    Ok(tagged(notices::merge_settings(&app, &admin, &id, &if_match, patch).await?))
}

/// Deletes a notice
#[utoipa::path(delete, path = "/notices/{id}", tag = "Notices", params(NoticePath, IfMatchHeader),
    responses((status = 204, description = "It is deleted")))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    admin: Admin,
    if_match: IfMatch,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    admin.of_the_tenant()?;
    notices::delete(&app, &admin, &id, &if_match).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Confirms an address
///
/// The code is in the mail that the address got. Without a code, each address that is not confirmed gets a new mail; the
/// earlier codes are then invalid. A tenant may have 50 such mails sent a day (UTC).
#[utoipa::path(post, path = "/notices/{id}/confirm", tag = "Notices", params(NoticePath),
    request_body = Option<Confirmation>,
    responses((status = 200, description = "The notice as it is now", body = NoticeBody)))]
pub(super) async fn confirm(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
    OptionalJson(Confirmation { code }): OptionalJson<Confirmation>,
) -> Result<Tagged, Problem> {
    admin.of_the_tenant()?;
    Ok(tagged(notices::confirm(&app, &admin, &id, code.as_deref()).await?))
}

/// Sends a test notice
///
/// Sent once, even if the notice is disabled. Returns 202 if there is no outcome after two seconds; `last_error` of the
/// notice says later whether it failed. A tenant may send 20 tests an hour.
#[utoipa::path(post, path = "/notices/{id}/test", tag = "Notices", params(NoticePath),
    responses(
        (status = 200, description = "The outcome", body = TestBody),
        (status = 202, description = "There is no outcome yet", body = TestBody),
        (status = 409, description = "No address is confirmed", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn test_notice(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<TestBody>), Problem> {
    admin.of_the_tenant()?;
    let outcome = notices::test(&app, &admin, &id).await?;
    let ended = outcome.state != DeliveryState::Pending;
    Ok((if ended { StatusCode::OK } else { StatusCode::ACCEPTED }, Json(outcome)))
}
