//! `/usage`: a tenant's usage and budgets. Operators read and set the budgets of any tenant
//! (`/tenants/{tenant}/budgets`).

use std::sync::Arc;

use aws::registry::UsageRows;
use axum::Json;
use axum::extract::{Path, State};
use domain::access::tenant::TenantId;
use domain::budget::{Budget, Counts, Meter, Overrides, resets_at, today};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::body::JsonBody;
use crate::caller::{Admin, Operator};
use crate::parameters::{TenantPath, tenant_of};
use crate::problem::{Fault, Problem};

/// How many days are shown, today included.
const DAYS: usize = 8;

/// A budget and its usage.
#[derive(Debug, Serialize, ToSchema)]
pub struct BudgetUse {
    budget: Budget,
    used: u64,
    limit: u64,
    /// When the count restarts; `null` for budgets that are not counted by day.
    #[schema(value_type = Option<String>, format = DateTime)]
    resets_at: Option<Timestamp>,
}

/// The counts of a UTC day.
#[derive(Debug, Serialize, ToSchema)]
pub struct DayOfUse {
    #[schema(value_type = String, format = Date)]
    day: Date,
    /// Published events and changes of tables.
    events: u64,
    /// Published events, in bytes of JSON.
    published_bytes: u64,
    /// Stored changes of tables, in bytes of JSON.
    archived_bytes: u64,
    /// New deliveries.
    deliveries: u64,
    /// Secrets created, rotated or replaced.
    secrets: u64,
    /// Jobs started.
    jobs: u64,
}

/// The usage of a tenant.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Usage)]
pub struct UsageBody {
    budgets: Vec<BudgetUse>,
    /// Today and the seven days before it, latest first. Days without counts are omitted.
    days: Vec<DayOfUse>,
}

async fn usage_of(app: &App, tenant: &TenantId) -> Result<UsageBody, Problem> {
    let now = app.clock.now();
    let rows = app.registry.usage(tenant, true);
    let (rows, webhooks) = tokio::try_join!(rows, app.registry.webhook_count(tenant))?;
    let UsageRows { overrides, mut days } = rows;
    let mut meter = Meter::new(app.budgets.with(&overrides), &days, app.retention_days, now);
    meter.learn_webhooks(webhooks);
    let budgets = Budget::ALL.into_iter().map(|budget| BudgetUse {
        budget,
        used: meter.used(budget),
        limit: meter.limits().of(budget),
        resets_at: budget.is_daily().then(|| resets_at(now)),
    });
    days.retain(|(day, _)| *day <= today(now));
    let days = days.into_iter().rev().take(DAYS).map(|(day, counts)| {
        let Counts { events, published_bytes, archived_bytes, deliveries, secrets, jobs } = counts;
        DayOfUse { day, events, published_bytes, archived_bytes, deliveries, secrets, jobs }
    });
    Ok(UsageBody { budgets: budgets.collect(), days: days.collect() })
}

/// Reads the tenant's usage
///
/// Returns each budget with its usage, and the counts of the last eight days.
#[utoipa::path(get, path = "/usage", tag = "Usage", responses((status = 200, description = "The usage", body = UsageBody)))]
pub(super) async fn get(State(app): State<Arc<App>>, admin: Admin) -> Result<Json<UsageBody>, Problem> {
    usage_of(&app, &admin.tenant).await.map(Json)
}

/// Reads a tenant's usage
///
/// For operators. Returns the same as `/usage` returns to the tenant.
#[utoipa::path(get, path = "/tenants/{tenant}/usage", tag = "Usage", params(TenantPath),
    responses((status = 200, description = "The usage", body = UsageBody)))]
pub(super) async fn of_tenant(
    State(app): State<Arc<App>>,
    _: Operator,
    Path(tenant): Path<String>,
) -> Result<Json<UsageBody>, Problem> {
    usage_of(&app, &tenant_of(&tenant)?).await.map(Json)
}

/// Reads a tenant's budgets
///
/// Returns the limits that an operator set. `null` means the deployment's default.
#[utoipa::path(get, path = "/tenants/{tenant}/budgets", tag = "Usage", operation_id = "get_budgets", params(TenantPath),
    responses((status = 200, description = "The limits that differ from the defaults", body = Overrides)))]
pub(super) async fn get_budgets(
    State(app): State<Arc<App>>,
    _: Operator,
    Path(tenant): Path<String>,
) -> Result<Json<Overrides>, Problem> {
    Ok(Json(app.registry.usage(&tenant_of(&tenant)?, true).await?.overrides))
}

/// Sets a tenant's budgets
///
/// Replaces all limits that were set before. An omitted budget gets the deployment's default. Takes effect within a
/// minute.
#[utoipa::path(put, path = "/tenants/{tenant}/budgets", tag = "Usage", operation_id = "put_budgets", params(TenantPath),
    request_body = Overrides,
    responses((status = 200, description = "The limits that differ from the defaults now", body = Overrides)))]
pub(super) async fn put_budgets(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path(tenant): Path<String>,
    JsonBody(given): JsonBody<serde_json::Map<String, serde_json::Value>>,
) -> Result<Json<Overrides>, Problem> {
    let tenant = tenant_of(&tenant)?;
    let overrides =
        Overrides::read(&given).map_err(|faults| Problem::Invalid(faults.into_iter().map(Fault::from).collect()))?;
    let before = app.registry.put_budgets(&tenant, &overrides, &operator.subject, app.clock.now()).await?;
    let [budgets, before] = [&overrides, &before].map(|budgets| serde_json::to_string(budgets).unwrap_or_default());
    tracing::info!(tenant.id = %tenant, by = operator.subject, budgets, before, "budgets set");
    Ok(Json(overrides))
}
