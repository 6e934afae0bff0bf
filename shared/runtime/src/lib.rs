//! What every function's `main` needs: configuration, telemetry, the clock and randomness.
//!
//! The four doors to the outside that are not AWS and not a receiver. Everything behind them is passed in, so that a test
//! decides it.

pub mod config;
pub mod random;
pub mod telemetry;
mod time;

pub use time::SystemClock;
