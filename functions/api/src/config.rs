//! The configuration of the api function, from its environment.

use std::num::NonZeroU32;

use domain::attempt::target::{Network, TargetPolicy};
use domain::budget::Budgets;
use domain::event::trace::TracePolicy;
use domain::webhook::notice::NoticePolicy;
use domain::webhook::{SecretsPrefixes, SecretsTable};
use runtime::config::{ConfigError, Reader};

use crate::SignIn;

/// The default rate limit of a tenant, in requests per second.
const DEFAULT_TENANT_RATE_LIMIT: NonZeroU32 = NonZeroU32::new(50).unwrap();

/// The configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `REGISTRY_TABLE`.
    pub registry_table: String,
    /// `EVENTS_TABLE`.
    pub events_table: String,
    /// `DELIVERIES_TABLE`.
    pub deliveries_table: String,
    /// `DELIVERIES_QUEUE_URL`: the queue that test deliveries are sent to.
    pub deliveries_queue_url: String,
    /// `STREAM_FAILURES_QUEUE_URL`: the queue of records that could not be mapped.
    pub stream_failures_queue_url: String,
    /// `PUBLIC_URL`: the URL of this API, without a trailing slash.
    pub public_url: String,
    /// `BUDGETS`: the budgets of each tenant for which the operator sets no others.
    pub budgets: Budgets,
    /// `PAYLOAD_RETENTION_DAYS`: how long the events of tables are kept.
    pub retention_days: u8,
    /// `TENANT_RATE_LIMIT`: the rate limit of a tenant, in requests per second over all processes.
    pub tenant_rate_limit: NonZeroU32,
    /// `SECRETS_PREFIX` and `INBOUND_SECRETS_PREFIX`: the path prefixes of webhooks' secrets.
    pub secrets_prefixes: SecretsPrefixes,
    /// `SECRETS_KEY_ARN`: the KMS key of webhooks' secrets; without it, that of Secrets Manager.
    pub secrets_key_arn: Option<String>,
    /// `SECRETS_TABLE` and `SECRETS_TABLE_KEY_ARN`: where webhooks' secrets are, if not in Secrets Manager.
    pub secrets_table: Option<SecretsTable>,
    /// `EGRESS_ADDRESSES`: the networks that deliveries come from; empty if they are not fixed.
    pub egress_addresses: Vec<Network>,
    /// `FINGERPRINT_KEY_ARN`.
    pub fingerprint_key_arn: String,
    /// `TARGET_ALLOWED_CIDRS`, `TARGET_ALLOW_HTTP` and `TARGET_ALLOWED_PORTS`; `API_ID` and `PUBLIC_URL`, which
    /// identify this deployment's own hosts.
    pub targets: TargetPolicy,
    /// `JWT_ISSUER`, `JWT_AUDIENCE`, `CONSOLE_CLIENT_ID`, `CONSOLE_SCOPE` and `CONSOLE_ORIGINS`: how people sign in to
    /// the console. `PORTAL_ORIGINS`: which pages may show it in a frame.
    pub sign_in: SignIn,
    /// `NOTICE_SENDER` and `NOTICE_TOPIC_ARNS`: how people may be notified.
    pub notices: NoticePolicy,
    /// `TRACES_ENDPOINT` and the variables that belong to it: how traces are exported, if they are.
    pub traces: Option<TracePolicy>,
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    ///
    /// All variables that are missing or invalid.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut env = Reader::new(lookup);
        let registry_table = env.required("REGISTRY_TABLE");
        let events_table = env.required("EVENTS_TABLE");
        let deliveries_table = env.required("DELIVERIES_TABLE");
        let deliveries_queue_url = env.required("DELIVERIES_QUEUE_URL");
        let stream_failures_queue_url = env.required("STREAM_FAILURES_QUEUE_URL");
        let public_url = env.required("PUBLIC_URL");
        let budgets = env.optional("BUDGETS").unwrap_or_default();
        let retention_days = env.optional("PAYLOAD_RETENTION_DAYS").unwrap_or(0);
        let tenant_rate_limit = env.optional("TENANT_RATE_LIMIT").unwrap_or(DEFAULT_TENANT_RATE_LIMIT);
        let outbound = env.required("SECRETS_PREFIX");
        let inbound = env.required("INBOUND_SECRETS_PREFIX");
        let secrets_key_arn = env.optional("SECRETS_KEY_ARN");
        let secrets_table = env.secrets_table();
        let egress_addresses = env.list("EGRESS_ADDRESSES");
        let fingerprint_key_arn = env.required("FINGERPRINT_KEY_ARN");
        let targets = env.target_policy();
        let issuer = env.required("JWT_ISSUER");
        let audience = env.required("JWT_AUDIENCE");
        let client_id = env.optional("CONSOLE_CLIENT_ID");
        let scope = env.optional("CONSOLE_SCOPE").unwrap_or_else(|| "openid".to_owned());
        let origins = env.list("CONSOLE_ORIGINS");
        let portal_origins = env.list("PORTAL_ORIGINS");
        let notices = env.notice_policy();
        let traces = env.trace_policy();
        let config = || {
            Some(Self {
                registry_table: registry_table?,
                events_table: events_table?,
                deliveries_table: deliveries_table?,
                deliveries_queue_url: deliveries_queue_url?,
                stream_failures_queue_url: stream_failures_queue_url?,
                public_url: public_url?,
                budgets,
                retention_days,
                tenant_rate_limit,
                secrets_prefixes: SecretsPrefixes { outbound: outbound?, inbound: inbound? },
                secrets_key_arn,
                secrets_table,
                egress_addresses,
                fingerprint_key_arn: fingerprint_key_arn?,
                targets,
                sign_in: SignIn { issuer: issuer?, audience: audience?, client_id, scope, origins, portal_origins },
                notices,
                traces,
            })
        };
        let config = config();
        env.finish(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_faulty_portal_origin_ends_the_start() {
        let config = |origins: &str| {
            Config::from_lookup(|name| match name {
                "PORTAL_ORIGINS" => Some(origins.to_owned()),
                "REGISTRY_TABLE" | "EVENTS_TABLE" | "DELIVERIES_TABLE" | "PUBLIC_URL" | "FINGERPRINT_KEY_ARN" => {
                    Some("https://api.example".to_owned())
                }
                "DELIVERIES_QUEUE_URL" | "STREAM_FAILURES_QUEUE_URL" | "JWT_ISSUER" | "JWT_AUDIENCE" => {
                    Some("https://queue.example".to_owned())
                }
                "SECRETS_PREFIX" | "INBOUND_SECRETS_PREFIX" => Some("/dev".to_owned()),
                _ => None,
            })
        };
        let origins = config("https://a.example,http://localhost:5173").unwrap().sign_in.portal_origins;
        assert_eq!(origins.len(), 2);
        assert!(config("").unwrap().sign_in.portal_origins.is_empty());
        for bad in ["https://a.example/", "*", "http://a.example", "https://a.example;script-src"] {
            let error = config(bad).unwrap_err().to_string();
            assert!(error.contains("PORTAL_ORIGINS: must be an origin such as"), "{error}");
        }
    }
}
