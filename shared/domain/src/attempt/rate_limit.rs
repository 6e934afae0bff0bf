//! How much a receiver takes, whoever sends: a rate and a number at once, kept by all processes together.
//!
//! The rate is a [leaky bucket as a meter of arrivals][1]: each request takes the next turn, so that none has to ask twice and
//! none is passed over. Requests that are under way hold places, which end by themselves should their process die.
//!
//! A delivery that finds no free place waits in its webhook's line, without a message. A process that gives places back keeps them for the
//! oldest deliveries of the line and sends their messages, so that each waiting delivery costs one message and never polls. A
//! place that is kept counts as taken: a delivery that came later cannot take it.
//!
//! [1]: https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::DeliveryId;

/// How long a process waits for a turn; for a later one the delivery goes back.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How long a place is kept for a delivery that was woken. If its message takes longer, the place is free again, and the delivery
/// asks for one as if it had not waited.
const KEPT_FOR: Duration = Duration::from_mins(1);

/// How long after a delivery was last seen waiting places that are given back are offered to the line. Meanwhile the sweep looks
/// at the line every minute, and says so here if it finds any.
const LOOKS_FOR: Duration = Duration::from_mins(3);

/// How old that time may become before it is written again: most deliveries that join a line write nothing about it.
const REFRESH: Duration = Duration::from_secs(10);

/// How many deliveries are woken in one go; each of them wakes others when it ends.
pub const MOST_WOKEN: usize = 50;

/// What a webhook's owner says that its receiver takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests a second.
    pub rate: Option<u32>,
    /// Requests at once.
    pub concurrency: Option<u32>,
}

impl Limits {
    /// Says whether there is a limit.
    #[must_use]
    pub fn any(&self) -> bool {
        self.rate.is_some() || self.concurrency.is_some()
    }
}

/// What is on its way to a receiver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// When the next request would arrive if all came as slowly as the rate allows.
    #[serde(default)]
    next: Option<Timestamp>,
    #[serde(default)]
    leases: Vec<Lease>,
    /// When a delivery was last seen waiting for a place, give or take [`REFRESH`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waited: Option<Timestamp>,
}

/// Places: of the requests of one process, or of a delivery that was woken and is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Lease {
    holder: String,
    count: u32,
    until: Timestamp,
}

/// A request that a process wants to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Of which delivery: a place may be kept for it.
    pub delivery: DeliveryId,
    /// Whether it had a turn before: it takes none of the rate any more.
    pub had_turn: bool,
}

/// When a request may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Then, which is soon: its process waits.
    At(Timestamp),
    /// Then, which is late: the delivery goes back, and comes again with its turn.
    Later(Timestamp),
    /// Once a place is free: the delivery joins the line, and is woken.
    Wait,
}

impl Flow {
    /// Takes turns for requests of one process, which ends until `until`.
    ///
    /// A place first, then a turn of the rate: a delivery that has to wait for a place uses up nothing of the rate.
    pub fn take(&mut self, limits: Limits, asks: &[Ask], holder: &str, until: Timestamp, now: Timestamp) -> Vec<Turn> {
        self.leases.retain(|lease| lease.until > now);
        let mut free = self.free(limits);
        let mut taken = 0;
        let turns = asks.iter().map(|ask| {
            if limits.concurrency.is_some() && self.end(&ask.delivery.to_string()) {
                free += 1;
            }
            if free == 0 {
                self.see_waiting(now);
                return Turn::Wait;
            }
            let at = if ask.had_turn { now } else { self.turn(limits.rate, now) };
            if at > now + PATIENCE {
                return Turn::Later(at);
            }
            free -= 1;
            taken += 1;
            Turn::At(at)
        });
        let turns = turns.collect();
        if limits.concurrency.is_some() && taken > 0 {
            self.leases.push(Lease { holder: holder.to_owned(), count: taken, until });
        }
        turns
    }

    /// Returns the next turn. A second's worth of requests may come at once after a silence.
    fn turn(&mut self, rate: Option<u32>, now: Timestamp) -> Timestamp {
        let Some(rate) = rate.filter(|rate| *rate > 0) else { return now };
        let second = Duration::from_secs(1);
        let next = self.next.map_or(now, |next| next.max(now));
        self.next = Some(next + second / rate);
        // The first of a second's worth is allowed at once, and so is the last.
        (next - second.saturating_sub(second / rate)).max(now)
    }

    /// Gives back the places of these holders, whether or not they have any: processes by the names that they took them with,
    /// and woken deliveries by their ids.
    pub fn release<'a>(&mut self, holders: impl IntoIterator<Item = &'a str>, now: Timestamp) {
        for holder in holders {
            self.end(holder);
        }
        self.leases.retain(|lease| lease.until > now);
    }

    /// Keeps free places for the first deliveries of the line, and returns those: they are to be woken. `line` has the oldest first,
    /// and may still show some that are on their way already.
    pub fn keep(&mut self, limits: Limits, line: &[DeliveryId], now: Timestamp) -> Vec<DeliveryId> {
        let free = usize::try_from(self.free(limits)).unwrap_or(usize::MAX).min(MOST_WOKEN);
        let mut waiting = line.iter().filter(|delivery| !self.holds(&delivery.to_string()));
        let woken: Vec<_> = waiting.by_ref().take(free).copied().collect();
        let are_others_left = waiting.next().is_some();
        let until = now + KEPT_FOR;
        self.leases.extend(woken.iter().map(|delivery| Lease { holder: delivery.to_string(), count: 1, until }));
        if are_others_left {
            self.see_waiting(now);
        }
        woken
    }

    /// Returns how many more requests the receiver takes now.
    #[must_use]
    pub fn free(&self, limits: Limits) -> u32 {
        let under_way: u32 = self.leases.iter().map(|lease| lease.count).sum();
        limits.concurrency.map_or(u32::MAX, |most| most.saturating_sub(under_way))
    }

    /// Returns when a delivery was last seen waiting.
    #[must_use]
    pub fn waited(&self) -> Option<Timestamp> {
        self.waited
    }

    /// Says whether a process that gives places back reads the line: a receiver that takes all that comes has no line to look at.
    #[must_use]
    pub fn may_have_line(&self, now: Timestamp) -> bool {
        self.waited.is_some_and(|waited| now <= waited + LOOKS_FOR)
    }

    /// Says whether a delivery may have begun to wait within that time: when one did is written only every ten seconds.
    #[must_use]
    pub fn may_have_joined(&self, within: Duration, now: Timestamp) -> bool {
        self.waited.is_some_and(|waited| now <= waited + REFRESH + within)
    }

    /// Takes note that deliveries wait.
    pub fn see_waiting(&mut self, now: Timestamp) {
        if self.waited.is_none_or(|waited| waited + REFRESH <= now) {
            self.waited = Some(now);
        }
    }

    fn holds(&self, holder: &str) -> bool {
        self.leases.iter().any(|lease| lease.holder == holder)
    }

    /// Ends the places of a holder; says whether it had any.
    fn end(&mut self, holder: &str) -> bool {
        let before = self.leases.len();
        self.leases.retain(|lease| lease.holder != holder);
        self.leases.len() < before
    }
}

#[cfg(test)]
mod tests;
