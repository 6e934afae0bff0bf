//! HTTP requests to receivers. No other crate dials them.
//!
//! A request only goes to addresses that the target policy allows. [`dial`] resolves a name, checks all of its
//! addresses and connects to exactly those; it checks literal addresses too. Redirects are not followed, proxies are
//! not used, certificates are always verified, and responses are not decompressed. A response is read up to a cap and
//! within the deadline. [`domain::attempt::answer`] decides what it means.

mod client;
mod dial;
mod fetch;
mod host_limit;
mod outcome;
mod request;
mod resolver;
#[cfg(feature = "scripted")]
mod script;
mod stream;
mod token_error;
mod trace;

pub use client::Client;
pub use fetch::{FetchError, fetch};
pub use host_limit::HostSlot;
pub use request::Request;
#[cfg(feature = "scripted")]
pub use script::Script;
pub use token_error::TokenError;
