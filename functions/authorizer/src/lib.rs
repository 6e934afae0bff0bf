//! The authorizer function: a bearer token in; tenant, application, subject and roles out.
//!
//! [`token`] checks a token against a key set and reads its claims; [`keys`] finds the key set, and [`key_set`] reads it. What the roles
//! may do is the api's to say.

pub mod after;
mod config;
mod handler;
pub mod key_set;
pub mod keys;
mod members;
pub mod token;

pub use config::Config;
pub use handler::{App, handle};
