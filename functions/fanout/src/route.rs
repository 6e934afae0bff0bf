//! From a table's changes to deliveries, with the Registry as it stands now.

use std::collections::HashSet;

use aws::StoreError;
use domain::event::{Event, EventType};
use domain::message::{Body, MAX_INLINE_BYTES, Message};
use domain::payload::Rendering;
use domain::source::{Change, Source};
use domain::tenant::TenantId;

use crate::App;
use crate::app::Known;
use crate::published;

/// How often a batch is mapped again because its source changed meanwhile.
const ROUNDS: usize = 3;

/// What came of a change: the messages of its deliveries, or why it could not be mapped.
pub(crate) type Routed = Result<Vec<Message>, String>;

/// Routes the changes of one table; the result is in their order.
///
/// One read while nothing changed: the mapping is the one that was used last, and the read that brings the tenants'
/// generations says whether it still stands.
pub(crate) async fn route(app: &App, table: &str, changes: Vec<Change>) -> Result<Vec<Routed>, StoreError> {
    let cache = &mut *app.cache.lock().await;
    for _ in 0..ROUNDS {
        let is_published = table == app.events_table;
        let source = cache.sources.get(table).cloned();
        let events = if is_published {
            changes.iter().map(|change| Ok(vec![published::event(change)?])).collect()
        } else {
            events(source.as_ref(), table, &changes)
        };
        let tenants: HashSet<&TenantId> = events.iter().flatten().flatten().map(|event| &event.tenant).collect();
        let glance = app.registry.glance(table, tenants).await?;
        if !is_published && glance.source != source {
            match glance.source {
                Some(source) => cache.sources.insert(table.to_owned(), source),
                None => cache.sources.remove(table),
            };
            continue;
        }
        for (tenant, generation) in glance.generations {
            refresh(app, cache.matchers.entry(tenant.clone()).or_default(), &tenant, generation).await?;
        }
        let mut routed = Vec::with_capacity(events.len());
        for events in events {
            routed.push(match events {
                Err(reason) => Err(reason),
                Ok(events) => {
                    let mut messages = Vec::new();
                    for event in &events {
                        let known = cache.matchers.get_mut(&event.tenant);
                        messages.extend(deliveries(app, event, known).await?);
                    }
                    Ok(messages)
                }
            });
        }
        return Ok(routed);
    }
    Err(StoreError::Conflict { key: format!("the source of table {table}") })
}

fn events(source: Option<&Source>, table: &str, changes: &[Change]) -> Vec<Result<Vec<Event>, String>> {
    let unregistered = || format!("table {table} is not registered as a source");
    let map = |change: &Change| {
        let source = source.ok_or_else(unregistered)?;
        source.events(change.clone()).map_err(|error| error.to_string())
    };
    changes.iter().map(map).collect()
}

/// Brings a tenant's matcher to the generation; reads only what is newer, and nothing if nothing is.
async fn refresh(app: &App, known: &mut Known, tenant: &TenantId, generation: u64) -> Result<(), StoreError> {
    if known.generation > generation {
        // The table was restored to an earlier state: what is known never happened.
        *known = Known::default();
    }
    if known.generation < generation {
        for change in app.registry.subscriptions_since(tenant, known.generation).await? {
            known.matcher.apply(change);
        }
        known.generation = generation;
    }
    Ok(())
}

/// Returns one message for each webhook that wants the event. The body is rendered once for all that show it alike, and stored
/// once if it is large.
async fn deliveries(app: &App, event: &Event, known: Option<&mut Known>) -> Result<Vec<Message>, StoreError> {
    let Some(known) = known else { return Ok(Vec::new()) };
    let wanted = known.matcher.matching(event);
    let mut messages = Vec::with_capacity(wanted.len());
    let mut rendered: Vec<(&Rendering, EventType, Body)> = Vec::new();
    for subscription in &wanted {
        // It wants the event, so it asks for a type of it.
        let event_type = subscription.type_for(event).unwrap_or_else(|| event.event_type.clone());
        let rendering = &subscription.rendering;
        let same = rendered.iter().find(|(other, shown_as, _)| *other == rendering && *shown_as == event_type);
        let body = if let Some((_, _, body)) = same {
            body.clone()
        } else {
            let body = match rendering.render(event, &event_type) {
                Ok(body) => app.bodies.carry(&event.id.to_string(), &body, MAX_INLINE_BYTES, app.clock.now()).await?,
                Err(error) => {
                    tracing::warn!(webhook.id = %subscription.webhook, event.id = %event.id, %error, "no payload was made");
                    Body::Failed(error.to_string())
                }
            };
            rendered.push((rendering, event_type.clone(), body.clone()));
            body
        };
        let first = Message::first(event.id, event_type, subscription.webhook, event.tenant.clone(), body);
        messages.push(Message { content_type: rendering.content_type(), ..first });
    }
    Ok(messages)
}
