//! `/health`: whether this deployment works, and which version it is. For monitors, so it needs no token.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use runtime::Version;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::problem::Problem;

/// How long a result is used. A flood of requests then costs no more reads than one request every few seconds.
const FRESH: Duration = Duration::from_secs(5);

/// The health of a deployment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeploymentHealth {
    /// `ok`: every table can be read.
    #[schema(value_type = String, examples("ok"))]
    status: &'static str,
    /// The version of Dynahook.
    #[schema(value_type = String, examples("0.1.0"))]
    version: &'static str,
    /// The git commit that it was built from; it ends with `-modified` if tracked files had changes. `unknown` if it was
    /// built without a git repository.
    #[schema(value_type = String, examples("4f1c2ab09d3e"))]
    commit: &'static str,
}

/// Checks that each table can be read. The response has the version either way: a fault is often one of an update.
pub(crate) async fn get(State(app): State<Arc<App>>) -> Response {
    let Version { number: version, commit } = app.version;
    // Boxed, because the type of the nested futures is too deep for the compiler.
    let failed = Box::pin(check(&app)).await;
    let mut response = if failed.is_empty() {
        Json(DeploymentHealth { status: "ok", version, commit }).into_response()
    } else {
        Problem::Unreadable { tables: failed, version: app.version }.into_response()
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Returns the tables that cannot be read, as checked a few seconds ago at most. Requests that arrive during a check
/// wait for it.
async fn check(app: &App) -> Vec<&'static str> {
    let mut last = app.last_check.lock().await;
    let now = app.clock.now();
    if let Some((at, failed)) = &*last
        && now.duration_since(*at).unsigned_abs() < FRESH
    {
        return failed.clone();
    }
    let (registry, events, ledger) = tokio::join!(app.registry.probe(), app.events.probe(), app.ledger.probe());
    let mut failed = Vec::new();
    for (table, probed) in [("Registry", registry), ("Events", events), ("Deliveries", ledger)] {
        if let Err(error) = probed {
            tracing::error!(table, %error, "a table cannot be read");
            failed.push(table);
        }
    }
    *last = Some((now, failed.clone()));
    failed
}
