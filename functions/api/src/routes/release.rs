//! `/tenants/{tenant}/deferred-deliveries/release`: sends what waits for the later days of a tenant's budget. For the
//! operator, who has raised the budget.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use aws::StoreError;
use aws::ledger::{Range, Written};
use aws::queue::Outgoing;
use axum::Json;
use axum::extract::{Path, State};
use domain::access::tenant::TenantId;
use domain::delivery::{Delivery, State as DeliveryState};
use domain::id::{DeliveryId, ParseIdError, WebhookId};
use domain::webhook::Webhook;
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::body::Query;
use crate::caller::Operator;
use crate::parameters::{TenantPath, tenant_of};
use crate::problem::{Fault, Problem};

/// How long one request releases deliveries. API Gateway waits for 29 seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// How many deliveries are released before the time is checked.
const PAGE: usize = 100;

/// How many webhooks are read at once.
const WEBHOOKS: usize = 100;

/// How many rows are written at once.
const CONCURRENCY: usize = 32;

/// How often a row is read again that changes meanwhile, and how long a transaction with it may take.
const ROUNDS: usize = 3;
const PAUSE: Duration = Duration::from_millis(50);

/// What has been looked at: the webhooks up to this one, and its deliveries from that one on, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cursor {
    webhook: WebhookId,
    below: Option<DeliveryId>,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.below {
            Some(below) => write!(f, "{}-{below}", self.webhook),
            None => self.webhook.fmt(f),
        }
    }
}

impl FromStr for Cursor {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once('-') {
            Some((webhook, below)) => Self { webhook: webhook.parse()?, below: Some(below.parse()?) },
            None => Self { webhook: text.parse()?, below: None },
        })
    }
}

/// Where a request continues.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReleaseQuery {
    /// The `next_cursor` of the previous request.
    #[param(value_type = String, required = false, pattern = "^whk_[0-7][0-9A-HJKMNP-TV-Z]{25}(-dlv_[0-7][0-9A-HJKMNP-TV-Z]{25})?$")]
    cursor: Option<String>,
}

/// What a request released.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReleasedDeliveries {
    /// How many deliveries no longer wait for the budget.
    #[schema(examples(1_204))]
    released: u64,
    /// The `cursor` of the next request; `null` if all deliveries were looked at.
    next_cursor: Option<String>,
}

/// How far a request has got.
struct Progress {
    released: u64,
    looked_at: Option<Cursor>,
    deadline: Timestamp,
}

/// Releases deferred deliveries
///
/// For operators, after they raised `deliveries_per_day`. Deliveries that wait for a later day of the budget are sent
/// now, those of the newest events first. Those that are held behind others of their entity follow in their turn.
/// Deliveries of disabled webhooks are left as they are. A request takes up to 15 seconds; repeat it with `next_cursor`
/// until that is `null`.
#[utoipa::path(post, path = "/tenants/{tenant}/deferred-deliveries/release", tag = "Usage", operation_id = "release",
    params(TenantPath, ReleaseQuery),
    responses((status = 200, description = "How many were released", body = ReleasedDeliveries)))]
pub(super) async fn release(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path(tenant): Path<String>,
    Query(query): Query<ReleaseQuery>,
) -> Result<Json<ReleasedDeliveries>, Problem> {
    let tenant = tenant_of(&tenant)?;
    let invalid =
        |_| Problem::Invalid(vec![Fault::parameter("cursor", "must be the next_cursor of the request before")]);
    let looked_at = query.cursor.map(|cursor| cursor.parse::<Cursor>()).transpose().map_err(invalid)?;
    let mut progress = Progress { released: 0, looked_at, deadline: app.clock.now() + PATIENCE };
    let is_done = release_all(&app, &tenant, &mut progress).await;
    let Progress { released, looked_at, .. } = progress;
    tracing::info!(tenant.id = %tenant, by = operator.subject, released, "deferred deliveries released");
    let is_done = is_done?;
    let next_cursor = looked_at.filter(|_| !is_done).map(|cursor| cursor.to_string());
    Ok(Json(ReleasedDeliveries { released, next_cursor }))
}

/// Releases the deferred deliveries of a tenant until the time is up. Returns whether all were looked at.
async fn release_all(app: &App, tenant: &TenantId, progress: &mut Progress) -> Result<bool, StoreError> {
    let wants_events = |webhook: &Webhook| webhook.wants_events();
    loop {
        let (webhooks, more) = if let Some(Cursor { webhook, below: Some(_) }) = progress.looked_at {
            // The request before stopped within this one.
            let record = app.registry.webhook(tenant, webhook).await?;
            (record.map(|record| record.webhook).into_iter().filter(wants_events).collect(), true)
        } else {
            let after = progress.looked_at.map(|looked_at| looked_at.webhook);
            app.registry.some_webhooks(tenant, after, WEBHOOKS, wants_events).await?
        };
        for Webhook { id, .. } in webhooks {
            release_of(app, id, progress).await?;
            if app.clock.now() >= progress.deadline {
                return Ok(false);
            }
        }
        if !more {
            return Ok(true);
        }
        progress.looked_at = progress.looked_at.map(|looked_at| Cursor { below: None, ..looked_at });
    }
}

/// Releases the deferred deliveries of a webhook until the time is up.
async fn release_of(app: &App, webhook: WebhookId, progress: &mut Progress) -> Result<(), StoreError> {
    let mut below = progress.looked_at.filter(|looked_at| looked_at.webhook == webhook).and_then(|at| at.below);
    loop {
        let now = app.clock.now();
        // All, because a record of a table that is sent again after weeks makes a new delivery of an old event.
        let range = Range { below, ..Range::all(now) };
        let page = app.ledger.deliveries(&[webhook], range, PAGE, |delivery| delivery.is_deferred(now)).await?;
        let (released, failed) = release_page(app, page.deliveries).await;
        progress.released += released;
        if let Some(error) = failed {
            return Err(error);
        }
        below = page.next;
        progress.looked_at = Some(Cursor { webhook, below });
        if below.is_none() || app.clock.now() >= progress.deadline {
            return Ok(());
        }
    }
}

/// Releases deliveries, and sends the messages of those that do not wait for others. Returns how many were released, and
/// why others were not.
async fn release_page(app: &App, deliveries: Vec<Delivery>) -> (u64, Option<StoreError>) {
    let results = stream::iter(deliveries).map(|delivery| release_one(app, delivery)).buffer_unordered(CONCURRENCY);
    let (mut released, mut failed, mut messages) = (0, None, Vec::new());
    for result in results.collect::<Vec<_>>().await {
        match result {
            Ok(Some(delivery)) => {
                released += 1;
                if delivery.progress.state == DeliveryState::Pending {
                    messages.push(Outgoing::of(&delivery.next_message(), Duration::ZERO));
                }
            }
            Ok(None) => {}
            Err(error) => failed = Some(error),
        }
    }
    for sent in app.deliveries.send(messages).await {
        if let Err(error) = sent {
            tracing::warn!(%error, "the message of a released delivery is not sent; the sweep sends another");
        }
    }
    (released, failed)
}

/// Releases a delivery, unless it is no longer deferred, or is being attempted. A held one may get its turn meanwhile.
async fn release_one(app: &App, mut delivery: Delivery) -> Result<Option<Delivery>, StoreError> {
    for _ in 0..ROUNDS {
        let now = app.clock.now();
        if app.ledger.release(&delivery, now).await? == Written::Yes {
            return Ok(Some(delivery));
        }
        tokio::time::sleep(PAUSE).await;
        match app.ledger.delivery(delivery.webhook, delivery.id, now).await? {
            Some(row) if row.is_deferred(now) && row.lease_until.is_none_or(|until| until <= now) => delivery = row,
            _ => return Ok(None),
        }
    }
    Err(StoreError::Unavailable(format!("the row of {} keeps changing", delivery.id)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::webhook("whk_01JD1KXA00SRK4CNHMSET7SYG2", true)]
    #[case::delivery("whk_01JD1KXA00SRK4CNHMSET7SYG2-dlv_01JD1KXA00SRK4CNHMSET7SYG2", true)]
    #[case::turned("dlv_01JD1KXA00SRK4CNHMSET7SYG2-whk_01JD1KXA00SRK4CNHMSET7SYG2", false)]
    #[case::half("whk_01JD1KXA00SRK4CNHMSET7SYG2-", false)]
    fn a_cursor_is_read_as_it_was_shown(#[case] text: &str, #[case] valid: bool) {
        let read = text.parse::<Cursor>().map(|cursor| cursor.to_string());
        assert_eq!(read.ok().as_deref(), valid.then_some(text));
    }
}
