//! State that survives between invocations.

use std::sync::Arc;
use std::time::Duration;

use aws::registry::{Rates, WebhookWriter};
use aws::{Aws, Bodies, DeadLetters, Keyring, Ledger, People, Queue, Registry};
use domain::time::Clock;
use domain::webhook::notice::NoticePolicy;
use lambda_runtime::Error;
use runtime::SystemClock;
use runtime::traces::Tracer;
use tokio::sync::Semaphore;

use crate::Config;
use crate::log::Successes;
use crate::measure::Failures;
use crate::tokens::Tokens;

/// Returns a uniform draw from `0.0..1.0`.
pub type Draw = Box<dyn Fn() -> f64 + Send + Sync>;

/// The clients and caches of an execution environment.
pub struct App {
    pub(crate) registry: Registry,
    pub(crate) webhooks: WebhookWriter,
    pub(crate) ledger: Ledger,
    pub(crate) bodies: Bodies,
    pub(crate) retries: Queue,
    pub(crate) slow: Queue,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) unreadable: Queue,
    pub(crate) keyring: Keyring,
    pub(crate) tokens: Tokens,
    pub(crate) receivers: outbound::Client,
    pub(crate) people: People,
    pub(crate) notices: NoticePolicy,
    pub(crate) rates: Rates,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) draw: Draw,
    /// Failed attempts by tenant, for the log.
    pub(crate) failures: Failures,
    /// Successful attempts of this invocation, for the log.
    pub(crate) successes: Successes,
    /// Limits how many stored bodies are read at once.
    pub(crate) reads: Semaphore,
    /// Exports spans, if the deployment has a collector.
    pub(crate) tracer: Option<Tracer>,
}

/// How many stored bodies are read at once. During a read, memory may hold a body in four forms: DynamoDB's response,
/// the decoded items, the joined compressed parts and the decompressed text.
const READS: usize = 8;

impl App {
    /// Creates the clients, without making a call.
    ///
    /// # Errors
    ///
    /// If the system's certificates cannot be read.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        let receivers = outbound::Client::new(config.targets.clone())?;
        let (clock, draw) = (Box::new(SystemClock), Box::new(runtime::random::draw));
        Ok(Self::new(config, &Aws::connect().await, receivers, clock, draw))
    }

    /// Creates an application from the given clients, clock and random source, so that tests control the time, the
    /// draws and the responses.
    #[must_use]
    pub fn new(config: Config, aws: &Aws, receivers: outbound::Client, clock: Box<dyn Clock>, draw: Draw) -> Self {
        let clock: Arc<dyn Clock> = clock.into();
        let secrets = aws.secrets_in(config.secrets_table, Arc::clone(&clock));
        let registry = aws.registry(config.registry_table);
        let arrived_kept = Duration::from_hours(24 * u64::from(config.delivered_retention_days));
        let (events_table, deliveries_table) = (config.events_table.clone(), config.deliveries_table.clone());
        Self {
            webhooks: WebhookWriter::new(registry.clone(), events_table, deliveries_table, runtime::random::bits),
            rates: Rates::new(registry.clone()),
            registry,
            ledger: aws.ledger(config.deliveries_table.clone()).keeping_arrived(arrived_kept),
            bodies: aws.bodies(config.events_table.clone()),
            retries: aws.queue(config.retries_queue_url),
            slow: aws.queue(config.slow_queue_url),
            dead_letters: aws.dead_letters(config.exhausted_queue_url, config.events_table, config.deliveries_table),
            unreadable: aws.queue(config.dead_letter_queue_url),
            keyring: Keyring::new(secrets, config.fingerprint_key_arn),
            tokens: Tokens::default(),
            receivers,
            people: aws.people(),
            notices: config.notices,
            clock,
            draw,
            failures: Failures::default(),
            successes: Successes::default(),
            reads: Semaphore::new(READS),
            tracer: config.traces.map(|policy| Tracer::new(&policy, "deliver", aws.collector(&policy).sender())),
        }
    }

    /// Exports the spans of the last invocation. Its response must be posted already, because a collector may be slow.
    pub async fn export_spans(&self) {
        if let Some(tracer) = &self.tracer {
            tracer.export().await;
        }
    }
}
