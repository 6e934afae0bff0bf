//! Adds related items to events, before anything is made of these.
//!
//! A query gives another result later, but a delivery that is made again must have the same bytes. So the result of the
//! first query is kept, and a process that handles the event again gets what was kept.

use std::collections::BTreeMap;

use aws::StoreError;
use domain::event::Event;
use domain::source::Source;
use domain::source::related::Lookup;
use domain::value::Map;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::App;
use crate::cache::Cache;
use crate::lookups::Lookups;
use crate::route::Mapped;

/// How many events of a batch are looked up at once.
const CONCURRENCY: usize = 8;

/// Queries what is related to the events, keeps it and adds it to them. An event whose query AWS refuses for good takes
/// its record with it: the record goes to stream-failures.
///
/// # Errors
///
/// If a table is unavailable or throttled: the batch is processed again.
pub(crate) async fn add(
    app: &App,
    cache: &Cache,
    mapped: &mut BTreeMap<usize, Mapped>,
    lookups: &Lookups,
) -> Result<(), StoreError> {
    if lookups.is_empty() {
        return Ok(());
    }
    let mut wanted = Vec::new();
    for (index, mapped) in mapped.iter() {
        for event in mapped.iter().flatten() {
            if let (Some(lookups), Some(source)) = (lookups.get(&event.id), cache.sources.get(&event.source)) {
                wanted.push((*index, event, source, lookups));
            }
        }
    }
    let found = stream::iter(wanted).map(|(index, event, source, lookups)| async move {
        match related(app, source, event, lookups).await {
            Ok(related) => Ok((index, event.id, Ok(related))),
            Err(StoreError::Refused(why)) => Ok((index, event.id, Err(why))),
            Err(error) => Err(error),
        }
    });
    let found: Vec<_> = found.buffer_unordered(CONCURRENCY).try_collect().await?;
    for (index, id, found) in found {
        let Some(record) = mapped.get_mut(&index) else { continue };
        match found {
            Ok(related) => {
                let mut events = record.iter_mut().flatten();
                if let Some(event) = events.find(|event| event.id == id) {
                    event.entity.related.extend(related);
                }
            }
            Err(why) => *record = Err(why),
        }
    }
    Ok(())
}

async fn related(app: &App, source: &Source, event: &Event, lookups: &[Lookup]) -> Result<Map, StoreError> {
    let mut answers = Vec::new();
    for lookup in lookups {
        answers.push((lookup.clone(), app.related.query(&source.table, lookup).await?));
    }
    app.related.keep(event.id, source.related(event, answers), app.clock.now()).await
}
