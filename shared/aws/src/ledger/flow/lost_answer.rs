//! A conditional write whose answer was lost.

use domain::attempt::rate_limit::Flow;

/// Returns the result of the last try if the flow that it wrote is the one that is read now. In that case the write
/// succeeded and its answer was lost.
pub(super) fn written_before<T>(tried: Option<(Flow, T)>, read: &Flow) -> Option<T> {
    tried.filter(|(flow, _)| flow == read).map(|(_, result)| result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_whose_answer_was_lost_is_recognised_and_another_is_not() {
        let mut written = Flow::default();
        written.see_waiting(jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(written_before(Some((written.clone(), "ours")), &written), Some("ours"));
        assert_eq!(written_before(Some((written, "ours")), &Flow::default()), None);
        assert_eq!(written_before::<()>(None, &Flow::default()), None);
    }
}
