//! From a table's changes to events, with the current content of the Registry.

use std::collections::HashSet;

use aws::{Registry, StoreError};
use domain::access::tenant::TenantId;
use domain::event::Event;
use domain::matching::matcher::Found;
use domain::source::{Change, Source};

use crate::App;
use crate::cache::{Cache, Known, Left, Matchers};
use crate::published;

/// How often a batch is mapped again because its source changed meanwhile.
const ROUNDS: usize = 3;

/// The result of mapping a change: its events, or why it could not be mapped.
pub(crate) type Mapped = Result<Vec<Event>, String>;

/// Maps the changes of one table, and brings the matchers of their tenants up to date; the result is in the changes' order.
///
/// `None` if it gets late while they are brought up to date.
///
/// Takes one read while nothing has changed: the mapping that was used last is used again, and the read of the tenants'
/// generations shows whether it is still current.
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
        let versions = app.registry.read_versions(table, tenants).await?;
        if !is_published && versions.source != source {
            match versions.source {
                Some(source) => cache.sources.insert(table.to_owned(), source),
                None => cache.sources.remove(table),
            };
            continue;
        }
        for (tenant, generation) in &versions.generations {
            if cache.matchers.of(tenant, *generation).is_none() {
                refresh(&app.registry, &mut cache.matchers, tenant, *generation).await?;
                if is_late() {
                    return Ok(None);
                }
            }
        }
        cache.generations.extend(versions.generations);
        for event in events.iter_mut().flatten().flatten() {
            event.name_states(versions.state_keys.get(&event.tenant));
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
pub(crate) async fn refresh(
    registry: &Registry,
    matchers: &mut Matchers,
    tenant: &TenantId,
    generation: u64,
) -> Result<(), StoreError> {
    let mut known = matchers.take(tenant);
    if known.generation > generation {
        // The table was restored to an earlier state: what is known never happened.
        known = Known::default();
    }
    if known.generation < generation {
        for change in registry.subscriptions_since(tenant, known.generation).await? {
            known.matcher.apply(change);
        }
        known.generation = generation;
    }
    matchers.put(tenant.clone(), known);
    Ok(())
}

/// Returns the webhooks that want the event. Reads the tenant's again if those of the batch's other tenants took their room.
pub(crate) async fn wanting(app: &App, cache: &mut Cache, event: &Event, left: &mut Left) -> Result<Found, StoreError> {
    let generation = cache.generations.get(&event.tenant).copied().unwrap_or_default();
    if let Some(found) = cache.matchers.matching(event, generation, left) {
        return Ok(found);
    }
    refresh(&app.registry, &mut cache.matchers, &event.tenant, generation).await?;
    let found = cache.matchers.matching(event, generation, left);
    found.ok_or_else(|| StoreError::Unavailable(format!("the webhooks of tenant {} were not kept", event.tenant)))
}

/// Says why not every webhook of the tenant that keeps an order was asked whether it wants the event.
pub(crate) fn too_much(not_judged: usize, event: &Event) -> String {
    let reason = format!(
        "the conditions of tenant {}'s webhooks take more work than one event may: {not_judged} webhooks with `ordering: entity`, those \
         with the highest ids, were not asked whether they want {}; simplify the filters (fewer wildcards and alternatives), then replay \
         the record",
        event.tenant, event.id
    );
    tracing::error!(tenant.id = %event.tenant, event.id = %event.id, not_judged, "an event takes too much matching");
    reason
}
