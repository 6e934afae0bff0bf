//! Deliver and sweep under random deliveries, outages, faults and crashes, against a model of what must hold.
//!
//! Their real code, in this process: AWS is in memory, receivers are played, and time passes only when nothing else happens (Tokio's
//! paused clock), so that a timeout costs nothing. [`model`] checks after each step that a delivery
//! has a holder until it is terminal, that duplicates are equal, and that policy allows every attempt.
//!
//! Many small worlds rather than a large one, each of its own seed: whatever there can be is there after a few hundred operations.
//! `SIMULATION_SEED` is the first one's seed, `SIMULATION_WORLDS` how many there are; what fails prints what repeats it, and what a
//! run finds is kept in [`reproductions`].

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

/// How many worlds there are by default, and how many operations each has: 100,000 in all.
const WORLDS: u64 = 200;
const STEPS: usize = 500;

/// Says how to see a failure again.
struct Repeat(u64);

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("delivery: SIMULATION_SEED={} SIMULATION_WORLDS=1 repeats it", self.0);
        }
    }
}

/// Lets a world begin, change and end; returns what happened in it.
async fn live(seed: u64) -> BTreeMap<&'static str, usize> {
    let _repeat = Repeat(seed);
    // The SDK draws from it how long it waits before it calls again.
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
