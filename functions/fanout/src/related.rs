//! Adds related items to events, before anything is made of these.
//!
//! A query gives another result later, but a delivery that is made again must have the same bytes. So the result of the
//! first query is kept, and a process that handles the event again gets what was kept.

use std::collections::{BTreeMap, HashMap};

use aws::StoreError;
use domain::access::tenant::{AppId, TenantId};
use domain::event::Event;
use domain::source::Source;
use domain::source::lookup::{related, retain_queried};
use domain::source::related::{Answer, Lookup};
use domain::value::Map;
use futures::stream::{self, StreamExt as _};
use tokio::sync::OnceCell;

use crate::App;
use crate::cache::Cache;
use crate::lookups::Lookups;
use crate::route::Mapped;

/// How many events of a group are looked up at once. Each may have a page of 1 MB in memory.
const CONCURRENCY: usize = 2;

/// The most bytes of JSON that the related items of a group's events have together. A byte takes up to 96 bytes of
/// memory, as in a published event, and is there twice, in the answer and in the event: 48 MB. A single event may have
/// more than its share, and at most [`domain::source::lookup::MAX_BYTES`].
const MAX_BYTES: usize = 256 * 1024;

/// Where a group of records must be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The records from this position on must be another group, because the items that were found take much memory.
    Full(usize),
    /// The records from this position on must be returned to the stream.
    Return(usize),
}

/// The answers to the queries of a group, or why AWS refuses one for good. Events of the same tenant and application
/// with equal queries share an answer.
type Answers<'a> = HashMap<Asked<'a>, OnceCell<Result<Answer, String>>>;
type Asked<'a> = (&'a str, &'a Lookup, &'a TenantId, Option<&'a AppId>);

fn asked<'a>(source: &'a Source, event: &'a Event, lookup: &'a Lookup) -> Asked<'a> {
    (&source.table, lookup, &event.tenant, event.app.as_ref())
}

/// Queries what is related to the events, keeps it and adds it to them. An event whose query AWS refuses for good takes
/// its record with it: the record goes to stream-failures.
///
/// Returns where the group must be cut, if it must: a table is unavailable or throttled, the time is up, or the items
/// take much memory. The records before that position are complete.
pub(crate) async fn add(
    app: &App,
    cache: &Cache,
    mapped: &mut BTreeMap<usize, Mapped>,
    lookups: &Lookups,
    is_late: &impl Fn() -> bool,
) -> Option<Cut> {
    let mut wanted = Vec::new();
    for (index, mapped) in mapped.iter() {
        for event in mapped.iter().flatten() {
            if let (Some(lookups), Some(source)) = (lookups.get(&event.id), cache.sources.get(&event.source)) {
                wanted.push((*index, event, source, lookups));
            }
        }
    }
    let all = wanted.iter().flat_map(|(_, event, source, lookups)| {
        lookups.iter().map(|lookup| (asked(source, event, lookup), OnceCell::new()))
    });
    let answers: Answers<'_> = all.collect();
    let answers = &answers;
    let work = stream::iter(wanted).map(|(index, event, source, lookups)| async move {
        (index, event.id, of_event(app, answers, source, event, lookups).await)
    });
    let mut work = Box::pin(work.buffered(CONCURRENCY));
    let (mut found, mut bytes, mut cut) = (Vec::new(), 0, None);
    while let Some((index, id, result)) = work.next().await {
        match result {
            Ok((related, more)) => {
                bytes += more;
                found.push((index, id, Ok(related)));
            }
            Err(StoreError::Refused(why)) => found.push((index, id, Err(why))),
            // It stays so, and must not hold the shard. The details may quote an item, so they are not logged.
            Err(StoreError::Inconsistent { key, .. }) => {
                tracing::error!(key, "related items cannot be read; the record goes to stream-failures");
                found.push((index, id, Err("its related items, or what was kept of them, cannot be read".to_owned())));
            }
            Err(error) => {
                tracing::error!(%error, "related items were not queried; the rest of the batch is returned to the stream");
                cut = Some(Cut::Return(index));
            }
        }
        // At least one record, or the batch would make no progress.
        if cut.is_none() && index > 0 {
            cut = cut_before(index, bytes, is_late());
        }
        if cut.is_some() {
            break;
        }
    }
    drop(work);
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
    cut
}

/// Returns whether a group must be cut before a record after whose queries its related items have that many bytes.
fn cut_before(index: usize, bytes: usize, is_late: bool) -> Option<Cut> {
    if is_late {
        tracing::warn!("too little time is left for related items; the rest of the batch is returned to the stream");
        return Some(Cut::Return(index));
    }
    (bytes > MAX_BYTES).then_some(Cut::Full(index))
}

/// Returns the related values of an event, and how many bytes of JSON were found for them.
async fn of_event(
    app: &App,
    answers: &Answers<'_>,
    source: &Source,
    event: &Event,
    lookups: &[Lookup],
) -> Result<(Map, usize), StoreError> {
    let mut found = Vec::new();
    for lookup in lookups {
        let Some(answer) = answers.get(&asked(source, event, lookup)) else { continue };
        let answer = answer.get_or_try_init(|| query(app, source, event, lookup)).await?;
        let answer = answer.as_ref().map_err(|why| StoreError::Refused(why.clone()))?;
        found.push((lookup.name.as_str(), answer));
    }
    let (related, bytes) = related(found);
    let mut kept = app.related.keep(event.id, related, app.clock.now()).await?;
    retain_queried(&mut kept, lookups);
    Ok((kept, bytes))
}

/// Makes a query. The inner error is a refusal for good, which all events with this query share.
async fn query(
    app: &App,
    source: &Source,
    event: &Event,
    lookup: &Lookup,
) -> Result<Result<Answer, String>, StoreError> {
    match app.related.query(&source.table, lookup).await {
        Ok(page) => {
            let more = page.more;
            source.shown(event, lookup, page.items(), more).map(Ok)
        }
        Err(StoreError::Refused(why)) => Ok(Err(why)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::small(MAX_BYTES, false, None)]
    #[case::large(MAX_BYTES + 1, false, Some(Cut::Full(3)))]
    #[case::late(0, true, Some(Cut::Return(3)))]
    #[case::late_and_large(MAX_BYTES + 1, true, Some(Cut::Return(3)))]
    fn a_group_is_cut_where_it_takes_much_memory_or_time(
        #[case] bytes: usize,
        #[case] is_late: bool,
        #[case] cut: Option<Cut>,
    ) {
        assert_eq!(cut_before(3, bytes, is_late), cut);
    }
}
