//! State that is kept between requests.

use std::sync::{Arc, Mutex as StdMutex};

use aws::registry::Rates;
use aws::registry::WebhookWriter;
use aws::{Aws, Events, Ledger, Queue, Registry, Secrets, SourceFailures, StoreError, Usage};
use domain::access::tenant::TenantId;
use domain::attempt::target::{Network, TargetPolicy};
use domain::budget::{Budgets, Counts};
use domain::signing::secret::FingerprintKey;
use domain::time::Clock;
use domain::webhook::SecretsPrefixes;
use domain::webhook::notice::NoticePolicy;
use jiff::Timestamp;
use runtime::tenants::TenantCounts;
use runtime::traces::Tracer;
use runtime::{SystemClock, Version};
use tokio::sync::{Mutex, OnceCell};

use crate::limits::RequestLimits;
use crate::problem::Problem;
use crate::schema::Compiled;
use crate::{Config, SignIn};

/// The last check of the tables: when it was made, and the tables that could not be read.
type LastCheck = Mutex<Option<(Timestamp, Vec<&'static str>)>>;

/// The clients of an execution environment.
pub struct App {
    pub(crate) registry: Registry,
    pub(crate) webhooks: WebhookWriter,
    pub(crate) events: Events,
    pub(crate) ledger: Ledger,
    pub(crate) deliveries: Queue,
    pub(crate) stream_failures: Queue,
    pub(crate) failures: SourceFailures,
    pub(crate) secrets: Secrets,
    pub(crate) secrets_prefixes: SecretsPrefixes,
    pub(crate) egress_addresses: Vec<Network>,
    pub(crate) public_url: String,
    pub(crate) budgets: Budgets,
    pub(crate) retention_days: u8,
    pub(crate) usage: Usage,
    pub(crate) limits: RequestLimits,
    pub(crate) schemas: Compiled,
    pub(crate) targets: TargetPolicy,
    pub(crate) sign_in: SignIn,
    pub(crate) notices: NoticePolicy,
    pub(crate) rates: Rates,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) version: Version,
    /// Requests that rate limits refused, by tenant, for the log.
    pub(crate) throttled: StdMutex<TenantCounts>,
    pub(crate) last_check: LastCheck,
    /// Exports spans, if the deployment has a collector.
    pub(crate) tracer: Option<Tracer>,
    fingerprint_key_arn: String,
    fingerprint_key: OnceCell<FingerprintKey>,
}

impl App {
    /// Creates the clients, without making a call.
    pub async fn connect(config: Config, version: Version) -> Self {
        Self::new(config, &Aws::connect().await, Arc::new(SystemClock), version)
    }

    /// Creates the clients from those of AWS.
    pub fn new(config: Config, aws: &Aws, clock: Arc<dyn Clock>, version: Version) -> Self {
        let registry_table = config.registry_table.clone();
        let rates = Rates::new(aws.registry(registry_table.clone()));
        let registry = aws.registry(config.registry_table);
        let (events_table, deliveries_table) = (config.events_table.clone(), config.deliveries_table.clone());
        let failures = aws.source_failures(config.events_table.clone());
        let events = aws.events(config.events_table);
        Self {
            usage: Usage::new(registry.clone(), events.clone(), config.budgets, config.retention_days),
            budgets: config.budgets,
            retention_days: config.retention_days,
            webhooks: WebhookWriter::new(registry.clone(), events_table, deliveries_table, runtime::random::bits),
            registry,
            events,
            ledger: aws.ledger(config.deliveries_table),
            deliveries: aws.queue(config.deliveries_queue_url),
            stream_failures: aws.queue(config.stream_failures_queue_url),
            failures,
            secrets: aws.secrets_in(config.secrets_table, Arc::clone(&clock)).encrypted_with(config.secrets_key_arn),
            secrets_prefixes: config.secrets_prefixes,
            egress_addresses: config.egress_addresses,
            public_url: config.public_url,
            limits: RequestLimits::new(config.tenant_rate_limit, rates),
            schemas: Compiled::default(),
            targets: config.targets,
            sign_in: config.sign_in,
            notices: config.notices,
            rates: Rates::new(aws.registry(registry_table)),
            clock,
            version,
            throttled: StdMutex::default(),
            last_check: LastCheck::default(),
            tracer: config.traces.map(|policy| Tracer::new(&policy, "api", aws.collector(&policy).sender())),
            fingerprint_key_arn: config.fingerprint_key_arn,
            fingerprint_key: OnceCell::new(),
        }
    }

    /// Exports the spans of the last invocation. Its response must be posted already, because a collector may be slow.
    pub async fn export_spans(&self) {
        if let Some(tracer) = &self.tracer {
            tracer.export().await;
        }
    }

    /// Counts secrets that are about to be written towards the tenant's budget.
    pub(crate) async fn spend_secrets(&self, tenant: &TenantId, secrets: u64) -> Result<(), Problem> {
        let more = Counts { secrets, ..Counts::default() };
        Ok(self.usage.spend(tenant, more, self.clock.now()).await?)
    }

    /// Returns the key of fingerprints. It is read once.
    pub(crate) async fn fingerprint_key(&self) -> Result<&FingerprintKey, StoreError> {
        self.fingerprint_key.get_or_try_init(|| self.secrets.fingerprint_key(&self.fingerprint_key_arn)).await
    }
}
