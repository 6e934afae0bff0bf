//! The rules of Dynahook, and nothing else.
//!
//! Everything here is pure: no I/O, no async, no clock, no randomness and no AWS. Time and random draws are arguments, so
//! that every decision can be tested exactly. What decides lives here; what does lives in the functions.
//!
//! Read in the order of an event's way: [`source`] maps a table's [`change`](source::Change) to an [`event`],
//! [`matcher`] finds the webhooks that want it, [`payload`] renders the body, [`delivery`] decides what to do with it,
//! [`target`] says where it may go, [`request`] makes the request, which [`signature`] signs, [`answer`] says what the receiver's
//! answer means, and [`retry`] when to try again. [`burial`] keeps the letters of what is exhausted;
//! [`redelivery`] and [`job`] send again what has ended.

pub mod answer;
pub mod api_key;
pub mod authorization;
pub mod breaker;
pub mod budget;
pub mod burial;
pub mod caller;
pub mod catalog;
pub mod chain;
pub mod delivery;
pub mod effort;
pub mod event;
pub mod filter;
pub mod flow;
pub mod hops;
pub mod id;
pub mod inbound;
pub mod job;
pub mod joined;
pub mod matcher;
pub mod message;
pub mod object;
pub mod operational;
pub mod path;
pub mod pattern;
pub mod payload;
pub mod published;
pub mod rate;
pub mod redelivery;
pub mod rehearsal;
pub mod request;
pub mod retry;
pub mod sample;
pub mod secret;
pub mod sent;
pub mod signature;
pub mod slice;
pub mod source;
pub mod subscription;
pub mod target;
pub mod tenant;
pub mod text;
pub mod time;
pub mod value;
pub mod webhook;
mod weight;
