//! The api function: the HTTP API under `/api/v1/integration`.
//!
//! One file a resource in [`routes`]; `access` decides who may call, [`caller`] hands that on, [`problem`] how anything that goes wrong looks.

#![expect(unused_qualifications, reason = "the macros of utoipa write them")]

mod access;
mod app;
mod body;
mod cacheable;
pub mod caller;
mod config;
mod deliveries;
mod etag;
mod events;
mod hops;
mod idempotency;
mod jobs;
mod limits;
mod openapi;
mod page;
mod parameters;
pub mod problem;
mod read;
mod registration;
mod responses;
pub mod routes;
mod sample;
mod schema;
mod security;
mod tenant_keys;

pub use app::App;
pub use config::Config;
pub use routes::{openapi, router};
