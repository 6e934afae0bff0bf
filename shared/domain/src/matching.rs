//! Which webhooks want an event.

pub mod dry_run;
pub mod effort;
pub mod filter;
pub mod matcher;
pub mod subscription;
mod weight;
