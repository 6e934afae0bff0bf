//! Deliver and sweep under random deliveries, outages, faults and crashes, against a model of the invariants.
//!
//! The real code runs in this process. AWS is in memory, receivers are scripted, and time only passes when nothing else
//! happens (Tokio's paused clock), so timeouts cost nothing. [`model`] checks after each step that a delivery has a
//! holder until it is terminal, that duplicates are equal, and that every attempt is allowed.
//!
//! A run has many small worlds instead of a large one, each with its own seed; after a few hundred operations a world
//! has reached most states. `SIMULATION_SEED` is the seed of the first world, and `SIMULATION_WORLDS` the number of
//! worlds. A failure prints the seed that repeats it. Findings of earlier runs are in [`reproductions`].

mod hangs;
mod lines;
mod model;
mod operations;
mod outages;
mod process;
mod reproductions;
mod tokens;
mod world;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Mutex;
use std::time::Instant;

use world::World;

use crate::{number, seed};

/// The default number of worlds, and the number of operations in each: 12,500 in all. `make faults` runs 100,000.
const WORLDS: u64 = 25;
const STEPS: usize = 500;

/// Prints how to repeat a failure.
struct Repeat(u64);

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("delivery: SIMULATION_SEED={} SIMULATION_WORLDS=1 repeats it", self.0);
        }
    }
}

/// Runs a world from its start to its end; returns what happened in it.
async fn live(seed: u64) -> BTreeMap<&'static str, usize> {
    let _repeat = Repeat(seed);
    // The SDK draws its waits before retries from this generator.
    fastrand::seed(seed);
    let mut world = World::new(seed).await;
    for _ in 0..STEPS {
        world.step().await;
    }
    world.drain().await;
    world.counts
}

#[test]
fn until_it_has_ended_every_delivery_has_a_holder() {
    let (first, worlds) = (seed(), number("SIMULATION_WORLDS").unwrap_or(WORLDS));
    println!("delivery: SIMULATION_SEED={first} SIMULATION_WORLDS={worlds}");
    let started = Instant::now();
    let (seeds, all) = (Mutex::new(first..first + worlds), Mutex::new(BTreeMap::new()));
    let work = || {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        while let Some(seed) = { seeds.lock().unwrap().next() } {
            for (what, times) in runtime().block_on(live(seed)) {
                *all.lock().unwrap().entry(what).or_insert(0) += times;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(work);
        }
    });
    let operations = usize::try_from(worlds).unwrap() * STEPS;
    println!("delivery: {operations} operations in {} s: {:?}", started.elapsed().as_secs(), all.into_inner().unwrap());
}
