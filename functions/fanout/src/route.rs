//! From a table's changes to deliveries, with the Registry as it stands now.

use std::collections::HashSet;

use aws::StoreError;
use domain::chain::entity;
use domain::event::{Event, EventType};
use domain::matcher::Found;
use domain::message::{Body, MAX_INLINE_BYTES, Message};
use domain::payload::Rendering;
use domain::source::{Change, Source};
use domain::tenant::TenantId;

use crate::App;
use crate::cache::{Cache, Known};
use crate::published;

/// From how many webhooks on the body of an event is stored rather than repeated.
const MANY: usize = 200;

/// How often a batch is mapped again because its source changed meanwhile.
const ROUNDS: usize = 3;

/// What came of a change: its events, or why it could not be mapped.
pub(crate) type Mapped = Result<Vec<Event>, String>;

/// Maps the changes of one table, and brings the matchers of their tenants up to date; the result is in the changes' order.
///
/// `None` if it gets late while they are brought up to date.
///
/// One read while nothing changed: the mapping is the one that was used last, and the read that brings the tenants'
/// generations says whether it still stands.
pub(crate) async fn map(
    app: &App,
    cache: &mut Cache,
    table: &str,
    changes: &[Change],
    is_late: &impl Fn() -> bool,
) -> Result<Option<Vec<Mapped>>, StoreError> {
    for _ in 0..ROUNDS {
        let is_published = table == app.events_table;
        let source = cache.sources.get(table).cloned();
        let mut events = if is_published {
            changes.iter().map(|change| Ok(vec![published::event(change)?])).collect()
        } else {
            events(source.as_ref(), table, changes)
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
        for (tenant, generation) in &glance.generations {
            if cache.matchers.of(tenant, *generation).is_none() {
                refresh(app, cache, tenant, *generation).await?;
                if is_late() {
                    return Ok(None);
                }
            }
        }
        cache.generations.extend(glance.generations);
        for event in events.iter_mut().flatten().flatten() {
            event.name_states(glance.state_keys.get(&event.tenant));
        }
        return Ok(Some(events));
    }
    Err(StoreError::Conflict { key: format!("the source of table {table}") })
}

fn events(source: Option<&Source>, table: &str, changes: &[Change]) -> Vec<Mapped> {
    let unregistered = || format!("table {table} is not registered as a source");
    let map = |change: &Change| {
        let source = source.ok_or_else(unregistered)?;
        source.events(change.clone()).map_err(|error| error.to_string())
    };
    changes.iter().map(map).collect()
}

/// Brings a tenant's matcher to the generation; reads only what is newer.
async fn refresh(app: &App, cache: &mut Cache, tenant: &TenantId, generation: u64) -> Result<(), StoreError> {
    let mut known = cache.matchers.take(tenant);
    if known.generation > generation {
        // The table was restored to an earlier state: what is known never happened.
        known = Known::default();
    }
    if known.generation < generation {
        for change in app.registry.subscriptions_since(tenant, known.generation).await? {
            known.matcher.apply(change);
        }
        known.generation = generation;
    }
    cache.matchers.put(tenant.clone(), known);
    Ok(())
}

/// Returns the webhooks that want the event. Reads the tenant's again if those of the batch's other tenants took their room.
async fn wanting(app: &App, cache: &mut Cache, event: &Event) -> Result<Found, StoreError> {
    let generation = cache.generations.get(&event.tenant).copied().unwrap_or_default();
    if let Some(found) = cache.matchers.matching(event, generation) {
        return Ok(found);
    }
    refresh(app, cache, &event.tenant, generation).await?;
    Ok(cache.matchers.matching(event, generation).unwrap_or_default())
}

/// The messages of an event.
pub(crate) struct Routed {
    pub(crate) messages: Vec<Message>,
    /// Why there are not all, if they are not.
    pub(crate) missing: Option<String>,
}

/// Returns one message for each webhook that wants the event. The body is rendered once for all that show it alike, and stored
/// once if it is large.
///
/// What many webhooks get is stored even if it is small, so that their messages together are not too much to hold.
pub(crate) async fn deliveries(app: &App, cache: &mut Cache, event: &Event) -> Result<Routed, StoreError> {
    let Found { wanted, not_judged } = wanting(app, cache, event).await?;
    let missing = (not_judged > 0).then(|| too_much(not_judged, event));
    let inline = if wanted.len() > MANY { MAX_INLINE_BYTES / 20 } else { MAX_INLINE_BYTES };
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
            let body = app.bodies.render(rendering, event, &event_type, inline, app.clock.now()).await?;
            if let Body::Failed(error) = &body {
                tracing::warn!(webhook.id = %subscription.webhook, event.id = %event.id, error, "no payload was made");
            }
            rendered.push((rendering, event_type.clone(), body.clone()));
            body
        };
        let first = Message::first(event.id, event_type, subscription.webhook, event.tenant.clone(), body);
        messages.push(Message {
            app: subscription.app.clone(),
            sequence: Some(event.sequence.clone()),
            hops: event.hops,
            entity: subscription.ordered.then(|| entity(&event.entity.path())),
            content_type: rendering.content_type(),
            ..first
        });
    }
    Ok(Routed { messages, missing })
}

/// Says why not every webhook of the tenant was asked whether it wants the event.
fn too_much(not_judged: usize, event: &Event) -> String {
    let reason = format!(
        "the conditions of tenant {}'s webhooks take more work than one event may: {not_judged} webhooks, those with the highest \
         ids, were not asked whether they want {}; simplify the filters (fewer wildcards and alternatives), then replay the record",
        event.tenant, event.id
    );
    tracing::error!(tenant.id = %event.tenant, event.id = %event.id, not_judged, "an event takes too much matching");
    reason
}
