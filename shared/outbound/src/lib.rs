//! The only way out to receivers.
//!
//! A request goes to the address that policy was asked about, or nowhere: [`dial`] resolves a name, asks about all of its addresses
//! and connects to those, and a literal address is asked about there too. No redirect is followed, no proxy is used, certificates are
//! always verified, nothing is unpacked, and an answer is read up to a cap within the deadline. What an answer means is not decided
//! here but in [`domain::attempt::answer`].

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
