//! The inbound function: calls of other systems in, published events out.
//!
//! Whoever knows a webhook's secret may call; there is no other authorization. So this function has a role of its own, and
//! is the only one beside deliver that reads webhooks' secrets.

mod app;
mod config;
mod handler;

pub use app::App;
pub use config::Config;
pub use handler::handle;
