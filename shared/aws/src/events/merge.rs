//! Walks through the rows and the packs of a tenant's events, in the order of their ids.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Range;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::query::QueryError;
use aws_smithy_async::future::pagination_stream::PaginationStream;
use domain::access::tenant::TenantId;
use domain::event::Event;
use domain::id::EventId;
use futures::future::{join_all, try_join_all};
use jiff::Timestamp;
use jiff::civil::Date;

use super::packs::{self, Pack};
use super::{Events, SHARDS, day, partition};
use crate::StoreError;
use crate::items::{IS_LIVE, Item, live_at, text};

/// How many packs of a partition are read in the first call. Each further call reads twice as many.
const FIRST_PACKS: i32 = 4;
const MOST_PACKS: i32 = 256;

/// How many bytes of unpacked packs are kept. A list of a very busy second has more; the rest is unpacked when needed.
const MAX_UNPACKED: usize = 32 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    NewestFirst,
    OldestFirst,
}

impl Order {
    /// Compares two ids or days; what comes first in the list is less.
    fn compare<T: Ord>(self, a: &T, b: &T) -> Ordering {
        match self {
            Self::NewestFirst => b.cmp(a),
            Self::OldestFirst => a.cmp(b),
        }
    }
}

/// What is read, and in which order: the days between two times, and in each day the ids between two texts. Both ranges
/// include their ends.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) days: (Timestamp, Timestamp),
    pub(super) ids: (String, String),
    pub(super) order: Order,
    pub(super) now: Timestamp,
}

impl Walk {
    /// Returns a query of a part of a partition.
    fn query(
        &self,
        events: &Events,
        pk: &str,
        last: &str,
    ) -> aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder {
        let query = events.client.query().table_name(&events.table);
        query
            .scan_index_forward(self.order == Order::OldestFirst)
            .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":pk", text(pk))
            .expression_attribute_values(":first", text(&self.ids.0))
            .expression_attribute_values(":last", text(last))
            .filter_expression(IS_LIVE)
            .expression_attribute_values(":live_at", live_at(self.now))
    }

    fn contains(&self, id: EventId) -> bool {
        (self.ids.0.as_str()..=self.ids.1.as_str()).contains(&id.to_string().as_str())
    }
}

/// The events of a walk, each once.
pub(super) struct Merge<'a> {
    events: &'a Events,
    order: Order,
    now: Timestamp,
    rows: Rows<'a>,
    packs: Packs<'a>,
}

impl<'a> Merge<'a> {
    pub(super) fn new(events: &'a Events, tenant: &'a TenantId, walk: &'a Walk) -> Self {
        let rows = Rows::new(events, tenant, walk);
        Self { events, order: walk.order, now: walk.now, rows, packs: Packs::new(events, tenant, walk) }
    }

    /// Returns the next event, and its size as JSON in bytes.
    pub(super) async fn next(&mut self) -> Result<Option<(Event, usize)>, StoreError> {
        loop {
            let packed = self.packs.peek().await?;
            // Days after that of the packed event are not read yet.
            let row = self.rows.peek(packed).await?;
            let is_next = |row: EventId| packed.is_none_or(|packed| self.order.compare(&row, &packed).is_le());
            let Some(item) = row.filter(|row| is_next(*row)).and_then(|_| self.rows.head.take()) else {
                let Some(packed) = packed else { return Ok(None) };
                return self.packs.take(packed).map(Some);
            };
            if packed == row {
                self.packs.skip(packed);
            }
            match self.events.read(item.1, self.now).await {
                // The body of the event has expired just before the item.
                Err(StoreError::Missing { .. }) => {}
                event => return event.map(Some),
            }
        }
    }
}

type Items = PaginationStream<Result<Item, SdkError<QueryError>>>;

/// The rows, read day by day. The shards of a day are merged.
struct Rows<'a> {
    events: &'a Events,
    tenant: &'a TenantId,
    walk: &'a Walk,
    /// The next day.
    day: Option<Date>,
    shards: Vec<(Option<(EventId, Item)>, Items)>,
    /// The next row.
    head: Option<(EventId, Item)>,
}

impl<'a> Rows<'a> {
    fn new(events: &'a Events, tenant: &'a TenantId, walk: &'a Walk) -> Self {
        let (from, to) = walk.days;
        let first = day(if walk.order == Order::NewestFirst { to } else { from });
        Self { events, tenant, walk, day: Some(first), shards: Vec::new(), head: None }
    }

    /// Returns the id of the next row, unless it is on a later day of the walk than `until`.
    async fn peek(&mut self, until: Option<EventId>) -> Result<Option<EventId>, StoreError> {
        let order = self.walk.order;
        while self.head.is_none() && !self.pull().await? {
            let (from, to) = (day(self.walk.days.0), day(self.walk.days.1));
            let is_due = |next: &Date| {
                let until = until.map(|until| day(until.timestamp()));
                (from..=to).contains(next) && until.is_none_or(|until| order.compare(next, &until).is_le())
            };
            let Some(next) = self.day.filter(is_due) else { return Ok(None) };
            let shards = (0..SHARDS).map(|shard| {
                let query = self.walk.query(self.events, &partition(self.tenant, next, shard), &self.walk.ids.1);
                let mut items = query.into_paginator().items().send();
                async move { Ok::<_, StoreError>((row(&mut items).await?, items)) }
            });
            self.shards = try_join_all(shards).await?;
            self.day = if order == Order::NewestFirst { next.yesterday() } else { next.tomorrow() }.ok();
        }
        Ok(self.head.as_ref().map(|(id, _)| *id))
    }

    /// Takes the next row of the day, and returns whether there was one.
    async fn pull(&mut self) -> Result<bool, StoreError> {
        let order = self.walk.order;
        let heads = self.shards.iter_mut().filter_map(|(head, items)| Some((head.as_ref()?.0, head, items)));
        let Some((_, head, items)) = heads.min_by(|(a, ..), (b, ..)| order.compare(a, b)) else { return Ok(false) };
        self.head = std::mem::replace(head, row(items).await?);
        Ok(true)
    }
}

async fn row(items: &mut Items) -> Result<Option<(EventId, Item)>, StoreError> {
    let Some(item) = items.next().await.transpose().map_err(|error| StoreError::unavailable(&error))? else {
        return Ok(None);
    };
    let id = item.get("sk").and_then(|sk| sk.as_s().ok()?.parse().ok());
    Ok(Some((id.ok_or_else(|| StoreError::inconsistent("a row of an event", "its key is no id"))?, item)))
}

/// The packs of all shards. A pack is opened once one of its events may be the next one.
struct Packs<'a> {
    events: &'a Events,
    walk: &'a Walk,
    shards: Vec<Shard>,
    open: Vec<Open>,
}

/// A partition of packs: those that were read and not opened yet, in the order of the walk.
struct Shard {
    pk: String,
    packs: VecDeque<Pack>,
    /// How many packs the next call reads.
    page: i32,
    /// The last key that was read.
    after: Option<Item>,
    is_read: bool,
}

/// A pack some of whose events are still to come, in the order of the walk.
struct Open {
    pack: Pack,
    lines: VecDeque<(EventId, Range<usize>)>,
    /// The unpacked text, if it is kept.
    text: Option<String>,
}

impl<'a> Packs<'a> {
    fn new(events: &'a Events, tenant: &TenantId, walk: &'a Walk) -> Self {
        let shard = |shard| Shard {
            pk: packs::partition(tenant, shard),
            packs: VecDeque::new(),
            page: FIRST_PACKS,
            after: None,
            is_read: false,
        };
        Self { events, walk, shards: (0..packs::SHARDS).map(shard).collect(), open: Vec::new() }
    }

    /// Returns the id of the next event.
    async fn peek(&mut self) -> Result<Option<EventId>, StoreError> {
        let order = self.walk.order;
        // No event of a pack comes before this one.
        let bound = |pack: &Pack| if order == Order::NewestFirst { pack.last } else { pack.start() };
        loop {
            let empty = self.shards.iter_mut().filter(|shard| shard.packs.is_empty() && !shard.is_read);
            for result in join_all(empty.map(|shard| shard.read(self.events, self.walk))).await {
                result?;
            }
            let fronts = self.open.iter().filter_map(|open| open.lines.front());
            let best = fronts.map(|(id, _)| *id).min_by(|a, b| order.compare(a, b));
            let fronts = self.shards.iter_mut().filter_map(|shard| Some((bound(shard.packs.front()?), shard)));
            let next = fronts.min_by(|(a, _), (b, _)| order.compare(a, b));
            let next = next.filter(|(bound, _)| best.is_none_or(|best| order.compare(bound, &best).is_le()));
            match next.and_then(|(_, shard)| shard.packs.pop_front()) {
                Some(pack) => self.open(pack)?,
                // Shards that were emptied by filtered items have more to read.
                None if self.shards.iter().any(|shard| shard.packs.is_empty() && !shard.is_read) => {}
                None => return Ok(best),
            }
        }
    }

    fn open(&mut self, pack: Pack) -> Result<(), StoreError> {
        let text = pack.text()?;
        let mut lines: VecDeque<_> = pack.lines(&text)?.into();
        lines.retain(|(id, _)| self.walk.contains(*id));
        if self.walk.order == Order::NewestFirst {
            lines.make_contiguous().reverse();
        }
        if !lines.is_empty() {
            let kept = self.open.iter().filter_map(|open| open.text.as_ref()).map(String::len).sum::<usize>();
            let text = Some(text).filter(|text| kept + text.len() <= MAX_UNPACKED);
            self.open.push(Open { pack, lines, text });
        }
        Ok(())
    }

    /// Takes the event that [`peek`](Self::peek) has found, out of all packs with it.
    fn take(&mut self, id: EventId) -> Result<(Event, usize), StoreError> {
        let mut found = self.open.iter().filter_map(|open| Some((open, open.lines.front()?)));
        let Some((open, (_, range))) = found.find(|(_, (front, _))| *front == id) else {
            return Err(StoreError::inconsistent(id, "its pack is not open"));
        };
        let unpacked = if open.text.is_some() { None } else { Some(open.pack.text()?) };
        let text = open.text.as_ref().or(unpacked.as_ref());
        let line = text.and_then(|text| text.get(range.clone()));
        let line = line.ok_or_else(|| open.pack.inconsistent("it changes when it is unpacked again"))?;
        let event = (open.pack.parse(line)?, line.len());
        self.skip(Some(id));
        Ok(event)
    }

    /// Leaves out an event.
    fn skip(&mut self, id: Option<EventId>) {
        for open in &mut self.open {
            open.lines.pop_front_if(|(front, _)| Some(*front) == id);
        }
        self.open.retain(|open| !open.lines.is_empty());
    }
}

impl Shard {
    /// Reads some more packs.
    async fn read(&mut self, events: &Events, walk: &Walk) -> Result<(), StoreError> {
        let query = walk.query(events, &self.pk, &packs::end(walk.days.1));
        let query = query.limit(self.page).set_exclusive_start_key(self.after.take());
        let page = query.send().await.map_err(|error| StoreError::unavailable(&error))?;
        self.packs = page.items.unwrap_or_default().into_iter().map(Pack::read).collect::<Result<_, _>>()?;
        self.page = (self.page * 2).min(MOST_PACKS);
        self.after = page.last_evaluated_key;
        self.is_read = self.after.is_none();
        Ok(())
    }
}
