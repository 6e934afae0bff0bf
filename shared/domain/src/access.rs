//! Identifies callers and limits their rates.

pub mod api_key;
pub mod caller;
pub mod origin;
pub mod portal;
pub mod quota;
pub mod rate;
pub mod tenant;
