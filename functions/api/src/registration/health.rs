//! The health of a webhook in responses, with counts of the deliveries that wait.

use aws::StoreError;
use aws::registry::WebhookRecord;
use domain::delivery::health::{Health, HealthState, may_be_parked};
use domain::webhook::ordering::Ordering;
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;

/// Up to which number deliveries are counted for a response about one webhook. Counting reads the index, so it costs
/// as much as it counts.
const MOST: usize = 1_000;

/// Up to which number they are counted for each webhook of a list. A list then costs about as much as one webhook.
const MOST_IN_LIST: usize = 100;

/// For how many webhooks of a list deliveries are counted, because each takes up to eight queries, and for how many at
/// once.
const MOST_COUNTED: usize = 10;
const CONCURRENCY: usize = 5;

/// Whether a webhook's deliveries arrive, fail or wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Health)]
pub(crate) struct HealthBody {
    /// `ok`: deliveries are sent. `failing`: they are sent, and half of the failures in a row have occurred that stop
    /// them. `open`: they are parked, because the receiver is down. `probing`: one of them is being sent to find out
    /// whether it still is. `draining`: they are sent again, parked ones too. `paused`: they are parked until the webhook
    /// is resumed, or until a probe succeeds if failures paused it.
    #[schema(examples("open"))]
    state: HealthState,
    /// Since when. `null` if `state` is `ok`.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// When the next probe is due. It follows within a minute; if no delivery is parked, the next event is the probe.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_probe_at: Option<Timestamp>,
    /// How many deliveries are parked, counted up to 1,000, and in lists up to 100 and for ten
    /// webhooks. `null` if they were not counted.
    #[schema(value_type = Option<u32>, examples(41))]
    parked: Option<usize>,
    /// How many deliveries are held behind an earlier one of their entity, counted like `parked`. `null` if the webhook
    /// keeps no order.
    #[schema(value_type = Option<u32>)]
    held: Option<usize>,
}

/// Returns the health of a webhook, or `None` if it sends nothing.
pub(crate) async fn of(app: &App, record: &WebhookRecord) -> Option<HealthBody> {
    counted(app, record, Some(MOST)).await
}

/// Returns the health of each webhook of a list, in the same order.
pub(crate) async fn of_all(app: &App, records: &[WebhookRecord]) -> Vec<Option<HealthBody>> {
    let mut left = MOST_COUNTED;
    let mut all = Vec::with_capacity(records.len());
    for record in records {
        let is_counted = left > 0;
        left -= usize::from(is_counted && may_wait(record));
        all.push(counted(app, record, is_counted.then_some(MOST_IN_LIST)));
    }
    stream::iter(all).buffered(CONCURRENCY).collect().await
}

/// Returns whether counting the webhook's deliveries takes queries.
fn may_wait(record: &WebhookRecord) -> bool {
    let WebhookRecord { webhook, breaker, .. } = record;
    webhook.settings.ordering == Ordering::Entity || may_be_parked(webhook, breaker.as_ref())
}

/// Returns the health of a webhook, with deliveries counted up to `most`, or not counted.
async fn counted(app: &App, record: &WebhookRecord, most: Option<usize>) -> Option<HealthBody> {
    let WebhookRecord { webhook, statistics, breaker } = record;
    let (id, now) = (webhook.id, app.clock.now());
    let health = |parked| Health::of(webhook, breaker.as_ref(), statistics, parked, now);
    health(false)?;
    // A response to a write that succeeded must not fail because of a count.
    let known = |count: Result<usize, StoreError>| {
        count.inspect_err(|error| tracing::warn!(webhook.id = %id, %error, "waiting deliveries were not counted")).ok()
    };
    let parked = async {
        match most {
            _ if !may_be_parked(webhook, breaker.as_ref()) => Some(0),
            Some(most) => known(app.ledger.count_parked(id, most, now).await),
            None => None,
        }
    };
    let held = async {
        match most {
            Some(most) if webhook.settings.ordering == Ordering::Entity => {
                known(app.ledger.count_held(id, most, now).await)
            }
            _ => None,
        }
    };
    let (parked, held) = tokio::join!(parked, held);
    let Health { state, since, next_probe_at } = health(parked != Some(0))?;
    Some(HealthBody { state, since, next_probe_at, parked, held })
}
