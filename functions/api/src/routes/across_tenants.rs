//! `/failing-webhooks` and `/running-jobs`: what an operator looks at first, over all tenants.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::access::tenant::{AppId, TenantId};
use domain::id::WebhookId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::caller::Operator;
use crate::jobs::JobBody;
use crate::problem::Problem;
use crate::registration::health;
use crate::registration::representation::Counters;

/// How many webhooks and jobs a list has.
const MOST: usize = 100;

/// A webhook that fails.
#[derive(Debug, Serialize, ToSchema)]
pub struct FailingWebhook {
    #[schema(value_type = String, examples("acme"))]
    tenant_id: TenantId,
    #[schema(value_type = String)]
    webhook_id: WebhookId,
    #[schema(value_type = Option<String>)]
    app_id: Option<AppId>,
    #[schema(examples("orders to the ERP"))]
    name: String,
    #[schema(examples("https://example.com/webhooks"))]
    url: String,
    #[serde(flatten)]
    counters: Counters,
}

/// The webhooks that fail.
#[derive(Debug, Serialize, ToSchema)]
pub struct FailingWebhookList {
    /// At most 100, those that began to fail last first.
    data: Vec<FailingWebhook>,
    /// Whether there are more.
    more: bool,
}

/// Lists the webhooks that fail, of all tenants
///
/// For operators. A webhook is in the list from the event `webhook.failing` until `webhook.recovered`, also while its
/// breaker is open or failures have paused it. To look at its deliveries, send the header `Dynahook-Tenant` with its
/// tenant to any `GET` request that a viewer of the tenant may make.
#[utoipa::path(get, path = "/failing-webhooks", tag = "Across tenants", operation_id = "failing",
    responses((status = 200, description = "The webhooks", body = FailingWebhookList)))]
pub(super) async fn failing(State(app): State<Arc<App>>, _: Operator) -> Result<Json<FailingWebhookList>, Problem> {
    let (failing, more) = app.ledger.failing(MOST, app.clock.now()).await?;
    let keys: Vec<_> = failing.into_iter().map(|failing| (failing.tenant, failing.webhook)).collect();
    let mut records = app.ledger.records(&app.registry, &keys).await?;
    // A disabled or deleted webhook neither fails nor recovers.
    records.retain(|record| record.webhook.wants_events());
    let health = health::of_all(&app, &records).await;
    let data = records.into_iter().zip(health).map(|(record, health)| {
        let webhook = record.webhook;
        FailingWebhook {
            tenant_id: webhook.tenant,
            webhook_id: webhook.id,
            app_id: webhook.app,
            name: webhook.settings.name,
            url: webhook.settings.url,
            counters: Counters::new(record.statistics, health),
        }
    });
    Ok(Json(FailingWebhookList { data: data.collect(), more }))
}

/// A running job of a tenant.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunningJob {
    #[schema(value_type = String, examples("acme"))]
    tenant_id: TenantId,
    #[serde(flatten)]
    job: JobBody,
}

/// The running jobs.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunningJobList {
    /// At most 100, oldest first.
    data: Vec<RunningJob>,
}

/// Lists the running jobs of all tenants
///
/// For operators.
#[utoipa::path(get, path = "/running-jobs", tag = "Across tenants", operation_id = "running",
    responses((status = 200, description = "The jobs", body = RunningJobList)))]
pub(super) async fn running(State(app): State<Arc<App>>, _: Operator) -> Result<Json<RunningJobList>, Problem> {
    let limit = i32::try_from(MOST).unwrap_or(i32::MAX);
    let jobs = app.ledger.running_jobs(limit, app.clock.now()).await?;
    let data = jobs.into_iter().map(|job| RunningJob { tenant_id: job.tenant.clone(), job: job.into() });
    Ok(Json(RunningJobList { data: data.collect() }))
}
