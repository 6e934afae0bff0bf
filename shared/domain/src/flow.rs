//! How much a receiver takes, whoever sends: a rate and a number at once, kept by all processes together.
//!
//! The rate is a [leaky bucket as a meter of arrivals][1]: each request takes the next turn, so that none has to ask twice and
//! none is passed over. Requests that are under way are leases, which end by themselves should their process die.
//!
//! [1]: https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How long a process waits for a turn; for a later one the delivery goes back.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// When to ask again where too many requests are under way.
const BUSY: Duration = Duration::from_secs(2);

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
}

/// Requests of one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Lease {
    holder: String,
    count: u32,
    until: Timestamp,
}

/// When a request may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Then, which is soon: its process waits.
    At(Timestamp),
    /// Then, which is late: the delivery goes back, and comes again with its turn.
    Later(Timestamp),
}

impl Flow {
    /// Takes turns for requests of one process, which ends until `until`; `had_turn` says of each whether it had one before.
    pub fn take(
        &mut self,
        limits: Limits,
        had_turn: &[bool],
        holder: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Vec<Turn> {
        self.leases.retain(|lease| lease.until > now);
        let under_way: u32 = self.leases.iter().map(|lease| lease.count).sum();
        let mut free = limits.concurrency.map_or(u32::MAX, |most| most.saturating_sub(under_way));
        let mut taken = 0;
        let turns = had_turn.iter().map(|had| {
            let at = if *had { now } else { self.turn(limits.rate, now) };
            if at > now + PATIENCE {
                return Turn::Later(at);
            }
            if free == 0 {
                return Turn::Later(now + BUSY);
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

    /// Ends what a process had under way.
    pub fn release(&mut self, holder: &str) {
        self.leases.retain(|lease| lease.holder != holder);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn in_ms(milliseconds: u64) -> Timestamp {
        now() + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_second_s_worth_at_once_and_then_one_by_one() {
        let limits = Limits { rate: Some(2), concurrency: None };
        let turns = Flow::default().take(limits, &[false; 8], "a", in_ms(60_000), now());
        let at = |milliseconds| Turn::At(in_ms(milliseconds));
        let expected =
            [at(0), at(0), at(500), at(1000), at(1500), at(2000), Turn::Later(in_ms(2500)), Turn::Later(in_ms(3000))];
        assert_eq!(turns, expected);
    }

    #[test]
    fn who_had_a_turn_takes_no_other() {
        let limits = Limits { rate: Some(1), concurrency: None };
        let mut flow = Flow::default();
        assert_eq!(flow.take(limits, &[true, true, false], "a", in_ms(1), now()), [Turn::At(now()); 3]);
    }

    #[test]
    fn so_many_at_once_until_they_end_or_their_process_does() {
        let limits = Limits { rate: None, concurrency: Some(3) };
        let mut flow = Flow::default();
        let mut at_once = |holder: &str, wanted: usize, at| {
            let turns = flow.take(limits, &vec![false; wanted], holder, at + Duration::from_mins(1), at);
            if holder == "b" {
                flow.release("a");
            }
            turns.iter().filter(|turn| matches!(turn, Turn::At(_))).count()
        };
        assert_eq!(at_once("a", 2, now()), 2);
        assert_eq!(at_once("b", 2, now()), 1, "and the first two end");
        assert_eq!(at_once("c", 5, now()), 2);
        assert_eq!(at_once("d", 5, now()), 0);
        assert_eq!(at_once("e", 5, in_ms(60_000)), 3, "all of them ended with their processes");
    }

    proptest! {
        /// Whoever asks when, no second sees more requests than twice the rate, and none is refused.
        #[test]
        fn the_rate_holds_over_all_processes(rate in 1_u32..50, asks in prop::collection::vec((0_u64..5000, 1_usize..20), 1..20)) {
            let limits = Limits { rate: Some(rate), concurrency: None };
            let mut flow = Flow::default();
            let mut asks = asks;
            asks.sort_unstable();
            let mut turns: Vec<Timestamp> = asks
                .iter()
                .flat_map(|(at, count)| flow.take(limits, &vec![false; *count], "a", in_ms(1), in_ms(*at)))
                .map(|turn| match turn { Turn::At(at) | Turn::Later(at) => at })
                .collect();
            turns.sort_unstable();
            for first in &turns {
                let within = turns.iter().filter(|turn| *turn >= first && **turn < *first + Duration::from_secs(1)).count();
                prop_assert!(within <= usize::try_from(2 * rate).unwrap(), "{within} in a second");
            }
        }
    }
}
