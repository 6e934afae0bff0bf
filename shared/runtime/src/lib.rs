//! What every function's `main` needs: configuration, telemetry, the clock and the random generator.
//!
//! Besides AWS and HTTP, these are the only side effects. All other code takes them as arguments, so tests can control
//! them.

pub mod after;
pub mod config;
pub mod headers;
pub mod metrics;
pub mod problem;
pub mod random;
pub mod telemetry;
pub mod tenants;
mod time;
pub mod traces;
mod version;

// For `version!`, which expands where it is called.
#[doc(hidden)]
pub use git_version::git_version;
pub use time::SystemClock;
pub use version::Version;

/// mimalloc replaces the system's allocator, which gets slower the more small allocations it has made: with the
/// subscriptions of 10,000 webhooks in memory, fan-out took half as much time again for the same record (`make bench`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
