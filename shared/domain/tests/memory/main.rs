//! Compares the memory that subscriptions take, as counted by an allocator, with their computed weight.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(clippy::print_stdout, reason = "prints its figures")]

use std::sync::Mutex;

use domain::matching::matcher::{MAX_SIEVE_BYTES, Matcher};
use peak_alloc::PeakAlloc;
use rstest::rstest;
use serde_json::json;

mod shapes;

use shapes::{MIXED, Shape, WORST, accepted, event, filter, list};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Runs one test at a time, because the allocator counts for all.
static ALONE: Mutex<()> = Mutex::new(());

/// These once took 282 MB, 804 MB and 228 MB of the 256 MB that fan-out has.
#[rstest]
#[case::forty_wildcards(40, |n| filter(&json!([{"wildcard": format!("{n}*{}", "ab*".repeat(1_200))}])))]
#[case::many_wildcards(150, |n| filter(&json!([{"wildcard": format!("{n}*{}", "ab*".repeat(1_200))}])))]
#[case::anything_but(300, |n| filter(&json!([{"anything-but": list(20, |m| json!(format!("text-{n}-{m}")))}])))]
fn shapes_that_took_hundreds_of_megabytes_take_few(#[case] count: usize, #[case] shape: Shape) {
    let _alone = ALONE.lock();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let mut matcher = Matcher::default();
    accepted((0..count).map(shape)).0.into_iter().for_each(|change| matcher.apply(change));
    assert_eq!(matcher.len(), count);
    matcher.matching(&event(&"acme".parse().unwrap()));
    let most = MEMORY.peak_usage() - before;
    println!("{count} webhooks: {:.1} MB", megabytes(most));
    assert!(most < 5_000_000, "{most}");
}

/// The computed weight, by which a write is refused and a cache is trimmed, is never less than the memory taken, even
/// while it grows. It is also not so much more that webhooks that would fit are refused.
#[test]
fn the_computed_weight_is_close_to_the_memory_taken() {
    let _alone = ALONE.lock();
    for (name, shape) in WORST.into_iter().chain([MIXED]) {
        let before = MEMORY.current_usage();
        let (wanted, weight) = accepted((0..1_000).map(shape));
        let count = wanted.len();
        assert!(count >= 8, "{name}: {count} are accepted");
        MEMORY.reset_peak_usage();
        let mut matcher = Matcher::default();
        for change in wanted {
            matcher.apply(change);
        }
        let (taken, most) = (MEMORY.current_usage() - before, MEMORY.peak_usage() - before);
        assert_eq!(matcher.bytes(), weight, "{name}");
        assert!(taken <= weight && most <= weight, "{name}: {taken} are taken, {most} at most, {weight} are counted");
        assert!(taken * 6 > weight, "{name}: {taken} bytes are taken, {weight} are counted");
        // Now with sieves.
        MEMORY.reset_peak_usage();
        matcher.matching(&event(&"acme".parse().unwrap()));
        let (with, peak) = (MEMORY.current_usage() - before, MEMORY.peak_usage() - before);
        assert!(peak <= matcher.bytes() + 1_000_000, "{name}: {peak} bytes at most, {} are counted", matcher.bytes());
        assert!(matcher.bytes() <= weight + MAX_SIEVE_BYTES, "{name}");
        println!(
            "{name:24} {count:5} accepted: {:6.1} MB counted, {:6.1} taken, {:6.1} with sieves, {:6.1} at most",
            megabytes(weight),
            megabytes(taken),
            megabytes(with),
            megabytes(peak)
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
