//! The effect of a webhook that hangs until its timeout, with half of the traffic, on the others. `make bench`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use domain::webhook::Webhook;
use serde_json::json;
use tests::cloud::delivery_environment;

use crate::fixture::Fixture;
use crate::lambda::{Lambda, Settings};

/// How many batches of first and of later attempts run at once. Lambda starts with five, and adds some while first ones
/// wait.
const FIRST: usize = 5;
const MOST: usize = 40;
const LATER: usize = 2;

/// How many deliveries a second go to healthy webhooks.
const RATE: u32 = 40;

/// The duration of the traffic, and of its onset, in which the hanging webhook is detected.
const LASTS: Duration = Duration::from_secs(25);
const ONSET: Duration = Duration::from_secs(10);

/// How many runs have the hanging webhook. Each is between two runs without it.
const RUNS: usize = 4;

/// The goals: the p99 in the onset in milliseconds, and the p99 after it as a multiple of that without the webhook.
const GOAL_ONSET: f64 = 200.0;
const GOAL_AFTER: f64 = 1.2;

/// How long the thread sleeps that measures how late the machine's timers fire.
const TICK: Duration = Duration::from_millis(1);

/// Sends traffic to the healthy webhooks and, if `hangs`, as much to one that hangs. Returns how long each delivery to
/// a healthy one took to arrive: those of the onset, and those after it.
async fn traffic(healthy: usize, hangs: bool) -> [Vec<Duration>; 2] {
    let fixture = Arc::new(Fixture::start().await);
    let healthy = fixture.webhooks(healthy, json!({}), "").await;
    let hanging = fixture.webhooks(1, json!({}), "hang").await.remove(0);
    let lambda = Lambda::new(&fixture);
    let environment = delivery_environment(&fixture.cloud_url);
    let first = Settings { logical_id: "DeliverFunction", environment, memory: None, stands_back: false };
    let later = Settings { stands_back: true, ..first.clone() };
    lambda.map_queue("deliveries", 10, first, [FIRST, MOST]).await;
    lambda.map_queue("retries", 10, later.clone(), [LATER, LATER]).await;
    lambda.map_queue("slow", 10, later, [LATER, LATER]).await;
    let mut sent = HashMap::new();
    let hand_over = async |webhook: &Webhook| {
        let message = fixture.message(webhook.id, 1024).await;
        fixture.cloud.queues.send("deliveries", message.to_json(), Duration::ZERO, None, None);
        message.event.to_string()
    };
    let mut tick = tokio::time::interval(Duration::from_secs(1) / RATE);
    let started = Instant::now();
    for webhook in healthy.iter().cycle() {
        tick.tick().await;
        if started.elapsed() > LASTS {
            break;
        }
        sent.insert(hand_over(webhook).await, Instant::now());
        if hangs {
            hand_over(&hanging).await;
        }
    }
    // Wait until all of them have arrived.
    let of_sent = || {
        let arrivals = fixture.arrivals.lock().unwrap();
        let taken = |((_, event), (at, _)): (&(String, String), &(Instant, u32))| {
            let sent: Instant = *sent.get(event)?;
            Some((sent.duration_since(started), at.duration_since(sent)))
        };
        arrivals.iter().filter_map(taken).collect::<Vec<_>>()
    };
    let end = Instant::now() + Duration::from_mins(2);
    while of_sent().len() < sent.len() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let taken = of_sent();
    assert_eq!(taken.len(), sent.len(), "every delivery to a healthy webhook arrives");
    [true, false].map(|onset| {
        let part = taken.iter().filter(|(at, _)| (*at < ONSET) == onset);
        let mut part: Vec<Duration> = part.map(|(_, taken)| *taken).collect();
        part.sort();
        part
    })
}

/// Measures how late a timer fires, as long as `ends` is not set: the noise of the machine, in milliseconds.
fn measure_timers(ends: &Arc<AtomicBool>) -> std::thread::JoinHandle<Vec<f64>> {
    let ends = Arc::clone(ends);
    std::thread::spawn(move || {
        let mut late = Vec::new();
        while !ends.load(Ordering::Relaxed) {
            let started = Instant::now();
            std::thread::sleep(TICK);
            late.push(milliseconds(started.elapsed().saturating_sub(TICK)));
        }
        late
    })
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Returns the value below which so many percent of the values are.
fn percentile(values: impl IntoIterator<Item = f64>, percent: usize) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent / 100).min(values.len() - 1)]
}

/// Returns the median; of an even number of values, the mean of the two in the middle.
fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

/// The p50 and the p99 of each run, in milliseconds.
#[derive(Default)]
struct Part {
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Part {
    fn add(&mut self, taken: &[Duration]) {
        for (percent, runs) in [(50, &mut self.p50), (99, &mut self.p99)] {
            runs.push(percentile(taken.iter().copied().map(milliseconds), percent));
        }
    }

    fn print(&self, name: &str, goal: &str) {
        let runs: Vec<String> = self.p99.iter().map(|p99| format!("{p99:.0}")).collect();
        let (p50, p99) = (median(&self.p50), median(&self.p99));
        println!("{name:34} p50 {p50:.1} ms, p99 {p99:.1} ms{goal} (p99 of each run: {})", runs.join(" "));
    }
}

pub(crate) async fn isolation() {
    println!(
        "\n{FIRST} to {MOST} + {LATER} + {LATER} deliver processes, {RATE} deliveries a second to ten healthy webhooks; \
         medians of {RUNS} runs next to one that hangs, with as many, and of {} runs alone between them\n\
         later attempts give way, as Lambda runs them on other cores",
        RUNS + 1
    );
    let ends = Arc::new(AtomicBool::new(false));
    let timers = measure_timers(&ends);
    let (mut alone, mut onset, mut after) = (Part::default(), Part::default(), Part::default());
    for run in 0..=RUNS {
        // Without the onset, because its processes have just started.
        alone.add(&traffic(10, false).await[1]);
        if run < RUNS {
            let [first, then] = traffic(10, true).await;
            onset.add(&first);
            after.add(&then);
        }
    }
    ends.store(true, Ordering::Relaxed);
    alone.print("alone, without the first 10 s", "");
    onset.print("the first 10 s next to it", &format!(", goal {GOAL_ONSET:.0}"));
    after.print("after that", "");
    let pairs: Vec<&[f64]> = alone.p99.windows(2).collect();
    let ratios: Vec<f64> =
        after.p99.iter().zip(&pairs).map(|(p99, pair)| p99 / f64::midpoint(pair[0], pair[1])).collect();
    let noise: Vec<f64> = pairs.iter().map(|pair| pair[0].max(pair[1]) / pair[0].min(pair[1])).collect();
    let shown: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    println!(
        "{:34} {:.2}× of alone, goal {GOAL_AFTER:.1}× (each run: {})",
        "p99 after that",
        median(&ratios),
        shown.join(" ")
    );
    println!(
        "{:34} p99 of two runs alone: {:.2}× apart, {:.2}× at most",
        "noise of the machine",
        median(&noise),
        percentile(noise.iter().copied(), 100)
    );
    let late = timers.join().unwrap();
    let [p50, p99, most] = [50, 99, 100].map(|percent| percentile(late.iter().copied(), percent));
    println!("{:34} a timer fires p50 {p50:.1} ms, p99 {p99:.1} ms, at most {most:.0} ms late", "");
}
