//! `/jobs`: sends many deliveries again in the background, at a limited rate. For an admin of the tenant; an
//! application sees its own jobs.

use std::sync::Arc;
use std::time::Duration;

use aws::ledger::Written;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use domain::delivery::job::{Action, Job, JobKind, JobScope, JobState};
use domain::delivery::redelivery::{Refusal, receives};
use domain::event::pattern::EventPattern;
use domain::id::JobId;
use domain::webhook::Webhook;
use domain::webhook::settings::MAX_EVENT_TYPES;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::body::{JsonBody, Query};
use crate::caller::Admin;
use crate::idempotency::FirstTry;
use crate::jobs::{JobBody, Pace, Started, start};
use crate::page::{Limit, Page};
use crate::parameters::WebhookPath;
use crate::problem::{Fault, Problem, ProblemBody};
use crate::registration::visible;

/// How many times a change of a job's state is tried if the job changes concurrently.
const ROUNDS: usize = 5;

/// How far back a replay can go. No event is kept for longer.
const MAX_AGE: Duration = Duration::from_hours(90 * 24);

/// Refuses a job for an inbound webhook. A paused or disabled webhook makes the job wait.
fn check_direction(webhook: &Webhook) -> Result<(), Problem> {
    match receives(webhook) {
        Err(refusal @ Refusal::Inbound) => Err(Problem::Conflict(refusal.to_string())),
        _ => Ok(()),
    }
}

/// Which dead letters of a webhook to send again, and how fast.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Recover {
    /// Only dead letters that were exhausted at this time or later.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// The number of deliveries a second.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100, default = 10)]
    rate_per_second: Option<u32>,
    /// Count only; send nothing.
    #[serde(default)]
    dry_run: bool,
}

/// Recovers a webhook
///
/// Sends every dead letter of the webhook since that time, oldest first, each like `redeliver`. Deliveries that still
/// wait for an attempt are not affected. While the webhook is paused or disabled, the job waits.
#[utoipa::path(post, path = "/webhooks/{id}/recover", tag = "Jobs", params(WebhookPath), request_body = Recover,
    responses(
        (status = 202, description = "The job that was started", body = JobBody),
        (status = 409, description = "Too many jobs, an inbound webhook, or the idempotency key is in use", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn recover(
    State(app): State<Arc<App>>,
    admin: Admin,
    first_try: Option<Extension<FirstTry>>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<Recover>,
) -> Result<Started, Problem> {
    let webhook = visible(&app, &admin, &id).await?.webhook;
    check_direction(&webhook)?;
    let pace = Pace::read(body.rate_per_second, body.dry_run)?;
    let to = app.clock.now();
    if body.since >= to {
        return Err(Problem::Invalid(vec![Fault::field("/since", "must be in the past")]));
    }
    let scope = JobScope { webhook: Some(webhook.id), event_types: Vec::new(), from: Some(body.since), to };
    start(&app, admin, first_try.as_deref(), JobKind::Recover, scope, pace).await
}

/// Which events to send to a webhook, and how fast.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// Only events at this time or later; at most 90 days ago.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// Only events before this time. Default: now.
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Only events of these types or groups, among those that the webhook matches.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 100)]
    event_types: Vec<EventPattern>,
    /// The number of deliveries a second.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100, default = 10)]
    rate_per_second: Option<u32>,
    /// Count only; send nothing.
    #[serde(default)]
    dry_run: bool,
}

/// Replays events to a webhook
///
/// Sends every stored event of the period that the webhook matches now, even if it was delivered before, oldest first.
/// Each is a new delivery, rendered with the webhook's current settings, with the event's own `webhook-id`. The webhook
/// may be newer than the events. While the webhook is paused or disabled, the job waits.
#[utoipa::path(post, path = "/webhooks/{id}/replay", tag = "Jobs", params(WebhookPath), request_body = Replay,
    responses(
        (status = 202, description = "The job that was started", body = JobBody),
        (status = 409, description = "Too many jobs, an inbound webhook, or the idempotency key is in use", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn replay(
    State(app): State<Arc<App>>,
    admin: Admin,
    first_try: Option<Extension<FirstTry>>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<Replay>,
) -> Result<Started, Problem> {
    let webhook = visible(&app, &admin, &id).await?.webhook;
    check_direction(&webhook)?;
    let pace = Pace::read(body.rate_per_second, body.dry_run)?;
    let now = app.clock.now();
    let (from, to) = (body.from.max(now - MAX_AGE), body.to.map_or(now, |to| to.min(now)));
    let mut faults = Vec::new();
    if from >= to {
        faults
            .push(Fault::field("/from", "must be in the past and before `to`; no event is kept for more than 90 days"));
    }
    if body.event_types.len() > MAX_EVENT_TYPES {
        faults.push(Fault::field("/event_types", format!("must have at most {MAX_EVENT_TYPES} entries")));
    }
    if !faults.is_empty() {
        return Err(Problem::Invalid(faults));
    }
    let scope = JobScope { webhook: Some(webhook.id), event_types: body.event_types, from: Some(from), to };
    start(&app, admin, first_try.as_deref(), JobKind::Replay, scope, pace).await
}

/// A page of jobs.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobList {
    /// Newest first.
    data: Vec<JobBody>,
    /// The `cursor` of the next page; `null` if this is the last page.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<JobId>,
}

/// The filters of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct JobQuery {
    /// The `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^job_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    cursor: Option<String>,
    /// The maximum number of entries.
    #[param(value_type = u8, required = false, minimum = 1, maximum = 100, default = 50)]
    limit: Option<Limit>,
    /// Only those in this state.
    #[param(value_type = String, required = false, pattern = "^(running|paused|done|cancelled|failed)$")]
    state: Option<JobState>,
}

/// Lists jobs
///
/// Newest first. Jobs expire 30 days after their last change.
#[utoipa::path(get, path = "/jobs", tag = "Jobs", params(JobQuery),
    responses((status = 200, description = "A page", body = JobList)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    admin: Admin,
    Query(filter): Query<JobQuery>,
) -> Result<Json<JobList>, Problem> {
    let (before, limit) = Page::new(filter.cursor, filter.limit).read()?;
    let wanted = |job: &Job| is_theirs(&admin, job) && filter.state.is_none_or(|state| state == job.state);
    // One more than the limit is read, to find out whether there is a next page.
    let mut jobs = app.ledger.jobs(&admin.tenant, before, limit + 1, app.clock.now(), wanted).await?;
    let more = jobs.len() > limit;
    jobs.truncate(limit);
    let next_cursor = jobs.last().filter(|_| more).map(|job| job.id);
    Ok(Json(JobList { data: jobs.into_iter().map(JobBody::from).collect(), next_cursor }))
}

/// The id of a job.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes path parameters")]
pub struct JobPath {
    /// `job_` and a ULID.
    #[param(pattern = "^job_[0-7][0-9A-HJKMNP-TV-Z]{25}$", example = "job_01JD3V7Q5N8Z4T6W9X2Y1R0PMK")]
    id: String,
}

/// Reads a job
#[utoipa::path(get, path = "/jobs/{id}", tag = "Jobs", params(JobPath),
    responses((status = 200, description = "The job and its progress", body = JobBody)))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<JobBody>, Problem> {
    Ok(Json(find(&app, &admin, &id).await?.into()))
}

/// Pauses a job
///
/// Deliveries that it has already sent continue, for up to a minute and a half. Pausing a paused job changes nothing.
#[utoipa::path(post, path = "/jobs/{id}/pause", tag = "Jobs", params(JobPath),
    responses(
        (status = 200, description = "The job as it is now", body = JobBody),
        (status = 409, description = "The job has ended, or the idempotency key is in use", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn pause(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<JobBody>, Problem> {
    act(&app, &admin, &id, Action::Pause).await
}

/// Resumes a job
///
/// It continues where it stopped, within a minute.
#[utoipa::path(post, path = "/jobs/{id}/resume", tag = "Jobs", params(JobPath),
    responses(
        (status = 200, description = "The job as it is now", body = JobBody),
        (status = 409, description = "The job has ended, or the idempotency key is in use", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn resume(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<JobBody>, Problem> {
    act(&app, &admin, &id, Action::Resume).await
}

/// Cancels a job
///
/// Deliveries that it has already sent continue. Cancelling a cancelled job changes nothing.
#[utoipa::path(post, path = "/jobs/{id}/cancel", tag = "Jobs", params(JobPath),
    responses(
        (status = 200, description = "The job as it is now", body = JobBody),
        (status = 409, description = "The job has ended, or the idempotency key is in use", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<JobBody>, Problem> {
    act(&app, &admin, &id, Action::Cancel).await
}

async fn act(app: &App, admin: &Admin, id: &str, action: Action) -> Result<Json<JobBody>, Problem> {
    for _ in 0..ROUNDS {
        let job = find(app, admin, id).await?;
        let state = job.state.after(action).map_err(|ended| Problem::Conflict(ended.to_string()))?;
        let now = app.clock.now();
        if state == job.state || app.ledger.set_job_state(&job, state, now).await? == Written::Yes {
            tracing::info!(job.id = %job.id, job.state = state.as_str(), by = admin.subject, "a job was asked to change its state");
            let reason = job.reason.clone().filter(|_| state == job.state);
            return Ok(Json(Job { state, reason, updated_at: now, ..job }.into()));
        }
    }
    Err(Problem::Conflict("the job keeps changing; send the request again".to_owned()))
}

async fn find(app: &App, admin: &Admin, id: &str) -> Result<Job, Problem> {
    let not_found = || Problem::NotFound("job");
    let id = id.parse().map_err(|_| not_found())?;
    let job = app.ledger.job(&admin.tenant, id, app.clock.now()).await?;
    job.filter(|job| is_theirs(admin, job)).ok_or_else(not_found)
}

/// Returns whether the caller may see a job. The tenant's admins see all jobs, and an application its own.
fn is_theirs(admin: &Admin, job: &Job) -> bool {
    admin.app.is_none() || admin.app == job.app
}
