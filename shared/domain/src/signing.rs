//! Secrets and key pairs, and the signatures that they make.

pub mod keys;
pub mod secret;
pub mod sign;
pub mod signature;
pub mod verify;
