//! The only way out to receivers.
//!
//! A request goes to the address that policy was asked about, or nowhere: names are resolved by [`resolver`], which
//! refuses a name if any of its addresses is forbidden, and literal addresses, which never reach a resolver, are checked
//! before. No redirect is followed, no proxy is used, certificates are always verified, and an answer is read up to a cap
//! within the deadline.

mod client;
mod fetch;
mod outcome;
mod resolver;

pub use client::{Client, Request, TokenError};
pub use fetch::{FetchError, fetch};
