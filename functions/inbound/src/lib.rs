//! The inbound function: calls of other systems in, published events out.
//!
//! Callers who know a webhook's secret may call; there is no other authorization. So this function has its own role, and only
//! it and deliver read webhooks' secrets.

mod app;
mod config;
mod handler;

pub use app::App;
pub use config::Config;
pub use handler::handle;
