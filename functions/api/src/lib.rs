//! The api function: the HTTP API under `/api/v1/integration`.
//!
//! One file a resource in [`routes`]; [`caller`] says who may call, [`problem`] how anything that goes wrong looks.

mod app;
mod body;
pub mod caller;
mod config;
mod page;
pub mod problem;
pub mod routes;

pub use app::App;
pub use config::Config;
pub use routes::router;
