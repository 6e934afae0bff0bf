//! Jobs: how responses show them, and how one is started.

use aws::ledger::Written;
use axum::Json;
use axum::http::header::LOCATION;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use domain::budget::Counts;
use domain::delivery::job::{DEFAULT_RATE, Job, JobKind, JobProgress, JobScope, JobState, MAX_ACTIVE, MAX_RATE};
use domain::event::pattern::EventPattern;
use domain::id::{JobId, WebhookId};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::caller::Admin;
use crate::idempotency::FirstTry;
use crate::problem::{Fault, Problem};

/// A job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub(crate) struct JobBody {
    /// `job_` and a ULID.
    #[schema(value_type = String, examples("job_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"))]
    id: JobId,
    kind: JobKind,
    filters: JobFilters,
    /// The maximum number of deliveries a second.
    rate_per_second: u32,
    /// Whether deliveries are only counted, not sent.
    dry_run: bool,
    state: JobState,
    /// Why it is paused or failed, if it was not paused by a user.
    reason: Option<String>,
    counts: JobCounts,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    created_by: String,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// The filters of a job.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobFilters {
    #[schema(value_type = Option<String>)]
    webhook_id: Option<WebhookId>,
    /// All types if the list is empty.
    #[schema(value_type = Vec<String>)]
    event_types: Vec<EventPattern>,
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
}

/// The progress of a job.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobCounts {
    /// Dead letters or events that it read.
    looked_at: u64,
    /// Deliveries that it sent; with `dry_run`, that it would send.
    sent: u64,
    /// Skipped: did not match, or could not be sent at the time.
    skipped: u64,
}

impl From<Job> for JobBody {
    fn from(job: Job) -> Self {
        let JobScope { webhook, event_types, from, to } = job.scope;
        let JobProgress { looked_at, sent, .. } = job.progress;
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

/// The rate of a job, and whether it only counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    rate: u32,
    dry_run: bool,
}

impl Pace {
    /// Checks the values of a request.
    pub(crate) fn read(rate: Option<u32>, dry_run: bool) -> Result<Self, Problem> {
        let rate = rate.unwrap_or(DEFAULT_RATE);
        if (1..=MAX_RATE).contains(&rate) {
            Ok(Self { rate, dry_run })
        } else {
            Err(Problem::Invalid(vec![Fault::field("/rate_per_second", format!("must be 1 to {MAX_RATE}"))]))
        }
    }
}

/// The response to a request that started a job.
pub(crate) type Started = (StatusCode, [(HeaderName, HeaderValue); 1], Json<JobBody>);

/// Starts a job, or finds the one that an earlier try of the same request started.
pub(crate) async fn start(
    app: &App,
    admin: Admin,
    first_try: Option<&FirstTry>,
    kind: JobKind,
    scope: JobScope,
    pace: Pace,
) -> Result<Started, Problem> {
    let now = app.clock.now();
    // Look for it before the active jobs are counted, because it counts towards the limit itself.
    if let Some(first_try) = first_try
        && let Some(job) = app.ledger.job(&admin.tenant, first_try.job_id(), now).await?
    {
        return Ok(started(app, job));
    }
    let active = app.ledger.jobs(&admin.tenant, None, MAX_ACTIVE, now, |job| job.state.is_active()).await?;
    if active.len() >= MAX_ACTIVE {
        let detail = format!("{MAX_ACTIVE} jobs are already running or paused; wait until one ends, or cancel one");
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
        progress: JobProgress { cursor: None, looked_at: 0, sent: 0, next_at: now },
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
