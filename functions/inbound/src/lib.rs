//! The inbound function: publishes the calls of other systems as events.
//!
//! A webhook's secret is the only authorization that a call needs. So this function has a role of its own, and only
//! this function and deliver can read webhooks' secrets.

mod app;
mod config;
mod handler;
mod log;

pub use app::App;
pub use config::Config;
pub use handler::handle;
