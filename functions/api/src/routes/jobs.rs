//! `/jobs`: many deliveries sent again, at a pace, in the background. For an admin of the tenant; an application sees its own.

use std::sync::Arc;
use std::time::Duration;

use aws::ledger::Written;
use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::{Extension, Json};
use domain::budget::Counts;
use domain::delivery::job::{
    Action, DEFAULT_RATE, Job, Kind, MAX_ACTIVE, MAX_RATE, Progress, Scope, State as JobState,
};
use domain::delivery::redelivery::{Refusal, receives};
use domain::event::pattern::EventPattern;
use domain::id::{JobId, WebhookId};
use domain::webhook::Webhook;
use domain::webhook::settings::MAX_EVENT_TYPES;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::webhooks::{WebhookPath, visible};
use crate::App;
use crate::body::{JsonBody, Query};
use crate::caller::Admin;
use crate::idempotency::FirstTry;
use crate::page::Page;
use crate::problem::{Fault, Problem, ProblemBody};

/// How often a change of a job's state is tried that another change came before.
const ROUNDS: usize = 5;

/// How far back a replay goes at most: nothing is kept for longer.
const MAX_AGE: Duration = Duration::from_hours(90 * 24);

/// A job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobBody {
    /// `job_` and a ULID.
    #[schema(value_type = String, examples("job_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"))]
    id: JobId,
    #[schema(inline)]
    kind: Kind,
    filters: JobFilters,
    /// How many deliveries are sent a second, at most.
    rate_per_second: u32,
    /// Whether deliveries are only counted.
    dry_run: bool,
    #[schema(inline)]
    state: JobState,
    /// Why it is paused or failed, unless somebody did it.
    reason: Option<String>,
    counts: JobCounts,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    created_by: String,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// What a job is about.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobFilters {
    #[schema(value_type = Option<String>)]
    webhook_id: Option<WebhookId>,
    /// All of them if none are named.
    #[schema(value_type = Vec<String>)]
    event_types: Vec<EventPattern>,
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
}

/// What a job did so far.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobCounts {
    /// Dead letters or events that it looked at.
    looked_at: u64,
    /// Deliveries that it sent; with `dry_run`, that it would send.
    sent: u64,
    /// The others: not among those that were asked for, not wanted by the webhook, or not to be sent now.
    skipped: u64,
}

impl From<Job> for JobBody {
    fn from(job: Job) -> Self {
        let Scope { webhook, event_types, from, to } = job.scope;
        let Progress { looked_at, sent, .. } = job.progress;
        Self {
            id: job.id,
            kind: job.kind,
            filters: JobFilters { webhook_id: webhook, event_types, from, to },
            rate_per_second: job.rate,
            dry_run: job.dry_run,
            state: job.state,
            reason: job.reason,
            counts: JobCounts { looked_at, sent, skipped: looked_at.saturating_sub(sent) },
            created_at: job.created_at,
            created_by: job.created_by,
            updated_at: job.updated_at,
        }
    }
}

/// How fast a job goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    rate: u32,
    dry_run: bool,
}

impl Pace {
    /// Checks what the caller says.
    pub(super) fn read(rate: Option<u32>, dry_run: bool) -> Result<Self, Problem> {
        let rate = rate.unwrap_or(DEFAULT_RATE);
        if (1..=MAX_RATE).contains(&rate) {
            Ok(Self { rate, dry_run })
        } else {
            Err(Problem::Invalid(vec![Fault::field("/rate_per_second", format!("must be 1 to {MAX_RATE}"))]))
        }
    }
}

/// The answer that a job has started.
pub(super) type Started = (StatusCode, [(HeaderName, HeaderValue); 1], Json<JobBody>);

/// Starts a job; one that the same request started before is found again.
pub(super) async fn start(
    app: &App,
    admin: Admin,
    first_try: Option<&FirstTry>,
    kind: Kind,
    scope: Scope,
    pace: Pace,
) -> Result<Started, Problem> {
    let now = app.clock.now();
    // Before they are counted: it may be the last one that there is room for.
    if let Some(first_try) = first_try
        && let Some(job) = app.ledger.job(&admin.tenant, first_try.job_id(), now).await?
    {
        return Ok(started(app, job));
    }
    let active = app.ledger.jobs(&admin.tenant, None, MAX_ACTIVE, now, |job| job.state.is_active()).await?;
    if active.len() >= MAX_ACTIVE {
        let detail = format!("{MAX_ACTIVE} jobs run or are paused already; wait for one of them, or cancel one");
        return Err(Problem::Conflict(detail));
    }
    app.usage.spend(&admin.tenant, Counts { jobs: 1, ..Counts::default() }, now).await?;
    let id = first_try.map_or_else(|| JobId::from_parts(now, runtime::random::bits()), FirstTry::job_id);
    let job = Job {
        id,
        tenant: admin.tenant,
        app: admin.app,
        kind,
        scope,
        rate: pace.rate,
        dry_run: pace.dry_run,
        state: JobState::Running,
        reason: None,
        progress: Progress { cursor: None, looked_at: 0, sent: 0, next_at: now },
        created_at: now,
        created_by: admin.subject,
        updated_at: now,
    };
    let job = match app.ledger.start_job(job.clone(), now).await? {
        Written::Yes => job,
        Written::TooLate => app.ledger.job(&job.tenant, id, now).await?.ok_or(Problem::NotFound("job"))?,
    };
    tracing::info!(job.id = %id, tenant.id = %job.tenant, by = job.created_by, "job started");
    Ok(started(app, job))
}

fn started(app: &App, job: Job) -> Started {
    let location = HeaderValue::from_str(&format!("{}/api/v1/integration/jobs/{}", app.public_url, job.id));
    let location = location.unwrap_or(HeaderValue::from_static(""));
    (StatusCode::ACCEPTED, [(LOCATION, location)], Json(job.into()))
}

/// Refuses a job for a webhook that takes no events. One that is paused or disabled makes the job wait.
fn check_direction(webhook: &Webhook) -> Result<(), Problem> {
    match receives(webhook) {
        Err(refusal @ Refusal::Inbound) => Err(Problem::Conflict(refusal.to_string())),
        _ => Ok(()),
    }
}

/// Since when a webhook is to recover, and how fast.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Recover {
    /// Dead letters of that time or later.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// How many a second.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100, default = 10)]
    rate_per_second: Option<u32>,
    /// Only count them.
    #[serde(default)]
    dry_run: bool,
}

/// Recovers a webhook
///
/// Sends again every dead letter of the webhook since that time, the oldest first, each as `redeliver` does. What still waits
/// for a next attempt comes by itself. While the webhook is paused or disabled the job waits too.
#[utoipa::path(post, path = "/webhooks/{id}/recover", tag = "Jobs", params(WebhookPath), request_body = Recover,
    responses(
        (status = 202, description = "The job that does it", body = JobBody),
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
    let scope = Scope { webhook: Some(webhook.id), event_types: Vec::new(), from: Some(body.since), to };
    start(&app, admin, first_try.as_deref(), Kind::Recover, scope, pace).await
}

/// Which events are sent to a webhook, and how fast.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// Those that happened then or later; 90 days ago at most.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// Those that happened before; now unless given.
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Only those of these types, or of these groups of them, among those that the webhook wants.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 100)]
    event_types: Vec<EventPattern>,
    /// How many a second.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100, default = 10)]
    rate_per_second: Option<u32>,
    /// Only count them.
    #[serde(default)]
    dry_run: bool,
}

/// Replays events to a webhook
///
/// Every event of the time that is still kept and that the webhook wants now, whether it got it before or not, the oldest
/// first: each as a new delivery, rendered by the webhook's settings of today, with the event's own `webhook-id`. A webhook may
/// be newer than the events. While it is paused or disabled the job waits.
#[utoipa::path(post, path = "/webhooks/{id}/replay", tag = "Jobs", params(WebhookPath), request_body = Replay,
    responses(
        (status = 202, description = "The job that does it", body = JobBody),
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
            .push(Fault::field("/from", "must be before `to`, and in the past; nothing is kept for more than 90 days"));
    }
    if body.event_types.len() > MAX_EVENT_TYPES {
        faults.push(Fault::field("/event_types", format!("must be at most {MAX_EVENT_TYPES}")));
    }
    if !faults.is_empty() {
        return Err(Problem::Invalid(faults));
    }
    let scope = Scope { webhook: Some(webhook.id), event_types: body.event_types, from: Some(from), to };
    start(&app, admin, first_try.as_deref(), Kind::Replay, scope, pace).await
}

/// A page of jobs.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobList {
    /// Newest first.
    data: Vec<JobBody>,
    /// The `cursor` of the next page; nothing if this is the last one.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<JobId>,
}

/// Which jobs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// The `next_cursor` of the page before.
    #[param(value_type = String, required = false, pattern = "^job_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    cursor: Option<String>,
    /// How many at most.
    #[param(value_type = u8, required = false, minimum = 1, maximum = 100, default = 50)]
    limit: Option<usize>,
    /// In this state.
    #[param(value_type = String, required = false, pattern = "^(running|paused|done|cancelled|failed)$")]
    state: Option<JobState>,
}

/// Lists jobs
///
/// Newest first, until they expire 30 days after they last changed.
#[utoipa::path(get, path = "/jobs", tag = "Jobs", params(Filter),
    responses((status = 200, description = "A page", body = JobList)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    admin: Admin,
    Query(filter): Query<Filter>,
) -> Result<Json<JobList>, Problem> {
    let (before, limit) = Page::new(filter.cursor, filter.limit).read()?;
    let wanted = |job: &Job| is_theirs(&admin, job) && filter.state.is_none_or(|state| state == job.state);
    // One more than asked for tells whether there is a next page.
    let mut jobs = app.ledger.jobs(&admin.tenant, before, limit + 1, app.clock.now(), wanted).await?;
    let more = jobs.len() > limit;
    jobs.truncate(limit);
    let next_cursor = jobs.last().filter(|_| more).map(|job| job.id);
    Ok(Json(JobList { data: jobs.into_iter().map(JobBody::from).collect(), next_cursor }))
}

/// The id of a job.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "shows the form of a path")]
pub struct JobPath {
    /// `job_` and a ULID.
    #[param(pattern = "^job_[0-7][0-9A-HJKMNP-TV-Z]{25}$", example = "job_01JD3V7Q5N8Z4T6W9X2Y1R0PMK")]
    id: String,
}

/// Reads a job
#[utoipa::path(get, path = "/jobs/{id}", tag = "Jobs", params(JobPath),
    responses((status = 200, description = "The job, and how far it is", body = JobBody)))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<JobBody>, Problem> {
    Ok(Json(find(&app, &admin, &id).await?.into()))
}

/// Pauses a job
///
/// Deliveries that it sent already go on, for up to a minute and a half. A paused job stays as it is.
#[utoipa::path(post, path = "/jobs/{id}/pause", tag = "Jobs", params(JobPath),
    responses(
        (status = 200, description = "The job as it is now", body = JobBody),
        (status = 409, description = "It has ended, or the idempotency key is in use", body = ProblemBody, content_type = "application/problem+json"),
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
/// It goes on where it was, within a minute.
#[utoipa::path(post, path = "/jobs/{id}/resume", tag = "Jobs", params(JobPath),
    responses(
        (status = 200, description = "The job as it is now", body = JobBody),
        (status = 409, description = "It has ended, or the idempotency key is in use", body = ProblemBody, content_type = "application/problem+json"),
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
/// Deliveries that it sent already go on. A cancelled job stays as it is.
#[utoipa::path(post, path = "/jobs/{id}/cancel", tag = "Jobs", params(JobPath),
    responses(
        (status = 200, description = "The job as it is now", body = JobBody),
        (status = 409, description = "It has ended, or the idempotency key is in use", body = ProblemBody, content_type = "application/problem+json"),
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
            tracing::info!(job.id = %job.id, job.state = state.as_str(), by = admin.subject, "job told what to do");
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

/// The tenant's admins see all jobs, an application its own.
fn is_theirs(admin: &Admin, job: &Job) -> bool {
    admin.app.is_none() || admin.app == job.app
}
