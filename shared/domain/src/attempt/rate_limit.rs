//! Limits the rate and the concurrency of requests to a receiver, across all processes.
//!
//! The rate is a [leaky bucket as a meter of arrivals][1]: each request takes the next turn, so none has to ask twice
//! and none is passed over. Requests in flight hold places, which expire if their process dies.
//!
//! A delivery that finds no free place waits in its webhook's line, without a message. A process that returns places
//! reserves them for the oldest deliveries in the line and sends their messages, so each waiting delivery costs one
//! message and never polls. A reserved place counts as taken, so a later delivery cannot take it.
//!
//! [1]: https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::DeliveryId;
use crate::time::after;

/// How long a process waits for a turn. For a later turn, the delivery returns to the queue.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How long a place is reserved for a delivery that was woken. If its message takes longer, the place is free again,
/// and the delivery asks for one like any other.
const KEPT_FOR: Duration = Duration::from_mins(1);

/// How long after a delivery was last seen waiting returned places are offered to the line. Meanwhile the sweep looks
/// at the line every minute and renews the time if it finds any delivery.
const LOOKS_FOR: Duration = Duration::from_mins(3);

/// How old that time may become before it is written again. With this, most deliveries that join a line need no write
/// for it.
const REFRESH: Duration = Duration::from_secs(10);

/// How many nanoseconds a second has.
const NANOSECONDS: u64 = 1_000_000_000;

/// How many deliveries are woken at once. Each of them wakes others when it ends.
pub const MOST_WOKEN: usize = 50;

/// The limits that a webhook's owner has set for its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiverLimits {
    /// Requests per second.
    pub rate: Option<u32>,
    /// Requests in flight.
    pub concurrency: Option<u32>,
}

impl ReceiverLimits {
    /// Returns whether there is a limit.
    #[must_use]
    pub fn any(&self) -> bool {
        self.rate.is_some() || self.concurrency.is_some()
    }
}

/// The requests to a receiver: turns taken and places held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The theoretical arrival time of the next request, if all came exactly at the rate.
    #[serde(default)]
    next: Option<Timestamp>,
    /// The rate for which turns were last given, in requests per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate: Option<u32>,
    /// The turns that were given before the rate was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    earlier: Option<Earlier>,
    #[serde(default)]
    leases: Vec<Lease>,
    /// When a delivery was last seen waiting for a place, with the precision of [`REFRESH`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waited: Option<Timestamp>,
}

/// Turns that were given for other rates, and keep their times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Earlier {
    /// The most of them in a second.
    rate: u32,
    until: Timestamp,
}

/// Places held by the requests of a process, or reserved for a delivery that was woken and is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Lease {
    holder: String,
    count: u32,
    until: Timestamp,
}

/// A request that a process wants to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Its delivery, for which a place may be reserved.
    pub delivery: DeliveryId,
    /// Whether it already had a turn and so does not count towards the rate again.
    pub had_turn: bool,
}

/// When a request may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// At this time, which is soon: the process waits.
    At(Timestamp),
    /// At this time, which is late: the delivery returns to the queue until its turn.
    Later(Timestamp),
    /// When a place is free: the delivery joins the line and is woken.
    Wait,
}

impl Flow {
    /// Takes turns for the requests of a process that ends by `until`.
    ///
    /// A place is taken before a turn, so a delivery that must wait for a place does not use up the rate.
    pub fn take(
        &mut self,
        limits: ReceiverLimits,
        asks: &[Ask],
        holder: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Vec<Turn> {
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
                return Turn::Later(after(at, Duration::ZERO));
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

    /// Returns the next turn. After a silence, one second's worth of requests may go at once.
    fn turn(&mut self, rate: Option<u32>, now: Timestamp) -> Timestamp {
        let Some(rate) = rate.filter(|rate| *rate > 0) else { return now };
        self.adopt(rate, now);
        // Requests with earlier turns use their part of the rate.
        let next = self.next.map_or(now, |next| next.max(now));
        let used = self.earlier.filter(|earlier| next < earlier.until).map_or(0, |earlier| earlier.rate);
        let rate = rate.saturating_sub(used).max(1);
        // Rounded up, so that a second has no room for one more.
        let apart = Duration::from_nanos(NANOSECONDS.div_ceil(rate.into()));
        self.next = Some(next + apart);
        // All requests of one second's worth may go at once, from the first to the last.
        (next - apart.saturating_mul(rate - 1)).max(now)
    }

    /// Takes over the rate if it was changed. After it was raised, new requests do not wait behind all turns that were
    /// given before, which may reach days ahead, but share the rate with them. A rate that was lowered counts from the
    /// last of these turns on.
    fn adopt(&mut self, rate: u32, now: Timestamp) {
        self.earlier = self.earlier.filter(|earlier| now < earlier.until);
        let before = self.rate.replace(rate).filter(|before| *before != rate);
        let Some((before, next)) = before.zip(self.next.filter(|next| now < *next)) else { return };
        let known = self.earlier.unwrap_or(Earlier { rate: before, until: next });
        let earlier = Earlier { rate: known.rate.max(before), until: known.until.max(next) };
        if earlier.rate < rate {
            self.next = Some(now);
        }
        self.earlier = Some(earlier);
    }

    /// Returns the places of these holders, if they have any: processes by the names that they used to take them, and
    /// woken deliveries by their ids.
    pub fn release<'a>(&mut self, holders: impl IntoIterator<Item = &'a str>, now: Timestamp) {
        for holder in holders {
            self.end(holder);
        }
        self.leases.retain(|lease| lease.until > now);
    }

    /// Reserves free places for the first deliveries in the line, and returns these deliveries so that they can be
    /// woken. `line` is sorted, oldest first, and may still contain deliveries that have already been woken.
    pub fn keep(&mut self, limits: ReceiverLimits, line: &[DeliveryId], now: Timestamp) -> Vec<DeliveryId> {
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

    /// Returns how many more requests the receiver can take now.
    #[must_use]
    pub fn free(&self, limits: ReceiverLimits) -> u32 {
        let under_way: u32 = self.leases.iter().map(|lease| lease.count).sum();
        limits.concurrency.map_or(u32::MAX, |most| most.saturating_sub(under_way))
    }

    /// Returns when a delivery was last seen waiting.
    #[must_use]
    pub fn waited(&self) -> Option<Timestamp> {
        self.waited
    }

    /// Returns whether a process that returns places must read the line. A receiver without waiting deliveries has no
    /// line to read.
    #[must_use]
    pub fn may_have_line(&self, now: Timestamp) -> bool {
        self.waited.is_some_and(|waited| now <= waited + LOOKS_FOR)
    }

    /// Returns whether a delivery may have begun to wait within that time. The time is written only every ten seconds.
    #[must_use]
    pub fn may_have_joined(&self, within: Duration, now: Timestamp) -> bool {
        self.waited.is_some_and(|waited| now <= waited + REFRESH + within)
    }

    /// Records that deliveries are waiting.
    pub fn see_waiting(&mut self, now: Timestamp) {
        if self.waited.is_none_or(|waited| waited + REFRESH <= now) {
            self.waited = Some(now);
        }
    }

    fn holds(&self, holder: &str) -> bool {
        self.leases.iter().any(|lease| lease.holder == holder)
    }

    /// Removes the places of a holder; returns whether it had any.
    fn end(&mut self, holder: &str) -> bool {
        let before = self.leases.len();
        self.leases.retain(|lease| lease.holder != holder);
        self.leases.len() < before
    }
}

#[cfg(test)]
mod tests;
