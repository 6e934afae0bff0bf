//! DynamoDB, SQS, Secrets Manager and KMS behind an interface of domain types.
//!
//! This is the only crate that uses an AWS SDK. No SDK type, key or attribute name appears in a public signature:
//! callers see domain types and [`StoreError`], whose variants say what a caller can do about a failure. Item types are
//! private and versioned, so renaming a domain field is not a migration. `docs/build/data-model.md` lists every key.

mod batch;
pub mod bodies;
mod brief;
pub mod collector;
pub mod dead_letters;
mod error;
pub mod events;
mod items;
pub mod keyring;
mod kms;
pub mod ledger;
pub mod people;
mod probe;
pub mod queue;
pub mod registry;
pub mod related;
pub mod rounds;
pub mod secrets;
mod signed;
pub mod source_failures;
pub mod usage;

pub use bodies::Bodies;
pub use collector::Collector;
pub use dead_letters::DeadLetters;
pub use error::{LimitReached, Limited, StoreError};
pub use events::Events;
pub use keyring::Keyring;
pub use ledger::Ledger;
pub use people::People;
pub use queue::Queue;
pub use registry::Registry;
pub use related::RelatedItems;
pub use secrets::Secrets;
pub use source_failures::SourceFailures;
pub use usage::Usage;

use std::sync::Arc;
use std::time::Duration;

use aws_config::ConfigLoader;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use domain::event::trace::TracePolicy;
use domain::time::Clock;
use domain::webhook::SecretsTable;

use crate::signed::Signed;

/// The AWS clients, created once per execution environment.
#[derive(Debug, Clone)]
pub struct Aws {
    dynamodb: aws_sdk_dynamodb::Client,
    sqs: aws_sdk_sqs::Client,
    secrets: aws_sdk_secretsmanager::Client,
    signed: Signed,
    /// For collectors of traces, which need not be services of AWS.
    collectors: Signed,
}

impl Aws {
    /// Reads the region, the credentials and the endpoint from the environment, like every AWS SDK. Makes no call.
    pub async fn connect() -> Self {
        Self::load(aws_config::from_env()).await
    }

    /// Creates the clients from a configuration that the caller has started.
    pub async fn load(config: ConfigLoader) -> Self {
        let connector = signed::connector();
        Self::with(config, connector.clone(), connector).await
    }

    /// Creates the clients from a configuration that a test has started, with its own transport, which is also that of
    /// the calls without an SDK. Traces go to a real collector.
    pub async fn over(config: ConfigLoader, connector: SharedHttpConnector) -> Self {
        Self::with(config, connector, signed::connector()).await
    }

    async fn with(config: ConfigLoader, services: SharedHttpConnector, collectors: SharedHttpConnector) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(2))
            .operation_attempt_timeout(Duration::from_secs(5))
            .build();
        // No response is streamed, and the timeouts limit every call.
        let config = config.stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        let config = config.timeout_config(timeouts).retry_config(RetryConfig::standard()).load().await;
        Self {
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            sqs: aws_sdk_sqs::Client::new(&config),
            secrets: aws_sdk_secretsmanager::Client::new(&config),
            signed: Signed::new(&config, services),
            collectors: Signed::new(&config, collectors),
        }
    }

    /// Returns the events in the Events table of that name.
    #[must_use]
    pub fn events(&self, table: String) -> Events {
        Events::new(self.dynamodb.clone(), table)
    }

    /// Returns the Registry table of that name.
    #[must_use]
    pub fn registry(&self, table: String) -> Registry {
        Registry::new(self.dynamodb.clone(), table)
    }

    /// Returns the ledger in the Deliveries table of that name.
    #[must_use]
    pub fn ledger(&self, table: String) -> Ledger {
        Ledger::new(self.dynamodb.clone(), table)
    }

    /// Returns the stored bodies in the Events table of that name.
    #[must_use]
    pub fn bodies(&self, table: String) -> Bodies {
        Bodies::new(self.dynamodb.clone(), table)
    }

    /// Returns what fan-out queries next to events, and keeps in the Events table of that name.
    #[must_use]
    pub fn related(&self, events_table: String) -> RelatedItems {
        RelatedItems::new(self.dynamodb.clone(), events_table)
    }

    /// Returns the list of records that could not be turned into events, in the Events table of that name.
    #[must_use]
    pub fn source_failures(&self, events_table: String) -> SourceFailures {
        SourceFailures::new(self.dynamodb.clone(), events_table)
    }

    /// Returns the exhausted queue with that URL, with the tables that `DeadLetters` writes: Events and Deliveries.
    #[must_use]
    pub fn dead_letters(&self, url: String, events_table: String, deliveries_table: String) -> DeadLetters {
        DeadLetters::new(self.queue(url), self.events(events_table), self.ledger(deliveries_table))
    }

    /// Returns the queue with that URL.
    #[must_use]
    pub fn queue(&self, url: String) -> Queue {
        Queue::new(self.sqs.clone(), url)
    }

    /// Returns the ways to reach people: SES and SNS.
    #[must_use]
    pub fn people(&self) -> People {
        People::new(self.signed.clone())
    }

    /// Returns the collector of traces.
    #[must_use]
    pub fn collector(&self, policy: &TracePolicy) -> Collector {
        Collector::new(self.collectors.clone(), self.secrets(), policy)
    }

    /// Returns the secrets in Secrets Manager.
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        Secrets::new(self.secrets.clone(), None)
    }

    /// Returns the secrets in a table if there is one, and otherwise those in Secrets Manager, which is also read for
    /// secrets that the table does not have.
    #[must_use]
    pub fn secrets_in(&self, table: Option<SecretsTable>, clock: Arc<dyn Clock>) -> Secrets {
        let key = |arn| kms::Key::new(self.signed.clone(), arn);
        let table = table.map(|SecretsTable { name, key_arn }| {
            secrets::Table::new(self.dynamodb.clone(), name, key(key_arn), clock)
        });
        Secrets::new(self.secrets.clone(), table)
    }
}
