//! `/deliveries`: the deliveries of all webhooks that the caller may see.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::delivery::{Delivery, State as DeliveryState};
use domain::event::Event;
use domain::event::types::EventType;
use domain::id::EventId;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::body::Query;
use crate::caller::Admin;
use crate::deliveries::DeliveryBody;
use crate::deliveries::filter::AllDeliveriesQuery;
use crate::deliveries::search::{Cursor, search};
use crate::page::fit;
use crate::problem::Problem;
use crate::registration::warnings::{self, Warning};

/// A page of deliveries of all webhooks.
#[derive(Debug, Serialize, ToSchema)]
pub struct AllDeliveriesList {
    /// Newest event first. A page may have fewer entries than requested, or none, and still not be the last one.
    data: Vec<DeliveryBody>,
    /// With `event_id` or `entity`: the events of this page without any delivery in the log. Either no webhook wanted
    /// the event, or its deliveries are being attempted for the first time; `POST /webhooks/{id}/explain` says which.
    without_delivery: Vec<EventWithoutDelivery>,
    /// The `cursor` of the next page; `null` if this is the last page.
    next_cursor: Option<String>,
    /// What is probably wrong with `entity`, if nothing was found.
    warnings: Vec<Warning>,
}

/// An event without a delivery.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventWithoutDelivery {
    #[schema(value_type = String)]
    event_id: EventId,
    #[schema(value_type = String, examples("order.updated"))]
    event_type: EventType,
    /// The path of the event's entity: its collection and its id.
    #[schema(examples("orders/3"))]
    entity: String,
    /// When the event happened: when its change was committed, or it was published.
    #[schema(value_type = String, format = DateTime)]
    event_time: Timestamp,
}

impl From<Event> for EventWithoutDelivery {
    fn from(event: Event) -> Self {
        let entity = event.entity.path();
        Self { event_id: event.id, event_type: event.event_type, entity, event_time: event.id.timestamp() }
    }
}

/// Lists the deliveries of all webhooks
///
/// Deliveries in the ledger, newest event first, each with its attempts. With `entity`, those of an entity's events:
/// where did order 3 go? With `event_id`, those of one event. Otherwise the newest deliveries of up to 50 webhooks. An
/// application sees the deliveries of its own webhooks.
#[utoipa::path(get, path = "/deliveries", tag = "Deliveries", params(AllDeliveriesQuery),
    responses((status = 200, description = "A page", body = AllDeliveriesList)))]
pub(super) async fn find(
    State(app): State<Arc<App>>,
    admin: Admin,
    Query(query): Query<AllDeliveriesQuery>,
) -> Result<Json<AllDeliveriesList>, Problem> {
    let what = query.read()?;
    let mut found = search(&app, &admin, &what).await?;
    let is_empty = found.deliveries.is_empty() && found.undelivered.is_empty() && found.next.is_none();
    // Their webhooks' breakers decide until when parked deliveries wait.
    let parked = found.deliveries.iter().filter(|delivery| delivery.progress.state == DeliveryState::Parked);
    let webhooks: BTreeSet<_> = parked.map(|delivery| (admin.tenant.clone(), delivery.webhook)).collect();
    let records = app.ledger.records(&app.registry, &webhooks.into_iter().collect::<Vec<_>>()).await?;
    let shown = |delivery: Delivery| {
        let record = records.iter().find(|record| record.webhook.id == delivery.webhook);
        let body = DeliveryBody::from(delivery);
        if let Some(record) = record { body.of_webhook(record) } else { body }
    };
    let mut data = found.deliveries.into_iter().map(shown).collect();
    let cut = fit(&mut data).map(|last: &DeliveryBody| (last.event_id, last.id));
    if let Some((event, _)) = cut {
        // The next page has the events that follow.
        found.undelivered.retain(|undelivered| undelivered.id > event);
    }
    let cut = cut.map(|(event, delivery)| match what.event {
        None if what.entity.is_some() => Cursor::Event(event, Some(delivery)),
        _ => Cursor::Delivery(delivery),
    });
    let without_delivery = found.undelivered.into_iter().map(EventWithoutDelivery::from).collect();
    let next_cursor = cut.or(found.next).map(|cursor| cursor.to_string());
    let warnings = match &what.entity {
        Some(path) if is_empty && what.cursor.is_none() => {
            warnings::of_entity(&app, &admin.tenant, admin.app.as_ref(), path).await
        }
        _ => Vec::new(),
    };
    Ok(Json(AllDeliveriesList { data, without_delivery, next_cursor, warnings }))
}
