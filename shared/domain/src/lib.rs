//! The business rules of Dynahook.
//!
//! Everything here is pure: no I/O, no async, no clock, no randomness and no AWS. Time and random draws are arguments,
//! so that every decision can be tested exactly. Decisions are made here and carried out by the functions.
//!
//! The layers, in the order in which an event passes them. A file imports files of its own layer and of layers above
//! it, and no two files import each other; `make lint` reads this table and checks both.
//!
//! | Modules | What they hold |
//! |---|---|
//! | `fault`, `id`, `joined`, `text`, `time`, `value` | building blocks |
//! | `access` | who is calling: tenants, API keys, portal links, identities, rates |
//! | `budget` | limits of what a tenant may use |
//! | `event` | events: one committed change or one published fact |
//! | `payload` | an event as a request body, in each format |
//! | `source` | how a table's change becomes an event |
//! | `matching` | which webhooks want an event |
//! | `signing` | secrets, key pairs and signatures |
//! | `attempt` | one HTTP request: where it may go, what its answer means, when the next one is due |
//! | `webhook` | what a webhook's owner configures, and its statistics |
//! | `delivery` | what happens next: the state machine, order, the breaker, redelivery, jobs |
//! | `inbound` | calls to inbound webhooks |
//!
//! Each item has one public path.

pub mod access;
pub mod attempt;
pub mod budget;
pub mod delivery;
pub mod event;
pub mod fault;
pub mod id;
pub mod inbound;
pub mod joined;
pub mod matching;
pub mod payload;
pub mod signing;
pub mod source;
pub mod text;
pub mod time;
pub mod value;
pub mod webhook;
