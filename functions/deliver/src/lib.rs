//! The deliver function: reads a batch of messages, sends a signed POST for each and writes the outcomes to the ledger.
//!
//! `received` is what deliver reads of an event, [`handle`] passes the messages on, [`batch`] makes their attempts, and [`ordered`] makes those of ordered deliveries.
//! [`turns`] takes turns and slots at receivers with limits. [`attempt`] makes one attempt, with the header that
//! [`authorization`] provides, and `watch` waits for the response. [`record`] writes the outcomes, [`counts`] counts
//! them, and [`reaction`] applies what they mean for the webhooks. The decisions are in [`domain::delivery`] and
//! [`domain::delivery::breaker`].

mod allowance;
mod app;
pub mod attempt;
mod authorization;
mod batch;
mod config;
mod counts;
mod handler;
mod log;
mod measure;
mod notice;
mod ordered;
mod reaction;
mod received;
pub mod record;
mod request;
mod tokens;
mod trace;
mod turns;
mod watch;

pub use app::{App, Draw};
pub use config::Config;
pub use handler::handle;
pub use received::Batch;
