//! How often a process may do something within a minute, so that what others cause cannot cost without limit.

use std::collections::HashMap;

use jiff::Timestamp;

/// How many names are counted; a process that sees more of them refuses the others until the minute is over.
const MAX_NAMES: usize = 10_000;

/// Counts, for each name, how often something was done in the current minute. Each process counts for itself, because a
/// shared count would be a write of its own.
#[derive(Debug)]
pub struct Quota {
    limit: u32,
    minute: i64,
    taken: HashMap<String, u32>,
}

impl Quota {
    /// Returns a quota of `limit` times a minute for each name.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self { limit, minute: 0, taken: HashMap::new() }
    }

    /// Returns whether it may be done once more, and counts it if so.
    pub fn take(&mut self, name: &str, now: Timestamp) -> bool {
        let minute = now.as_second().div_euclid(60);
        if minute != self.minute {
            self.minute = minute;
            self.taken.clear();
        }
        if let Some(taken) = self.taken.get_mut(name) {
            let has_room = *taken < self.limit;
            *taken += u32::from(has_room);
            return has_room;
        }
        let has_room = self.limit > 0 && self.taken.len() < MAX_NAMES;
        if has_room {
            self.taken.insert(name.to_owned(), 1);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_its_limit_in_each_minute() {
        let mut quota = Quota::new(2);
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        assert_eq!([0, 30, 59].map(|second| quota.take("orders", at(second))), [true, true, false]);
        assert!(quota.take("films", at(59)));
        assert_eq!([60, 61, 62].map(|second| quota.take("orders", at(second))), [true, true, false]);
        assert!(quota.take("orders", at(0)), "a clock that is set back starts another minute");
        assert!(!Quota::new(0).take("orders", at(0)));
    }

    #[test]
    fn names_do_not_fill_the_memory() {
        let mut quota = Quota::new(1);
        assert_eq!((0..20_000).filter(|name| quota.take(&name.to_string(), Timestamp::UNIX_EPOCH)).count(), MAX_NAMES);
    }
}
