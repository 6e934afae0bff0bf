//! Who is calling, and how often they may.

pub mod api_key;
pub mod caller;
pub mod rate;
pub mod tenant;
