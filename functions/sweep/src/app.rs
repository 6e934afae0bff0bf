//! State that survives between invocations.

use aws::{Aws, Bodies, DeadLetters, Events, Ledger, Queue, Registry};
use domain::time::Clock;
use runtime::SystemClock;

use crate::Config;

/// The clients of an execution environment.
pub struct App {
    pub(crate) registry: Registry,
    pub(crate) ledger: Ledger,
    pub(crate) bodies: Bodies,
    pub(crate) events: Events,
    pub(crate) retries: Queue,
    pub(crate) slow: Queue,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) clock: Box<dyn Clock>,
}

impl App {
    /// Creates the clients, without making a call.
    pub async fn connect(config: Config) -> Self {
        Self::new(config, &Aws::connect().await, Box::new(SystemClock))
    }

    /// Creates an application from the given clients and clock, so that tests control the time.
    #[must_use]
    pub fn new(config: Config, aws: &Aws, clock: Box<dyn Clock>) -> Self {
        Self {
            registry: aws.registry(config.registry_table),
            ledger: aws.ledger(config.deliveries_table.clone()),
            bodies: aws.bodies(config.events_table.clone()),
            events: aws.events(config.events_table.clone()),
            retries: aws.queue(config.retries_queue_url),
            slow: aws.queue(config.slow_queue_url),
            dead_letters: aws.dead_letters(config.exhausted_queue_url, config.events_table, config.deliveries_table),
            clock,
        }
    }
}
