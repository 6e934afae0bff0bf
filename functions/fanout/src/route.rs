//! Turns a table's changes into events, with the current content of the Registry.

use std::collections::HashSet;

use aws::{Registry, StoreError};
use domain::access::tenant::TenantId;
use domain::event::Event;
use domain::matching::matcher::Found;
use domain::source::{Change, Source};

use crate::App;
use crate::cache::{Cache, Known, Left, Matchers};
use crate::lookups::{Lookups, lookups as lookups_of};
use crate::published;

/// How often to map a batch again because its source changed in the meantime.
const ROUNDS: usize = 3;

/// The result of mapping a change: its events, or why it could not be mapped.
pub(crate) type Mapped = Result<Vec<Event>, String>;

/// Maps the changes of one table, and updates the matchers of their tenants. The result is in the order of the changes,
/// with the queries for related items of the events whose tenants have webhooks.
///
/// Returns `None` if time runs short while matchers are updated.
///
/// This takes one read while nothing has changed: the cached source is used, and the read of the tenants' generations
/// shows whether it is still current.
pub(crate) async fn map(
    app: &App,
    cache: &mut Cache,
    table: &str,
    changes: &[Change],
    is_late: &impl Fn() -> bool,
) -> Result<Option<(Vec<Mapped>, Lookups)>, StoreError> {
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
        let has_webhooks =
            |event: &Event| versions.generations.get(&event.tenant).is_some_and(|generation| *generation > 0);
        let lookups = source.as_ref().filter(|_| !is_published);
        let lookups = lookups.map(|source| lookups_of(source, changes, &mut events, has_webhooks)).unwrap_or_default();
        cache.generations.extend(versions.generations);
        for event in events.iter_mut().flatten().flatten() {
            event.name_states(versions.state_keys.get(&event.tenant));
        }
        return Ok(Some((events, lookups)));
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

/// Updates a tenant's matcher to the generation, reading only newer changes.
pub(crate) async fn refresh(
    registry: &Registry,
    matchers: &mut Matchers,
    tenant: &TenantId,
    generation: u64,
) -> Result<(), StoreError> {
    let mut known = matchers.take(tenant);
    if known.generation > generation {
        // The table was restored to an earlier state, so the cached changes never happened.
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

/// Returns the webhooks that want the event. Reads the tenant's matcher again if those of other tenants in the batch
/// evicted it.
pub(crate) async fn wanting(app: &App, cache: &mut Cache, event: &Event, left: &mut Left) -> Result<Found, StoreError> {
    let generation = cache.generations.get(&event.tenant).copied().unwrap_or_default();
    if let Some(found) = cache.matchers.matching(event, generation, left) {
        return Ok(found);
    }
    refresh(&app.registry, &mut cache.matchers, &event.tenant, generation).await?;
    let found = cache.matchers.matching(event, generation, left);
    found.ok_or_else(|| StoreError::Unavailable(format!("the webhooks of tenant {} are not cached", event.tenant)))
}

/// Returns the reason why some ordered webhooks of the tenant were not evaluated for the event, and logs it.
pub(crate) fn too_much(not_judged: usize, event: &Event) -> String {
    let reason = format!(
        "the conditions of tenant {}'s webhooks take more work than one event may: {not_judged} webhooks with `ordering: entity`, those \
         with the highest ids, were not evaluated for {}; simplify the filters (fewer wildcards and alternatives), then replay \
         the record",
        event.tenant, event.id
    );
    tracing::error!(tenant.id = %event.tenant, event.id = %event.id, not_judged, "an event takes too much work to match; some ordered webhooks were not evaluated, and its record goes to stream-failures");
    reason
}
