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
use domain::delivery::{Delivery, State as DeliveryState};
use domain::id::{DeliveryId, ParseIdError, WebhookId};
use domain::webhook::Webhook;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::body::Query;
use crate::caller::Operator;
use crate::parameters::{TenantPath, named};
use crate::problem::{Fault, Problem};

/// How long one request releases deliveries. API Gateway waits for 29 seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// How many deliveries are released before the time is checked.
const PAGE: usize = 100;

/// How many webhooks are read at once.
const WEBHOOKS: usize = 100;

/// How many rows are written at once.
const CONCURRENCY: usize = 32;

/// How often a row is read again that changes meanwhile.
const ROUNDS: usize = 3;

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
    #[param(value_type = String, required = false)]
    cursor: Option<String>,
}

/// What a request released.
#[derive(Debug, Serialize, ToSchema)]
pub struct Released {
    /// How many deliveries no longer wait for the budget.
    #[schema(examples(1_204))]
    released: u64,
    /// The `cursor` of the next request; `null` if all deliveries were looked at.
    next_cursor: Option<String>,
}

/// Releases deferred deliveries
///
/// For operators, after they raised `deliveries_per_day`. Deliveries that wait for a later day of the budget are sent
/// now. Those that are held behind others of their entity follow in their turn. Deliveries of disabled webhooks are left
/// as they are. A request takes up to 15 seconds; repeat it with `next_cursor` until that is `null`.
#[utoipa::path(post, path = "/tenants/{tenant}/deferred-deliveries/release", tag = "Usage", operation_id = "release",
    params(TenantPath, ReleaseQuery),
    responses((status = 200, description = "How many were released", body = Released)))]
pub(super) async fn release(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path(tenant): Path<String>,
    Query(query): Query<ReleaseQuery>,
) -> Result<Json<Released>, Problem> {
    let tenant = named(&tenant)?;
    let invalid =
        |_| Problem::Invalid(vec![Fault::parameter("cursor", "must be the next_cursor of the request before")]);
    let from = query.cursor.map(|cursor| cursor.parse::<Cursor>()).transpose().map_err(invalid)?;
    let deadline = app.clock.now() + PATIENCE;
    let wants_events = |webhook: &Webhook| webhook.wants_events();
    let (mut released, mut looked_at) = (0, from);
    let next_cursor = 'pages: loop {
        let (webhooks, more) = if let Some(Cursor { webhook, below: Some(_) }) = looked_at {
            // The request before stopped within this one.
            let record = app.registry.webhook(&tenant, webhook).await?;
            (record.map(|record| record.webhook).into_iter().filter(wants_events).collect(), true)
        } else {
            let after = looked_at.map(|looked_at| looked_at.webhook);
            app.registry.some_webhooks(&tenant, after, WEBHOOKS, wants_events).await?
        };
        for Webhook { id, .. } in webhooks {
            let below = looked_at.filter(|looked_at| looked_at.webhook == id).and_then(|looked_at| looked_at.below);
            let (count, cursor) = of_webhook(&app, Cursor { webhook: id, below }, deadline).await?;
            released += count;
            looked_at = Some(cursor);
            if app.clock.now() >= deadline {
                break 'pages looked_at;
            }
        }
        if !more {
            break None;
        }
        looked_at = looked_at.map(|looked_at| Cursor { below: None, ..looked_at });
    };
    let next_cursor = next_cursor.map(|cursor| cursor.to_string());
    tracing::info!(tenant.id = %tenant, by = operator.subject, released, next_cursor, "deferred deliveries released");
    Ok(Json(Released { released, next_cursor }))
}

/// Releases the deferred deliveries of a webhook until the time is up. Returns how many these were, and what has been
/// looked at.
async fn of_webhook(app: &App, start: Cursor, deadline: Timestamp) -> Result<(u64, Cursor), StoreError> {
    let Cursor { webhook, mut below } = start;
    let mut released = 0;
    loop {
        let now = app.clock.now();
        let range = Range { below, ..Range::all(now) };
        let page = app.ledger.deliveries(&[webhook], range, PAGE, |delivery| delivery.is_deferred(now)).await?;
        released += all(app, page.deliveries).await?;
        below = page.next;
        if below.is_none() || app.clock.now() >= deadline {
            return Ok((released, Cursor { webhook, below }));
        }
    }
}

/// Releases deliveries, and sends the messages of those that do not wait for others. If a message is lost, the sweep
/// sends another. Returns how many were released.
async fn all(app: &App, deliveries: Vec<Delivery>) -> Result<u64, StoreError> {
    let released = stream::iter(deliveries).map(|delivery| one(app, delivery)).buffer_unordered(CONCURRENCY);
    let released: Vec<Delivery> = released.try_filter_map(async |released| Ok(released)).try_collect().await?;
    let pending = released.iter().filter(|delivery| delivery.progress.state == DeliveryState::Pending);
    let messages = pending.map(|delivery| Outgoing::of(&delivery.next_message(), Duration::ZERO));
    app.deliveries.send(messages.collect()).await.into_iter().collect::<Result<(), _>>()?;
    Ok(released.len() as u64)
}

/// Releases a delivery, unless it is no longer deferred. A held one may get its turn meanwhile.
async fn one(app: &App, mut delivery: Delivery) -> Result<Option<Delivery>, StoreError> {
    for _ in 0..ROUNDS {
        let now = app.clock.now();
        if app.ledger.release(&delivery, now).await? == Written::Yes {
            return Ok(Some(delivery));
        }
        match app.ledger.delivery(delivery.webhook, delivery.id, now).await? {
            Some(row) if row.is_deferred(now) => delivery = row,
            _ => break,
        }
    }
    Ok(None)
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
