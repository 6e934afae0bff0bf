//! Retries of a conditional write to a row that many processes write at once.

use std::time::Duration;

use domain::attempt::rate_limit::Flow;

/// How often the write is tried while other processes come first.
pub(super) const ROUNDS: u32 = 12;

/// The longest pause before a retry.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Returns the pause before a round. It doubles each time, and part of it depends on the holder's random name, so that
/// processes that collided once do not collide again.
pub(super) fn pause(round: u32, holder: &str) -> Duration {
    if round == 0 {
        return Duration::ZERO;
    }
    let longest = Duration::from_millis(5 << round).min(LONGEST_PAUSE);
    let hash = holder.bytes().fold(round, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    longest / 2 + longest / 2 * (hash % 64) / 64
}

/// Returns the result of the last try if the flow that it wrote is the one that is read now. In that case the write
/// succeeded and its answer was lost.
pub(super) fn written_before<T>(tried: Option<(Flow, T)>, read: &Flow) -> Option<T> {
    tried.filter(|(flow, _)| flow == read).map(|(_, result)| result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_short_and_each_holder_has_its_own() {
        let of = |holder: &str| (0..ROUNDS).map(|round| pause(round, holder)).collect::<Vec<_>>();
        let (one, other) = (of("0f3a"), of("91bc"));
        assert!(one.iter().sum::<Duration>() < Duration::from_secs(5));
        assert_eq!(one.first(), Some(&Duration::ZERO), "the first round has no wait");
        assert!(one.iter().zip(&other).skip(1).all(|(one, other)| one != other), "{one:?} {other:?}");
    }

    #[test]
    fn a_write_whose_answer_was_lost_is_recognised_and_another_is_not() {
        let mut written = Flow::default();
        written.see_waiting(jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(written_before(Some((written.clone(), "ours")), &written), Some("ours"));
        assert_eq!(written_before(Some((written, "ours")), &Flow::default()), None);
        assert_eq!(written_before::<()>(None, &Flow::default()), None);
    }
}
