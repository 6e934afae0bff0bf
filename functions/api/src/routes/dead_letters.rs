//! `/dead-letters`: deliveries that used up their attempts. For an admin of the tenant; an application sees its own.

use std::sync::Arc;

use aws::ledger::dead::Letters;
use axum::extract::State;
use axum::{Extension, Json};
use domain::delivery::State as DeliveryState;
use domain::delivery::job::{JobKind, JobScope, LetterPosition};
use domain::event::pattern::EventPattern;
use domain::id::WebhookId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::body::{OptionalJson, Query};
use crate::caller::Admin;
use crate::deliveries::DeliveryBody;
use crate::idempotency::FirstTry;
use crate::jobs::{JobBody, Pace, Started, start};
use crate::page::{Limit, Page, fit};
use crate::problem::{Fault, Problem, ProblemBody};
use crate::{App, registration};

/// A delivery that used up its attempts or was given up.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub struct DeadLetterBody {
    delivery: DeliveryBody,
    /// When it became a dead letter.
    #[schema(value_type = String, format = DateTime)]
    exhausted_at: Timestamp,
    /// The error of the last attempt.
    last_error: Option<String>,
}

impl DeadLetterBody {
    fn place(&self) -> LetterPosition {
        LetterPosition { at: self.exhausted_at.as_millisecond(), delivery: self.delivery.id }
    }
}

/// A page of dead letters.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeadLetterList {
    /// Newest first. A page may have fewer entries than requested, or none, and still not be the last one.
    data: Vec<DeadLetterBody>,
    /// The `cursor` of the next page; `null` if this is the last page.
    next_cursor: Option<String>,
}

/// The filters of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeadLetterQuery {
    /// The `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^[0-9]{1,14}-dlv_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    cursor: Option<String>,
    /// The maximum number of entries.
    #[param(value_type = u8, required = false, minimum = 1, maximum = 100, default = 50)]
    limit: Option<Limit>,
    /// Only dead letters of this webhook.
    #[param(value_type = String, required = false, pattern = "^whk_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    webhook_id: Option<WebhookId>,
    /// Only those of this type or group (`packet.*`, `*.deleted`).
    #[param(value_type = String, required = false, max_length = 128, pattern = r"^(\*|\*(\.[A-Za-z0-9_-]+)+|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(\.\*)?)$")]
    event_type: Option<EventPattern>,
    /// Only those that were exhausted at this time or later.
    #[param(value_type = String, format = DateTime, required = false)]
    from: Option<Timestamp>,
    /// Only those that were exhausted before this time.
    #[param(value_type = String, format = DateTime, required = false)]
    to: Option<Timestamp>,
}

/// Lists dead letters
///
/// Deliveries that used up their attempts or were given up, newest first, until they are sent again or expire 30 days
/// after their last attempt. Messages that could not be read are not included; they are in the operator's dead-letter
/// queue.
#[utoipa::path(get, path = "/dead-letters", tag = "Deliveries", params(DeadLetterQuery),
    responses((status = 200, description = "A page", body = DeadLetterList)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    admin: Admin,
    Query(filter): Query<DeadLetterQuery>,
) -> Result<Json<DeadLetterList>, Problem> {
    let DeadLetterQuery { cursor, limit, webhook_id, event_type, from, to } = filter;
    let (after, limit) = Page::new(cursor, limit).read::<LetterPosition>()?;
    let to = to.unwrap_or(Timestamp::MAX);
    let scope = JobScope { webhook: webhook_id, event_types: event_type.into_iter().collect(), from, to };
    let from = from.unwrap_or(Timestamp::UNIX_EPOCH);
    let now = app.clock.now();
    let which = Letters { tenant: &admin.tenant, from, to, after, newest_first: true, now };
    let found = app.ledger.dead_letters(which, limit, |letter| {
        (admin.app.is_none() || admin.app == letter.app) && scope.takes(letter.webhook, &letter.event_type)
    });
    let found = found.await?;
    let mut rows = app.ledger.rows(&app.registry, &admin.tenant, &found.letters, now).await?.rows;
    let mut data = Vec::with_capacity(found.letters.len());
    for letter in found.letters {
        // The list lags a little behind the ledger, so leave out deliveries that have been redriven since.
        let row = rows.remove(&letter.place.delivery).filter(|row| row.progress.state == DeliveryState::Exhausted);
        let Some(row) = row else { continue };
        let last_error = row.attempts.last().and_then(|attempt| attempt.outcome.error.clone());
        let exhausted_at = Timestamp::from_millisecond(letter.place.at).unwrap_or_default();
        data.push(DeadLetterBody { delivery: row.into(), exhausted_at, last_error });
    }
    let cut = fit(&mut data).map(DeadLetterBody::place);
    Ok(Json(DeadLetterList { data, next_cursor: cut.or(found.next).map(|place| place.to_string()) }))
}

/// Which dead letters to send again, and how fast.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Redrive {
    /// Only those of this webhook.
    #[schema(value_type = Option<String>, pattern = "^whk_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    webhook_id: Option<WebhookId>,
    /// Only those of this type or group (`packet.*`, `*.deleted`).
    #[schema(value_type = Option<String>, max_length = 128, pattern = r"^(\*|\*(\.[A-Za-z0-9_-]+)+|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(\.\*)?)$")]
    event_type: Option<EventPattern>,
    /// Only those that were exhausted at this time or later.
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Only those that were exhausted before this time. Default: now.
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// The number of deliveries a second.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100, default = 10)]
    rate_per_second: Option<u32>,
    /// Count only; send nothing.
    #[serde(default)]
    dry_run: bool,
}

/// Sends dead letters again
///
/// Sends all dead letters of the tenant, or those that match the filters, oldest first, each like `redeliver`. Dead
/// letters whose webhook is paused or disabled are skipped and remain dead letters.
#[utoipa::path(post, path = "/dead-letters/redrive", tag = "Jobs", request_body = Option<Redrive>,
    responses(
        (status = 202, description = "The job that was started", body = JobBody),
        (status = 404, description = "The webhook does not exist, or it belongs to another tenant or application", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "Too many jobs, or the idempotency key is in use", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn redrive(
    State(app): State<Arc<App>>,
    admin: Admin,
    first_try: Option<Extension<FirstTry>>,
    OptionalJson(body): OptionalJson<Redrive>,
) -> Result<Started, Problem> {
    let Redrive { webhook_id, event_type, from, to, rate_per_second, dry_run } = body;
    let pace = Pace::read(rate_per_second, dry_run)?;
    let now = app.clock.now();
    let to = to.map_or(now, |to| to.min(now));
    if from.is_some_and(|from| from >= to) {
        return Err(Problem::Invalid(vec![Fault::field("/from", "must be in the past and before `to`")]));
    }
    if let Some(webhook) = webhook_id {
        registration::visible(&app, &admin, &webhook.to_string()).await?;
    }
    let scope = JobScope { webhook: webhook_id, event_types: event_type.into_iter().collect(), from, to };
    start(&app, admin, first_try.as_deref(), JobKind::Redrive, scope, pace).await
}
