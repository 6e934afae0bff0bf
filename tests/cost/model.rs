//! What the counts rest on and no test can count: how long things take, and how Lambda makes batches. `docs/use/cost.md`
//! states these assumptions.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

/// How long a receiver takes to answer.
pub(crate) const RECEIVER: Duration = Duration::from_millis(200);

/// How long a call to AWS takes.
pub(crate) const CALL: Duration = Duration::from_millis(8);

/// What a request takes on its way out in addition to its head and body: a TLS handshake and the headers of TCP and IP.
pub(crate) const CONNECTION_BYTES: usize = 1500;

/// The processor time of a run of the sweep that finds nothing, at 256 MB.
pub(crate) const SWEEP_CPU: Duration = Duration::from_millis(10);

/// Lambda polls each shard of a stream four times a second.
const POLL_MILLISECONDS: i64 = 250;
const POLL: f64 = 0.25;

/// A table that is billed by requests starts with four partitions, and its stream has a shard for each.
pub(crate) const SHARDS: usize = 4;

/// How many polls of a queue wait at the same time, at least.
const POLLS: usize = 5;

/// The windows of [`Pace::Collected`], in milliseconds.
const WINDOW: i64 = 1000;

/// The largest batches of the mappings in the template.
pub(crate) const STREAM_BATCH: usize = 100;
pub(crate) const QUEUE_BATCH: usize = 10;
pub(crate) const RENDER_BATCH: usize = 5;
pub(crate) const TALLY_BATCH: usize = 1000;

/// How long tally's batches are collected, in milliseconds.
pub(crate) const TALLY_WINDOW: i64 = 30_000;

/// The processor time of a batch of deliveries, at 256 MB.
pub(crate) fn deliver_cpu(deliveries: usize) -> Duration {
    Duration::from_millis(5) + Duration::from_millis(4) * u32::try_from(deliveries).unwrap()
}

/// The processor time of a batch of records, at 256 MB.
pub(crate) fn fanout_cpu(records: usize) -> Duration {
    Duration::from_millis(5) + Duration::from_millis(1) * u32::try_from(records).unwrap()
}

/// The processor time of a batch of slices, at 256 MB.
pub(crate) fn render_cpu(slices: usize) -> Duration {
    Duration::from_millis(5) + Duration::from_millis(10) * u32::try_from(slices).unwrap()
}

/// The processor time of a batch of rows, at 256 MB.
pub(crate) fn tally_cpu(records: usize) -> Duration {
    Duration::from_millis(5) + Duration::from_micros(200) * u32::try_from(records).unwrap()
}

/// Returns how many days the template keeps the row of a delivery that arrived.
pub(crate) fn row_days() -> u8 {
    let days = &::tests::cloud::template()["Parameters"]["DeliveredRetentionDays"]["Default"];
    days.as_u64().and_then(|days| u8::try_from(days).ok()).unwrap()
}

/// Returns how many bytes Lambda logs about an invocation.
pub(crate) fn platform_lines() -> usize {
    let id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd";
    let start = format!("START RequestId: {id} Version: $LATEST\n");
    let end = format!("END RequestId: {id}\n");
    let report = format!(
        "REPORT RequestId: {id}\tDuration: 231.44 ms\tBilled Duration: 232 ms\tMemory Size: 256 MB\tMax Memory Used: 38 MB\t\n"
    );
    start.len() + end.len() + report.len()
}

/// How fast changes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// So fast that messages and records wait, and every batch is full.
    Full,
    /// Ten a second, at random times.
    TenASecond,
    /// The same, with windows in which the mappings collect changes and first attempts.
    Collected,
    /// One a minute.
    OneAMinute,
}

impl Pace {
    /// Returns when fan-out gets which of so many changes: the time in milliseconds, and the number of changes.
    pub(crate) fn stream_batches(self, changes: usize) -> Vec<(i64, usize)> {
        match self {
            Self::Full => (0..changes.div_ceil(STREAM_BATCH))
                .map(|batch| (i64::try_from(batch * 100).unwrap(), STREAM_BATCH))
                .collect(),
            Self::OneAMinute => (0..changes).map(|number| (i64::try_from(number * 60_000).unwrap(), 1)).collect(),
            Self::TenASecond => polled(changes, 10.0),
            Self::Collected => gathered(&polled(changes, 10.0)),
        }
    }

    /// Returns the batches of deliver, of messages that became visible at these times: the time of each, and how many
    /// messages it has.
    ///
    /// In a backlog each batch is full. Otherwise messages that become visible together are split between the polls that
    /// wait. A poll with a window waits for more from its first message on.
    pub(crate) fn queue_batches(self, sent: &[(i64, usize)]) -> Vec<(i64, usize)> {
        match self {
            Self::Full => split_each(sent, |messages| messages.div_ceil(QUEUE_BATCH)),
            Self::TenASecond | Self::OneAMinute => {
                split_each(sent, |messages| messages.div_ceil(QUEUE_BATCH).max(messages.min(POLLS)))
            }
            Self::Collected => collected(sent),
        }
    }
}

fn split_each(sent: &[(i64, usize)], batches: impl Fn(usize) -> usize) -> Vec<(i64, usize)> {
    let split = |(at, messages): &(i64, usize)| {
        let (at, messages, batches) = (*at, *messages, batches(*messages));
        (0..batches).map(move |batch| (at, messages / batches + usize::from(batch < messages % batches)))
    };
    sent.iter().flat_map(split).collect()
}

/// Returns the batches of polls that take messages in turn, each until its window is over or its batch is full.
fn collected(sent: &[(i64, usize)]) -> Vec<(i64, usize)> {
    let mut polls = [(0, 0); POLLS];
    let mut batches = Vec::new();
    for (number, at) in sent.iter().flat_map(|(at, messages)| std::iter::repeat_n(*at, *messages)).enumerate() {
        let poll = &mut polls[number % POLLS];
        if poll.1 > 0 && (poll.0 <= at || poll.1 == QUEUE_BATCH) {
            batches.push(*poll);
            *poll = (0, 0);
        }
        if poll.1 == 0 {
            poll.0 = at + WINDOW;
        }
        poll.1 += 1;
    }
    batches.extend(polls.into_iter().filter(|(_, messages)| *messages > 0));
    batches.sort_unstable();
    batches
}

/// Returns the batches of shards that collect changes from the first one on, until their window is over. The shard of a
/// batch shows in its time.
fn gathered(polled: &[(i64, usize)]) -> Vec<(i64, usize)> {
    let mut shards = BTreeMap::<i64, (i64, usize)>::new();
    let mut batches = Vec::new();
    for (at, changes) in polled {
        let shard = shards.entry(at % POLL_MILLISECONDS).or_insert((at + WINDOW, 0));
        if shard.0 < *at {
            batches.push(std::mem::replace(shard, (at + WINDOW, 0)));
        }
        shard.1 += changes;
    }
    batches.extend(shards.into_values());
    batches.sort_unstable();
    batches
}

/// Returns the batches of changes that come at random times, so many a second, to shards that are polled in turn.
fn polled(changes: usize, a_second: f64) -> Vec<(i64, usize)> {
    let mut random = Rng::with_seed(7);
    let (mut at, mut batches) = (0.0, BTreeMap::<(u64, usize), usize>::new());
    for _ in 0..changes {
        at -= random.f64().max(f64::MIN_POSITIVE).ln() / a_second;
        let shard = random.usize(..SHARDS);
        // The polls of the shards are spread over the quarter of a second.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "some minutes"
        )]
        let poll = (at / POLL - shard as f64 / SHARDS as f64).ceil() as u64;
        *batches.entry((poll, shard)).or_default() += 1;
    }
    let time = |(poll, shard): (u64, usize)| i64::try_from(poll * 250).unwrap() + i64::try_from(shard * 62).unwrap();
    batches.into_iter().map(|(key, count)| (time(key), count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(pace: Pace, sent: &[(i64, usize)]) -> Vec<usize> {
        pace.queue_batches(sent).into_iter().map(|(_, size)| size).collect()
    }

    #[test]
    fn messages_are_split_between_the_polls() {
        assert_eq!(sizes(Pace::OneAMinute, &[(0, 1), (60_000, 1)]), [1, 1]);
        assert_eq!(sizes(Pace::TenASecond, &[(0, 10)]), [2, 2, 2, 2, 2]);
        assert_eq!(sizes(Pace::TenASecond, &[(0, 61)]), [9, 9, 9, 9, 9, 8, 8]);
        assert_eq!(sizes(Pace::Full, &[(0, 100)]), [10; 10]);
    }

    #[test]
    fn a_poll_collects_until_its_window_is_over_or_its_batch_is_full() {
        let alone: Vec<_> = (0..5).map(|poll| (poll, 1)).collect();
        assert_eq!(Pace::Collected.queue_batches(&alone), (0..5).map(|at| (at + 1000, 1)).collect::<Vec<_>>());
        assert_eq!(sizes(Pace::Collected, &[(0, 5), (999, 5), (1000, 5)]), [2, 2, 2, 2, 2, 1, 1, 1, 1, 1]);
        assert_eq!(sizes(Pace::Collected, &[(0, 50), (1, 5)]), [10, 10, 10, 10, 10, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn a_shard_collects_until_its_window_is_over() {
        let polled = [(0, 1), (62, 1), (250, 2), (1000, 1), (1062, 1), (1250, 1)];
        assert_eq!(gathered(&polled), [(1000, 4), (1062, 2), (2250, 1)]);
    }

    #[test]
    fn ten_a_second_come_one_or_two_at_a_time() {
        let batches = Pace::TenASecond.stream_batches(1000);
        assert_eq!(batches.iter().map(|(_, count)| count).sum::<usize>(), 1000);
        assert!((700..800).contains(&batches.len()), "{}", batches.len());
        assert!(batches.is_sorted_by_key(|(at, _)| *at));
    }
}
