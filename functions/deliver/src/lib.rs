//! The deliver function: a batch of messages in, a signed POST each, and the outcome in the ledger.
//!
//! [`handle`] works on a batch; [`attempt`] makes one attempt; [`record`] writes what came of those that are done. What to
//! do is decided by [`domain::delivery`].

mod app;
pub mod attempt;
mod config;
mod handler;
pub mod record;

pub use app::App;
pub use config::Config;
pub use handler::handle;
