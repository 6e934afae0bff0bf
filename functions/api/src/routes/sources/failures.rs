//! `/sources/{table}/failures`: changes of a table that became no event. For the operator.

use std::sync::Arc;
use std::time::Duration;

use aws::source_failures::{Dismissed, FailureTotal, More, Redriven};
use axum::Json;
use axum::extract::{Path, State};
use domain::id::FailureId;
use domain::source::failure::{ChangeKind, SourceFailure};
use domain::source::is_table_name;
use domain::value::Map;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::body::Query;
use crate::caller::Operator;
use crate::page::{Limit, Page, fit};
use crate::parameters::TablePath;
use crate::problem::Problem;

/// How long one request sends records again or dismisses them. API Gateway waits for 29 seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// A change that became no event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SourceFailure)]
pub struct FailureBody {
    #[schema(value_type = String, examples("flr_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"))]
    id: FailureId,
    /// Why it became no event. Names attributes and never values.
    #[schema(examples("the item has no attribute \"order_id\", which the source names for its entity id"))]
    reason: String,
    /// The key of the item: its key attributes with their values.
    #[schema(value_type = Object, examples(json!({"pk": "ORG#acme", "sk": "ORDER#1"})))]
    keys: Map,
    /// What was done to the item.
    change: Option<ChangeKind>,
    /// When the change was committed.
    #[schema(value_type = String, format = DateTime)]
    committed_at: Timestamp,
    /// When it failed last.
    #[schema(value_type = String, format = DateTime)]
    failed_at: Timestamp,
    /// How often it failed: once, and once more for each time that it was sent again in vain.
    #[schema(examples(1))]
    failures: u32,
}

impl From<SourceFailure> for FailureBody {
    fn from(failure: SourceFailure) -> Self {
        let SourceFailure { id, table: _, reason, keys, change, committed_at, failed_at, failures } = failure;
        Self { id, reason, keys, change, committed_at, failed_at, failures }
    }
}

/// How many changes of a table became no event since they were last sent again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SourceFailureTotal)]
pub struct TotalBody {
    /// The number of changes. Those of a batch that was processed again count again.
    #[schema(examples(1_204))]
    failed: u64,
    /// When the first of them failed.
    #[schema(value_type = String, format = DateTime)]
    first_at: Timestamp,
    /// When the last of them failed.
    #[schema(value_type = String, format = DateTime)]
    last_at: Timestamp,
    /// Why the last of them failed.
    last_reason: String,
}

impl From<FailureTotal> for TotalBody {
    fn from(FailureTotal { failed, first_at, last_at, last_reason }: FailureTotal) -> Self {
        Self { failed, first_at, last_at, last_reason }
    }
}

/// A page of failures.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SourceFailureList)]
pub struct FailureList {
    /// Latest change first.
    data: Vec<FailureBody>,
    /// All failures, of which some may not be in the list; `null` if there are none.
    total: Option<TotalBody>,
    /// The `cursor` of the next page; `null` if this is the last page.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<FailureId>,
}

/// The pagination of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FailurePage {
    /// The `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^flr_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    cursor: Option<String>,
    /// The maximum number of entries.
    #[param(value_type = u8, required = false, minimum = 1, maximum = 100, default = 50)]
    limit: Option<Limit>,
}

/// Lists changes that became no event
///
/// Changes that lack what the mapping needs, that belong to a table which is not registered, or of which AWS refused
/// the messages. They are listed for 30 days. When many fail at once, some are only counted in `total`: fan-out lists
/// 100 of a table in a minute for each of its processes. The whole records are in the queue stream-failures for 14
/// days.
#[utoipa::path(get, path = "/sources/{table}/failures", tag = "Sources",
    params(TablePath, FailurePage),
    responses((status = 200, description = "A page", body = FailureList)))]
pub(crate) async fn failures(
    State(app): State<Arc<App>>,
    _: Operator,
    Path(table): Path<String>,
    Query(page): Query<FailurePage>,
) -> Result<Json<FailureList>, Problem> {
    let (after, limit) = Page::new(page.cursor, page.limit).read::<FailureId>()?;
    if !is_table_name(&table) {
        return Err(Problem::NotFound("source"));
    }
    let page = app.failures.page(&table, after, limit, app.clock.now()).await?;
    // Changes of a table that is not registered are failures too.
    if page.total.is_none() && page.failures.is_empty() && app.registry.source(&table).await?.is_none() {
        return Err(Problem::NotFound("source"));
    }
    let mut data: Vec<_> = page.failures.into_iter().map(FailureBody::from).collect();
    let cut = fit(&mut data).map(|last| last.id);
    let next_cursor = cut.or_else(|| data.last().filter(|_| page.more).map(|last| last.id));
    Ok(Json(FailureList { data, total: page.total.map(TotalBody::from), next_cursor }))
}

/// The outcome of sending changes again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RedrivenFailures)]
pub struct RedrivenBody {
    /// How many changes were sent to fan-out.
    #[schema(examples(120))]
    redriven: usize,
    /// Whether the queue may have more of this table: send the request again. Messages that an earlier request, of any
    /// table, left hidden for two minutes are not seen.
    more: bool,
    /// Why it may have more; `null` if it has none.
    #[schema(examples(json!(null)))]
    reason: Option<String>,
}

/// Says why the queue may have more messages of the table.
fn reason(more: More) -> String {
    match more {
        More::Many => "a request sends about 2,000 changes".to_owned(),
        More::Listed => "the time was up before all changes had left the list".to_owned(),
        More::Late { others } => format!(
            "the time was up before the whole queue was read; {others} messages that are not meant stay hidden for up to two \
             minutes, so that the next request reads further"
        ),
    }
}

/// Sends changes that became no event to fan-out again
///
/// For all changes of the table that are in the queue stream-failures, after the mapping was changed; at most about
/// 2,000 with each request. They leave the list, and those that fail again are listed again. Events and deliveries get
/// the ids that they would have had, so sending a change twice has no effect. The deliveries come late, after those of
/// newer changes.
#[utoipa::path(post, path = "/sources/{table}/failures/redrive", tag = "Sources",
    params(TablePath),
    responses((status = 200, description = "What was sent", body = RedrivenBody)))]
pub(crate) async fn redrive(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path(table): Path<String>,
) -> Result<Json<RedrivenBody>, Problem> {
    if app.registry.source(&table).await?.is_none() {
        return Err(Problem::NotFound("source"));
    }
    let until = app.clock.now() + PATIENCE;
    let redriven = app.failures.redrive(&app.stream_failures, &table, until, &*app.clock).await?;
    let Redriven { redriven, more } = redriven;
    let (more, reason) = (more.is_some(), more.map(reason));
    tracing::info!(table, redriven, more, by = operator.subject, "records that failed were sent to fan-out again");
    Ok(Json(RedrivenBody { redriven, more, reason }))
}

/// The outcome of dismissing changes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DismissedFailures)]
pub struct DismissedBody {
    /// How many changes were dismissed.
    #[schema(examples(1))]
    dismissed: usize,
    /// Whether the list or the queue may still have records of them: send the request again to delete those. Messages
    /// that an earlier request, of any table, left hidden for two minutes are not seen.
    more: bool,
    /// Why it may have more; `null` if it has none.
    #[schema(examples(json!(null)))]
    reason: Option<String>,
}

impl From<Dismissed> for DismissedBody {
    fn from(Dismissed { dismissed, more }: Dismissed) -> Self {
        Self { dismissed, more: more.is_some(), reason: more.map(reason) }
    }
}

/// Dismisses a change that became no event
///
/// For a change that will never become one. It leaves the list, no redrive sends it again, and its record is deleted
/// from the queue stream-failures. `total` stays. If the same change fails again later, it is listed again.
#[utoipa::path(delete, path = "/sources/{table}/failures/{id}", tag = "Sources",
    params(TablePath,
        ("id" = String, Path, description = "The failure's id", pattern = "^flr_[0-7][0-9A-HJKMNP-TV-Z]{25}$")),
    responses((status = 200, description = "What was dismissed", body = DismissedBody)))]
pub(crate) async fn dismiss(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path((table, id)): Path<(String, String)>,
) -> Result<Json<DismissedBody>, Problem> {
    let unknown = || Problem::NotFound("failure");
    let id: FailureId = id.parse().map_err(|_| unknown())?;
    if !is_table_name(&table) {
        return Err(unknown());
    }
    let until = app.clock.now() + PATIENCE;
    let outcome = app.failures.dismiss(&app.stream_failures, &table, Some(id), until, &*app.clock).await?;
    if outcome.dismissed == 0 && outcome.more.is_none() {
        return Err(unknown());
    }
    let Dismissed { dismissed, more } = outcome;
    let more = more.is_some();
    tracing::info!(table, failure = %id, dismissed, more, by = operator.subject, "a record that failed was dismissed");
    Ok(Json(outcome.into()))
}

/// Dismisses all changes that became no event
///
/// All changes of the table that failed before the request: they leave the list, `total` starts again, no redrive sends
/// them again, and their records are deleted from the queue stream-failures. A change that failed in the half minute
/// before the request may stay in the list until the next one. A repeated request also dismisses changes that failed
/// after the first.
#[utoipa::path(delete, path = "/sources/{table}/failures", tag = "Sources",
    params(TablePath),
    responses((status = 200, description = "What was dismissed", body = DismissedBody)))]
pub(crate) async fn dismiss_all(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path(table): Path<String>,
) -> Result<Json<DismissedBody>, Problem> {
    if !is_table_name(&table) {
        return Err(Problem::NotFound("source"));
    }
    let until = app.clock.now() + PATIENCE;
    let outcome = app.failures.dismiss(&app.stream_failures, &table, None, until, &*app.clock).await?;
    let Dismissed { dismissed, more } = outcome;
    let more = more.is_some();
    // Changes of a table that is not registered are failures too.
    if dismissed == 0 && !more && app.registry.source(&table).await?.is_none() {
        return Err(Problem::NotFound("source"));
    }
    tracing::info!(table, dismissed, more, by = operator.subject, "all records of a table that failed were dismissed");
    Ok(Json(outcome.into()))
}
