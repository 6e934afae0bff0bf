//! The tally function: reads the stream of the ledger, and counts the deliveries that arrived at the first attempt into
//! the statistics of their webhooks. It also counts how long deliveries took, for the percentiles of their tenant.
//!
//! `deliver` counts failures, and what ends them, by itself. Nothing waits for the counts that are made here.

mod app;
mod config;
mod handler;

pub use app::App;
pub use config::Config;
pub use handler::{StreamEvent, handle};
