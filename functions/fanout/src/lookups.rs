//! Which related items must be queried for the events of a batch.

use std::collections::HashMap;

use domain::event::Event;
use domain::id::EventId;
use domain::source::error::MapError;
use domain::source::related::Lookup;
use domain::source::{Change, Source};

/// The queries of events.
pub(crate) type Lookups = HashMap<EventId, Vec<Lookup>>;

/// Returns the queries for the wanted events of a table's changes. A change whose queries lack an
/// attribute cannot be mapped.
pub(crate) fn lookups(
    source: &Source,
    changes: &[Change],
    mapped: &mut [Result<Vec<Event>, String>],
    is_wanted: impl Fn(&Event) -> bool,
) -> Lookups {
    let mut all = Lookups::new();
    if !source.has_queries() {
        return all;
    }
    for (change, mapped) in changes.iter().zip(mapped) {
        let Ok(events) = mapped else { continue };
        let wanted = events.iter().filter(|event| is_wanted(event));
        let found = wanted.map(|event| Ok((event.id, source.lookups(event, &change.images)?)));
        match found.collect::<Result<Vec<_>, MapError>>() {
            Ok(found) => all.extend(found.into_iter().filter(|(_, lookups)| !lookups.is_empty())),
            Err(error) => *mapped = Err(error.to_string()),
        }
    }
    all
}
