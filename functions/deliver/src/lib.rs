//! The deliver function: a batch of messages in, a signed POST each, and the outcome in the ledger.
//!
//! [`handle`] reads the messages, [`batch`] makes their attempts, and [`ordered`] those of deliveries that keep an order. [`turns`]
//! asks how much its receivers take; [`attempt`] makes one attempt, with the header of [`authorization`], and `watch` waits for it;
//! [`record`] writes the outcomes, and [`reaction`] what they mean for their webhooks. What to do is decided by
//! [`domain::delivery`] and [`domain::delivery::breaker`].

mod app;
pub mod attempt;
mod authorization;
mod batch;
mod config;
mod handler;
mod ordered;
mod reaction;
pub mod record;
mod request;
mod tokens;
mod turns;
mod watch;

pub use app::{App, Draw};
pub use config::Config;
pub use handler::handle;
