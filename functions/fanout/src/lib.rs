//! The fanout function: stream records in, one message a delivery out. It remembers nothing.
//!
//! [`record`] reads a stream record; [`route`] turns a table's changes into deliveries; [`handle`] does both for a batch
//! and sends what comes of it. [`isolation`] and [`failure`] keep a record that cannot be processed from stopping its shard, and
//! [`archive`] keeps events in parallel. [`cache`] holds what was read of the Registry.

mod app;
mod archive;
pub mod cache;
mod config;
mod copies;
mod failure;
pub mod groups;
mod handler;
mod isolation;
mod published;
pub mod record;
mod route;

pub use app::App;
pub use config::Config;
pub use handler::{StreamEvent, handle};
