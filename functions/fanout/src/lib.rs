//! The fanout function: stream records in, one message a delivery out. It remembers nothing.
//!
//! [`record`] reads a stream record; [`route`] turns a table's changes into events, and [`deliveries`] these into deliveries; [`batch`]
//! does so for a batch and sends what comes of it. Renderings and webhooks that have no room in a shard go through a queue to [`render()`],
//! which the same binary is, deployed a second time. [`isolation`] and [`failure`] keep a record that cannot be processed from stopping its
//! shard, and [`archive`] keeps events in parallel. [`cache`] holds what was read of the Registry.

mod app;
mod archive;
mod batch;
mod budget;
pub mod cache;
mod config;
mod copies;
mod deliveries;
mod failure;
pub mod groups;
mod handler;
mod isolation;
mod published;
pub mod record;
mod render;
mod route;

pub use app::App;
pub use config::{Config, RenderConfig};
pub use handler::{StreamEvent, handle};
pub use render::{Renderer, render};
