//! Deliver and sweep under random deliveries, outages, faults and crashes, against a model of what must hold.
//!
//! Their real code, in this process: AWS is in memory, receivers are played, and time passes only when nothing else happens (Tokio's
//! paused clock), so that a timeout costs nothing. What is checked after each step stands in [`model`]: that until a delivery is
//! terminal somebody holds it, that duplicates are alike, that no attempt is made that policy does not allow.
//!
//! `SIMULATION_SEED` repeats a run, `SIMULATION_STEPS` sets how many operations it has. Two runs of one seed may differ where the SDK
//! draws how long it waits before it calls again. What a run finds is kept in [`reproductions`].

mod model;
mod operations;
mod process;
mod reproductions;
mod world;

use jiff::Timestamp;
use world::World;

/// How many operations a run has, unless it is told.
const STEPS: usize = 300;

#[tokio::test(start_paused = true)]
async fn until_it_has_ended_every_delivery_has_a_holder() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("SIMULATION_SEED").unwrap_or_else(|| Timestamp::now().as_microsecond().unsigned_abs());
    let steps = number("SIMULATION_STEPS").map_or(STEPS, |steps| usize::try_from(steps).unwrap());
    println!("delivery: SIMULATION_SEED={seed} SIMULATION_STEPS={steps}");
    let started = std::time::Instant::now();
    let mut world = World::new(seed).await;
    for _ in 0..steps {
        world.step().await;
    }
    world.drain().await;
    println!("delivery: {} s of {}", started.elapsed().as_secs(), world.summary());
}
