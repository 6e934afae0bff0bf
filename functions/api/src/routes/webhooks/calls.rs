//! `/webhooks/{id}/calls`: the calls of an inbound webhook.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use domain::event::types::EventType;
use domain::id::{CallId, EventId};
use domain::inbound::log::{CallOutcome, LoggedCall};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::body::Query;
use crate::caller::Admin;
use crate::page::{Limit, Page};
use crate::parameters::WebhookPath;
use crate::problem::Problem;
use crate::registration::visible;

/// A call of an inbound webhook. Nothing of its body and its headers is kept.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InboundCall)]
pub struct CallBody {
    #[schema(value_type = String, examples("cal_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"))]
    id: CallId,
    /// When it came.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    outcome: CallOutcome,
    /// The status of the response.
    #[schema(examples(401))]
    status: u16,
    /// The event that an accepted call became.
    #[schema(value_type = Option<String>, examples("evt_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"))]
    event_id: Option<EventId>,
    /// Whether an earlier call had become the same event.
    duplicate: bool,
    /// The type that the call names; `null` if it was refused before its type was read.
    #[schema(value_type = Option<String>, examples("invoice.paid"))]
    event_type: Option<EventType>,
    /// Why it became no event; `null` for an accepted call.
    #[schema(examples("the signature does not match"))]
    reason: Option<String>,
    /// The bytes of its body.
    #[schema(examples(512))]
    bytes: u64,
}

impl From<LoggedCall> for CallBody {
    fn from(call: LoggedCall) -> Self {
        let LoggedCall { id, at, outcome, status, event: event_id, duplicate, event_type, reason, bytes } = call;
        Self { id, at, outcome, status, event_id, duplicate, event_type, reason, bytes }
    }
}

/// A page of calls.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InboundCallList)]
pub struct CallList {
    /// Latest first.
    data: Vec<CallBody>,
    /// The `cursor` of the next page; `null` if this is the last page.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<CallId>,
}

/// The filter of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CallQuery {
    /// The `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^cal_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    cursor: Option<String>,
    /// The maximum number of entries.
    #[param(value_type = u8, required = false, minimum = 1, maximum = 100, default = 50)]
    limit: Option<Limit>,
    /// Only calls that ended like this.
    #[param(value_type = CallOutcome, required = false)]
    outcome: Option<CallOutcome>,
}

/// Lists the calls of an inbound webhook
///
/// The calls of the last seven days, latest first: `accepted` ones with their events, `ignored` ones, whose type the
/// webhook does not name, and `refused` ones with the reason. When there are many, some are only counted in the
/// webhook's statistics. An outbound webhook has no calls.
#[utoipa::path(get, path = "/webhooks/{id}/calls", tag = "Deliveries", params(WebhookPath, CallQuery),
    responses((status = 200, description = "A page", body = CallList)))]
pub(crate) async fn calls(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
    Query(CallQuery { cursor, limit, outcome }): Query<CallQuery>,
) -> Result<Json<CallList>, Problem> {
    let (after, limit) = Page::new(cursor, limit).read::<CallId>()?;
    let webhook = visible(&app, &admin, &id).await?.webhook.id;
    let outcomes = outcome.map_or_else(|| CallOutcome::ALL.to_vec(), |outcome| vec![outcome]);
    let page = app.events.calls(webhook, &outcomes, after, limit, app.clock.now()).await?;
    let next_cursor = page.calls.last().filter(|_| page.more).map(|last| last.id);
    Ok(Json(CallList { data: page.calls.into_iter().map(CallBody::from).collect(), next_cursor }))
}
