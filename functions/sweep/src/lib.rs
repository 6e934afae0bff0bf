//! The sweep function: wakes every delivery that is due, overdue or stranded, works on jobs, and deletes obsolete dead
//! letters.
//!
//! Runs every minute, and two runs may overlap: only the run that moves a row's due time sends its message.

mod app;
mod config;
mod drain;
mod job;
mod letters;
mod line;
mod run;
mod sweep;
mod swept;

pub use app::App;
pub use config::Config;
pub use run::{Ran, run};
pub use swept::Swept;
