//! The api function: the HTTP API under `/api/v1/integration`.
//!
//! [`routes`] has one file for each resource. `access` decides who may call, [`caller`] gives handlers the caller, and
//! [`problem`] renders errors.

#![expect(unused_qualifications, reason = "the macros of utoipa generate them")]

mod access;
mod app;
mod body;
mod cacheable;
pub mod caller;
mod config;
mod console;
mod deliveries;
mod etag;
mod events;
mod help;
mod hops;
mod idempotency;
mod jobs;
mod limits;
mod notices;
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
mod sign_in;
mod tenant_keys;
mod traces;

pub use app::App;
pub use config::Config;
pub use routes::{openapi, router};
pub use sign_in::SignIn;
