//! The fanout function: reads stream records and sends one message for each delivery. It keeps no state except caches.
//!
//! [`domain::source::record`] parses a stream record. [`route`] turns a table's changes into events, and [`deliveries`]
//! turns these into deliveries; [`batch`] does so for a batch and sends the messages. Renderings and webhooks that do
//! not fit into a shard go through a queue to [`render()`], which is the same binary, deployed a second time.
//! [`isolation`] and [`failure`] keep a record that cannot be processed from stopping its shard; [`redriven`] takes it
//! up again. [`related`] adds what a mapping queries next to events. [`archive`] archives events in parallel. [`cache`]
//! contains what was read from the Registry.

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
mod lookups;
mod published;
mod redriven;
mod related;
mod render;
mod route;
mod trace;

pub use app::App;
pub use config::{Config, RenderConfig};
pub use handler::{StreamEvent, handle};
pub use render::{Renderer, render};
