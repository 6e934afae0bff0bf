//! State that survives between invocations.

use aws::{Aws, Registry};

use crate::Config;

/// The clients of an execution environment.
pub struct App {
    pub(crate) registry: Registry,
}

impl App {
    /// Creates the clients, without making a call.
    pub async fn connect(config: Config) -> Self {
        Self::new(config, &Aws::connect().await)
    }

    /// Creates an application from the given clients.
    #[must_use]
    pub fn new(config: Config, aws: &Aws) -> Self {
        Self { registry: aws.registry(config.registry_table) }
    }
}
