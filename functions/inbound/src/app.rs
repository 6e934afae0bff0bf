//! What survives between calls.

use aws::{Aws, Events, Keyring, Registry};
use domain::time::Clock;
use runtime::SystemClock;

use crate::Config;

/// The clients and caches of an execution environment.
pub struct App {
    pub(crate) registry: Registry,
    pub(crate) events: Events,
    pub(crate) keyring: Keyring,
    pub(crate) clock: Box<dyn Clock>,
}

impl App {
    /// Makes the clients; no call is made.
    pub async fn connect(config: Config) -> Self {
        let aws = Aws::connect().await;
        Self {
            registry: aws.registry(config.registry_table),
            events: aws.events(config.events_table),
            keyring: Keyring::new(aws.secrets(), config.fingerprint_key_arn),
            clock: Box::new(SystemClock),
        }
    }
}
