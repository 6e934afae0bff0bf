//! The budgets and their limits.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fault::FieldError;

/// The largest limit. Larger numbers are not exact in every JSON parser.
pub const MAX_LIMIT: u64 = 1 << 53;

/// How many days a tenant's published events are kept. Equal to `domain::delivery::KEPT`.
pub const PUBLISHED_KEPT_DAYS: u8 = 30;

/// How long a process uses what it has read of a tenant's budgets and of other processes' counts before reading again,
/// in seconds.
pub const KNOWN_FOR_SECONDS: i64 = 60;

/// A resource that is limited by a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// Webhooks that are not deleted.
    Webhooks,
    /// Secrets created, rotated or replaced in a day.
    SecretsPerDay,
    /// Events in a day, both published ones and those of tables.
    EventsPerDay,
    /// New deliveries in a day.
    DeliveriesPerDay,
    /// Stored events, in bytes of JSON.
    StoredBytes,
    /// Jobs started in a day.
    JobsPerDay,
}

impl Budget {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Webhooks,
        Self::SecretsPerDay,
        Self::EventsPerDay,
        Self::DeliveriesPerDay,
        Self::StoredBytes,
        Self::JobsPerDay,
    ];

    /// Returns the name used in the API and the logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhooks => "webhooks",
            Self::SecretsPerDay => "secrets_per_day",
            Self::EventsPerDay => "events_per_day",
            Self::DeliveriesPerDay => "deliveries_per_day",
            Self::StoredBytes => "stored_bytes",
            Self::JobsPerDay => "jobs_per_day",
        }
    }

    /// Returns whether it is counted by day.
    #[must_use]
    pub const fn is_daily(self) -> bool {
        !matches!(self, Self::Webhooks | Self::StoredBytes)
    }
}

impl std::fmt::Display for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The limit of each budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Budgets {
    /// The number of webhooks.
    pub webhooks: u64,
    /// Secrets created, rotated or replaced in a day.
    pub secrets_per_day: u64,
    /// Events in a day.
    pub events_per_day: u64,
    /// New deliveries in a day.
    pub deliveries_per_day: u64,
    /// Stored events, in bytes of JSON.
    pub stored_bytes: u64,
    /// Jobs started in a day.
    pub jobs_per_day: u64,
}

/// The limits of a tenant unless the deployment's parameters set others.
impl Default for Budgets {
    fn default() -> Self {
        Self {
            webhooks: 1_000,
            secrets_per_day: 1_000,
            events_per_day: 5_000_000,
            deliveries_per_day: 10_000_000,
            stored_bytes: 50_000_000_000,
            jobs_per_day: 100,
        }
    }
}

/// The text is not a list of limits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be budgets such as webhooks=1000,jobs_per_day=100, each a whole number of at most {MAX_LIMIT}; {0:?} is invalid"
)]
pub struct ParseBudgetsError(String);

/// Parses `name=limit`, separated by commas. Budgets that are not named have their [default](Self::default).
impl FromStr for Budgets {
    type Err = ParseBudgetsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut overrides = Overrides::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let wrong = || ParseBudgetsError(part.to_owned());
            let (name, limit) = part.split_once('=').ok_or_else(wrong)?;
            let budget = Budget::ALL.into_iter().find(|budget| budget.as_str() == name).ok_or_else(wrong)?;
            let limit = limit.parse().ok().filter(|limit| *limit <= MAX_LIMIT).ok_or_else(wrong)?;
            *overrides.of_mut(budget) = Some(limit);
        }
        Ok(Self::default().with(&overrides))
    }
}

impl Budgets {
    /// Returns the limit of a budget.
    #[must_use]
    pub const fn of(&self, budget: Budget) -> u64 {
        match budget {
            Budget::Webhooks => self.webhooks,
            Budget::SecretsPerDay => self.secrets_per_day,
            Budget::EventsPerDay => self.events_per_day,
            Budget::DeliveriesPerDay => self.deliveries_per_day,
            Budget::StoredBytes => self.stored_bytes,
            Budget::JobsPerDay => self.jobs_per_day,
        }
    }

    /// Returns these limits with the operator's overrides for a tenant.
    #[must_use]
    pub fn with(self, overrides: &Overrides) -> Self {
        Self {
            webhooks: overrides.webhooks.unwrap_or(self.webhooks),
            secrets_per_day: overrides.secrets_per_day.unwrap_or(self.secrets_per_day),
            events_per_day: overrides.events_per_day.unwrap_or(self.events_per_day),
            deliveries_per_day: overrides.deliveries_per_day.unwrap_or(self.deliveries_per_day),
            stored_bytes: overrides.stored_bytes.unwrap_or(self.stored_bytes),
            jobs_per_day: overrides.jobs_per_day.unwrap_or(self.jobs_per_day),
        }
    }
}

/// The budgets that the operator set for a tenant. `null` means the deployment's default, and 0 allows nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = BudgetOverrides)]
pub struct Overrides {
    /// Webhooks.
    #[schema(required = false, minimum = 0, maximum = 9_007_199_254_740_992_i64)]
    pub webhooks: Option<u64>,
    /// Secrets created, rotated or replaced in a day.
    #[schema(required = false, minimum = 0, maximum = 9_007_199_254_740_992_i64)]
    pub secrets_per_day: Option<u64>,
    /// Events in a day.
    #[schema(required = false, minimum = 0, maximum = 9_007_199_254_740_992_i64)]
    pub events_per_day: Option<u64>,
    /// New deliveries in a day.
    #[schema(required = false, minimum = 0, maximum = 9_007_199_254_740_992_i64)]
    pub deliveries_per_day: Option<u64>,
    /// Stored events, in bytes of JSON.
    #[schema(required = false, minimum = 0, maximum = 9_007_199_254_740_992_i64)]
    pub stored_bytes: Option<u64>,
    /// Jobs started in a day.
    #[schema(required = false, minimum = 0, maximum = 9_007_199_254_740_992_i64)]
    pub jobs_per_day: Option<u64>,
}

impl Overrides {
    /// Reads the operator's overrides, and reports all faults at once.
    ///
    /// # Errors
    ///
    /// Each field that is unknown, or is not a whole number in the range.
    pub fn read(given: &serde_json::Map<String, serde_json::Value>) -> Result<Self, Vec<FieldError>> {
        let mut faults = Vec::new();
        let mut read = Self::default();
        for (name, value) in given {
            let Some(budget) = Budget::ALL.into_iter().find(|budget| budget.as_str() == name) else {
                faults.push(FieldError::new(
                    &format!("/{}", name.replace('~', "~0").replace('/', "~1")),
                    "must be the name of a budget",
                ));
                continue;
            };
            let limit = value.as_u64().filter(|limit| *limit <= MAX_LIMIT);
            if limit.is_none() && !value.is_null() {
                let detail = format!("must be a whole number from 0 to {MAX_LIMIT}, or null for the default");
                faults.push(FieldError::new(&format!("/{name}"), detail));
            }
            *read.of_mut(budget) = limit;
        }
        if faults.is_empty() { Ok(read) } else { Err(faults) }
    }

    const fn of_mut(&mut self, budget: Budget) -> &mut Option<u64> {
        match budget {
            Budget::Webhooks => &mut self.webhooks,
            Budget::SecretsPerDay => &mut self.secrets_per_day,
            Budget::EventsPerDay => &mut self.events_per_day,
            Budget::DeliveriesPerDay => &mut self.deliveries_per_day,
            Budget::StoredBytes => &mut self.stored_bytes,
            Budget::JobsPerDay => &mut self.jobs_per_day,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in super::super) fn limits(each: u64) -> Budgets {
        Budgets {
            webhooks: each,
            secrets_per_day: each,
            events_per_day: each,
            deliveries_per_day: each,
            stored_bytes: each,
            jobs_per_day: each,
        }
    }

    fn read(value: &serde_json::Value) -> Result<Overrides, Vec<(String, String)>> {
        let faults = |faults: Vec<FieldError>| faults.into_iter().map(|fault| (fault.pointer, fault.detail)).collect();
        Overrides::read(value.as_object().unwrap()).map_err(faults)
    }

    #[test]
    fn every_budget_can_be_overridden_and_has_its_own_name() {
        for budget in Budget::ALL {
            let overrides = read(&json!({budget.as_str(): 7})).unwrap();
            let limits = limits(3).with(&overrides);
            for other in Budget::ALL {
                assert_eq!(limits.of(other), if other == budget { 7 } else { 3 }, "{other}");
            }
            assert_eq!(serde_json::to_value(budget).unwrap(), budget.as_str());
        }
        assert_eq!(read(&json!({"webhooks": null})).unwrap(), Overrides::default());
    }

    #[test]
    fn reads_the_deployments_parameters() {
        let read = "webhooks=3, jobs_per_day=0,".parse::<Budgets>().unwrap();
        assert_eq!(read, Budgets { webhooks: 3, jobs_per_day: 0, ..Budgets::default() });
        for wrong in ["wishes=3", "webhooks", "webhooks=-1", "webhooks=1.5"] {
            assert_eq!(wrong.parse::<Budgets>(), Err(ParseBudgetsError(wrong.to_owned())));
        }
    }

    #[test]
    fn all_faults_are_named_at_once() {
        let faults = read(&json!({"webhooks": -1, "jobs_per_day": "many", "stored_bytes": MAX_LIMIT + 1, "wishes": 3}));
        let pointers: Vec<_> = faults.unwrap_err().into_iter().map(|(pointer, _)| pointer).collect();
        assert_eq!(pointers.len(), 4);
        for pointer in ["/webhooks", "/jobs_per_day", "/stored_bytes", "/wishes"] {
            assert!(pointers.iter().any(|other| other == pointer), "{pointers:?}");
        }
    }
}
