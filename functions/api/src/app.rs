//! What survives between requests.

use aws::{Aws, Ledger, Registry, Secrets, StoreError};
use domain::secret::FingerprintKey;
use domain::target::TargetPolicy;
use domain::time::Clock;
use runtime::SystemClock;
use tokio::sync::OnceCell;

use crate::Config;

/// The clients of an execution environment.
pub struct App {
    pub(crate) registry: Registry,
    pub(crate) ledger: Ledger,
    pub(crate) secrets: Secrets,
    pub(crate) secrets_prefix: String,
    pub(crate) targets: TargetPolicy,
    pub(crate) clock: Box<dyn Clock>,
    fingerprint_key_path: String,
    fingerprint_key: OnceCell<FingerprintKey>,
}

impl App {
    /// Makes the clients; no call is made.
    pub async fn connect(config: Config) -> Self {
        let aws = Aws::connect().await;
        Self {
            registry: aws.registry(config.registry_table),
            ledger: aws.ledger(config.deliveries_table),
            secrets: aws.secrets(),
            secrets_prefix: config.secrets_prefix,
            targets: config.targets,
            clock: Box::new(SystemClock),
            fingerprint_key_path: config.fingerprint_key_path,
            fingerprint_key: OnceCell::new(),
        }
    }

    /// Returns the key of fingerprints, read once.
    pub(crate) async fn fingerprint_key(&self) -> Result<&FingerprintKey, StoreError> {
        self.fingerprint_key.get_or_try_init(|| self.secrets.fingerprint_key(&self.fingerprint_key_path)).await
    }
}
