//! The deliver function: a batch of messages in, a signed POST each, and the outcome in the ledger.
//!
//! [`handle`] works on a batch, and [`ordered`] on what of it keeps an order; [`turns`] asks how much its receivers take; [`attempt`]
//! makes one attempt, with the header of [`authorization`], and `watch` waits for it; [`record`] writes the outcomes, and [`reaction`]
//! what they mean for their webhooks. What to do is decided by [`domain::delivery`] and [`domain::breaker`].

mod app;
pub mod attempt;
mod authorization;
mod config;
mod handler;
mod ordered;
mod reaction;
pub mod record;
mod request;
mod turns;
mod watch;

pub use app::{App, Draw};
pub use config::Config;
pub use handler::handle;
