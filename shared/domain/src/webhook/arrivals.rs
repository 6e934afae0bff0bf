//! Deliveries that arrived at the first attempt, which are counted from the ledger's stream.
//!
//! Most deliveries arrive at once, and nothing that `deliver` decides depends on how many did. So it does not count
//! them: the stream of their rows is added up every half minute. A batch of a stream may come again, in whole or in
//! part, so each webhook's statistics remember how far the stream was counted.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::hours::{Hour, Sums};

/// The largest number of digits in a sequence number of a stream.
const DIGITS: usize = 40;

/// Two digits are a byte.
const BYTES: usize = DIGITS / 2;

/// A position in a stream: a sequence number, two digits in each byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position([u8; BYTES]);

impl Position {
    /// Returns the position of a sequence number; `None` if it is not a number of at most 40 digits.
    #[must_use]
    pub fn of(sequence_number: &str) -> Option<Self> {
        let is_number = !sequence_number.is_empty() && sequence_number.bytes().all(|byte| byte.is_ascii_digit());
        let digits = is_number.then(|| format!("{sequence_number:0>DIGITS$}"))?;
        Some(Self(hex::decode(digits).ok()?.try_into().ok()?))
    }

    /// Returns a position that was stored.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (length, digits) = bytes.split_first()?;
        let zeros = BYTES.checked_sub(digits.len()).filter(|_| usize::from(*length) == digits.len())?;
        let mut position = [0; BYTES];
        position[zeros..].copy_from_slice(digits);
        Some(Self(position))
    }

    /// Returns it as it is stored: two digits in each byte without leading zeros, after their number, so that stored
    /// positions order as bytes.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        let digits: Vec<u8> = self.0.into_iter().skip_while(|byte| *byte == 0).collect();
        let length = u8::try_from(digits.len()).unwrap_or(u8::MAX);
        std::iter::once(length).chain(digits).collect()
    }
}

/// A delivery that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The partition of its row, of those over which its webhook's rows are spread. A stream has an order in each.
    pub partition: u8,
    /// The position of its row in the stream.
    pub position: Position,
    /// When the attempt was made.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

impl Arrival {
    /// Returns whether the stream was not counted as far as this arrival.
    #[must_use]
    pub fn is_after(&self, counted: &Counted) -> bool {
        counted.get(&self.partition).is_none_or(|to| self.position > *to)
    }
}

/// How far a stream was counted for a webhook, by partition.
pub type Counted = BTreeMap<u8, Position>;

/// The sum of a webhook's arrivals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrivals {
    /// How many there are, and how long they took.
    pub sums: Sums,
    /// When the last attempt was made.
    pub last_at: Timestamp,
    /// The first position of each partition.
    pub from: Counted,
    /// The last position of each partition.
    pub to: Counted,
}

impl Arrivals {
    /// Adds up the arrivals that are not counted yet. `None` if all are.
    #[must_use]
    pub fn uncounted(arrivals: &[Arrival], counted: &Counted) -> Option<Self> {
        let is_new = |arrival: &&Arrival| arrival.is_after(counted);
        let mut new = arrivals.iter().filter(is_new).peekable();
        let first = new.peek()?;
        let mut sum = Self { sums: Sums::default(), last_at: first.at, from: Counted::new(), to: Counted::new() };
        for Arrival { partition, position, at, duration_ms } in new {
            sum.sums.calls += 1;
            sum.sums.duration_ms += duration_ms;
            sum.last_at = sum.last_at.max(*at);
            sum.from.entry(*partition).and_modify(|from| *from = (*from).min(*position)).or_insert(*position);
            sum.to.entry(*partition).and_modify(|to| *to = (*to).max(*position)).or_insert(*position);
        }
        Some(sum)
    }

    /// Returns the hour that they are counted in: that of the last one.
    #[must_use]
    pub fn hour(&self) -> Hour {
        Hour::of(self.last_at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn arrival(partition: u8, position: u64) -> Arrival {
        let at = Timestamp::from_second(i64::try_from(position).unwrap()).unwrap();
        Arrival { partition, position: Position::of(&position.to_string()).unwrap(), at, duration_ms: position }
    }

    #[rstest]
    #[case::digits("111700000000023456789012", true)]
    #[case::the_longest(&"9".repeat(40), true)]
    #[case::too_long(&"1".repeat(41), false)]
    #[case::nothing("", false)]
    #[case::hexadecimal("1f", false)]
    #[case::sign("+1", false)]
    fn a_position_is_a_sequence_number(#[case] text: &str, #[case] is_position: bool) {
        assert_eq!(Position::of(text).is_some(), is_position);
    }

    #[rstest]
    #[case::nothing(&[])]
    #[case::too_short(&[2, 1])]
    #[case::too_long(&[21; 22])]
    fn what_was_not_stored_is_no_position(#[case] bytes: &[u8]) {
        assert_eq!(Position::from_bytes(bytes), None);
    }

    #[test]
    fn what_was_counted_is_not_counted_again() {
        let arrivals = [arrival(0, 5), arrival(1, 6), arrival(0, 7)];
        let sum = Arrivals::uncounted(&arrivals, &Counted::new()).unwrap();
        assert_eq!(sum.sums, Sums { calls: 3, errors: 0, duration_ms: 18 });
        assert_eq!(sum.last_at.as_second(), 7);
        let counted = Counted::from([(0, arrival(0, 5).position)]);
        let rest = Arrivals::uncounted(&arrivals, &counted).unwrap();
        assert_eq!((rest.sums.calls, rest.from[&0], rest.from[&1]), (2, arrivals[2].position, arrivals[1].position));
        assert_eq!(Arrivals::uncounted(&arrivals, &sum.to), None);
        assert_eq!(Arrivals::uncounted(&[], &counted), None);
    }

    proptest! {
        #[test]
        fn positions_order_as_their_numbers(a: u128, b: u128) {
            let position = |number: u128| Position::of(&number.to_string()).unwrap();
            prop_assert_eq!(position(a).cmp(&position(b)), a.cmp(&b));
            prop_assert_eq!(position(a).to_bytes().cmp(&position(b).to_bytes()), a.cmp(&b));
            prop_assert_eq!(Position::from_bytes(&position(a).to_bytes()), Some(position(a)));
        }

        /// A stream's batches come again after faults, cut differently: each arrival is counted once.
        #[test]
        fn each_is_counted_once_however_batches_are_cut(
            partitions in proptest::collection::vec(0_u8..3, 1..40),
            cuts in proptest::collection::vec((0_usize..40, 0_usize..40), 0..10),
        ) {
            let all: Vec<_> = partitions.iter().zip(1_u64..).map(|(part, position)| arrival(*part, position)).collect();
            let (mut counted, mut calls, mut read) = (Counted::new(), 0, 0);
            // Each batch starts at a place that was read already, or at the next one.
            for (back, length) in cuts.into_iter().chain([(0, all.len())]) {
                let from = read - back.min(read);
                let to = (from + length).min(all.len());
                if let Some(sum) = Arrivals::uncounted(&all[from..to], &counted) {
                    calls += sum.sums.calls;
                    counted.extend(sum.to);
                }
                read = read.max(to);
            }
            prop_assert_eq!(calls, u64::try_from(all.len()).unwrap());
        }
    }
}
