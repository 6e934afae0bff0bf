//! The sweep function: wakes every delivery that is due, overdue or stranded.
//!
//! Runs every minute, and may run twice at once: who moves a row's due time sends its message, and nobody else does.

mod app;
mod config;
mod sweep;

pub use app::App;
pub use config::Config;
pub use sweep::{Swept, sweep};
