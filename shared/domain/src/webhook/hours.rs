//! A webhook's hourly statistics: a ring buffer of the last two days.
//!
//! A counter does not read the ring first. It assumes that its hour is the one counted last; if the store reports a
//! different hour, [`RingChange`] says how to update the ring.

use jiff::Timestamp;

/// The size of the ring, in hours.
pub const HOURS: u8 = 48;

const RING: i64 = HOURS as i64;

/// An hour in UTC, counted from the start of 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(i64);

impl Hour {
    /// Returns the hour that contains the time.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self(at.as_second().div_euclid(3600))
    }

    /// Returns the hour with that number.
    #[must_use]
    pub fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// Returns its number.
    #[must_use]
    pub fn number(self) -> i64 {
        self.0
    }

    /// Returns its start.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp::from_second(self.0.saturating_mul(3600)).unwrap_or_default()
    }

    /// Returns its slot in the ring.
    #[must_use]
    pub fn slot(self) -> usize {
        usize::try_from(self.0.rem_euclid(RING)).unwrap_or_default()
    }

    /// Returns the hour that many hours earlier.
    #[must_use]
    pub fn before(self, hours: i64) -> Self {
        Self(self.0.saturating_sub(hours))
    }

    /// Returns how many hours have passed since an earlier one: 1 if it is the hour before.
    fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The sums of an hour's attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Attempts.
    pub calls: u64,
    /// Failed attempts.
    pub errors: u64,
    /// The total duration of all attempts, in milliseconds.
    pub duration_ms: u64,
}

impl Sums {
    /// Returns the sums of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            errors: self.errors.saturating_add(other.errors),
            duration_ms: self.duration_ms.saturating_add(other.duration_ms),
        }
    }

    /// Returns the mean duration of an attempt, in milliseconds, if there was one.
    #[must_use]
    pub fn mean_duration_ms(&self) -> Option<u64> {
        self.duration_ms.checked_div(self.calls)
    }
}

/// How the ring changes when attempts are counted for an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RingChange {
    /// The attempts are added to their slot.
    Add,
    /// The hour is later than the last counted one: its slot is overwritten, and these slots of the hours between, in
    /// which nothing was counted, are cleared.
    Advance(Vec<usize>),
    /// All slots are cleared, and that of the hour is overwritten.
    Restart,
    /// The hour is so old that another hour uses its slot. The attempts are not counted.
    TooLate,
}

impl RingChange {
    /// Returns how a ring whose last counted hour is `last` changes when attempts of `hour` are counted.
    #[must_use]
    pub fn to(hour: Hour, last: Option<Hour>) -> Self {
        match last {
            None => Self::Restart,
            Some(last) if hour.since(last) >= RING => Self::Restart,
            Some(last) if hour > last => {
                Self::Advance((1..hour.since(last)).rev().map(|back| hour.before(back).slot()).collect())
            }
            Some(last) if last.since(hour) < RING => Self::Add,
            Some(_) => Self::TooLate,
        }
    }
}

/// The ring as read from the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hours {
    last: Option<Hour>,
    slots: Vec<Sums>,
}

impl Hours {
    /// Creates a ring from what the store keeps: the hour counted last, and the sums by slot.
    #[must_use]
    pub fn new(last: Option<Hour>, slots: Vec<Sums>) -> Self {
        Self { last, slots }
    }

    /// Returns a ring that contains only these sums.
    #[must_use]
    pub fn started(hour: Hour, sums: Sums) -> Self {
        let slots = (0..usize::from(HOURS)).map(|slot| if slot == hour.slot() { sums } else { Sums::default() });
        Self { last: Some(hour), slots: slots.collect() }
    }

    /// Returns the sums by slot.
    #[must_use]
    pub fn slots(&self) -> &[Sums] {
        &self.slots
    }

    /// Returns the 48 hours up to now, latest first.
    pub fn until(&self, now: Timestamp) -> impl Iterator<Item = (Hour, Sums)> + '_ {
        let this = Hour::of(now);
        (0..RING).map(move |back| {
            let hour = this.before(back);
            (hour, self.sums(hour).unwrap_or_default())
        })
    }

    fn sums(&self, hour: Hour) -> Option<Sums> {
        self.last.filter(|last| (0..RING).contains(&last.since(hour)))?;
        self.slots.get(hour.slot()).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn hour(number: i64) -> Hour {
        Hour::from_number(number)
    }

    fn sums(calls: u64) -> Sums {
        Sums { calls, errors: calls / 2, duration_ms: calls * 10 }
    }

    #[rstest]
    #[case::nothing_yet(None, 100, RingChange::Restart)]
    #[case::the_same_hour(Some(100), 100, RingChange::Add)]
    #[case::the_next(Some(100), 101, RingChange::Advance(vec![]))]
    #[case::two_of_silence(Some(94), 97, RingChange::Advance(vec![47, 0]))]
    #[case::the_longest_silence(Some(100), 147, RingChange::Advance((101..147).map(|number| hour(number).slot()).collect()))]
    #[case::all_over(Some(100), 148, RingChange::Restart)]
    #[case::late(Some(100), 53, RingChange::Add)]
    #[case::too_late(Some(100), 52, RingChange::TooLate)]
    fn turns(#[case] last: Option<i64>, #[case] now: i64, #[case] turn: RingChange) {
        assert_eq!(RingChange::to(hour(now), last.map(hour)), turn);
    }

    #[rstest]
    #[case::on_the_hour(7200, 2)]
    #[case::just_before(7199, 1)]
    #[case::before_1970(-1, -1)]
    fn knows_the_hour(#[case] second: i64, #[case] number: i64) {
        let hour = Hour::of(Timestamp::from_second(second).unwrap());
        assert_eq!((hour.number(), hour.start().as_second()), (number, number * 3600));
    }

    #[test]
    fn no_attempts_have_no_duration() {
        assert_eq!(Sums::default().mean_duration_ms(), None);
        assert_eq!(Sums { calls: 3, errors: 0, duration_ms: 10 }.mean_duration_ms(), Some(3));
    }

    /// Updates a ring in memory as a store updates its own.
    fn count(ring: &mut Hours, now: Hour, sums: Sums) {
        match RingChange::to(now, ring.last) {
            RingChange::Restart => *ring = Hours::started(now, sums),
            RingChange::Advance(silent) => {
                for slot in silent {
                    ring.slots[slot] = Sums::default();
                }
                ring.slots[now.slot()] = sums;
                ring.last = Some(now);
            }
            RingChange::Add => {
                let slot = &mut ring.slots[now.slot()];
                slot.calls += sums.calls;
                slot.errors += sums.errors;
                slot.duration_ms += sums.duration_ms;
            }
            RingChange::TooLate => {}
        }
    }

    proptest! {
        #[test]
        fn every_hour_shows_its_counts_in_any_order(
            counts in proptest::collection::vec((0_i64..150, 1_u64..100), 1..40),
            order in any::<proptest::sample::Index>(),
            later in 0_i64..60,
        ) {
            let latest = counts.iter().map(|(number, _)| *number).max().unwrap();
            let mut expected = BTreeMap::<i64, u64>::new();
            for (number, calls) in &counts {
                *expected.entry(*number).or_default() += calls;
            }
            let mut ring = Hours::default();
            let start = order.index(counts.len());
            for (number, calls) in counts[start..].iter().chain(counts[..start].iter().rev()) {
                count(&mut ring, hour(*number), sums(*calls));
            }
            let now = hour(latest + later).start();
            let shown: Vec<_> = ring.until(now).collect();
            prop_assert_eq!(shown.len(), usize::from(HOURS));
            for (at, sums) in shown {
                let in_ring = latest - at.number() < 48;
                let calls = expected.get(&at.number()).filter(|_| in_ring).copied().unwrap_or(0);
                prop_assert_eq!(sums.calls, calls, "hour {} of {}", at.number(), latest);
            }
        }
    }
}
