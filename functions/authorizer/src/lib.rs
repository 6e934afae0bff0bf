//! The authorizer function: turns a bearer token into tenant, application, subject and roles.
//!
//! [`token`] checks a token against a key set and reads its claims; [`keys`] finds the key set, and [`key_set`] parses
//! it. What the roles permit is decided by the api.

mod config;
mod handler;
pub mod key_set;
pub mod keys;
mod members;
pub mod token;

pub use config::Config;
pub use handler::{App, handle};
