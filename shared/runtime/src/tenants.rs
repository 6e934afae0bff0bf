//! Lines of the log that say which tenants are affected, at most one for each tenant and minute.
//!
//! They are for Logs Insights and for the rules of Contributor Insights in the template. A metric with the tenant as a
//! dimension would cost as much as all other metrics for each tenant.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

/// The time between two lines of a tenant.
const APART: SignedDuration = SignedDuration::from_mins(1);

/// How many tenants a process remembers. Further ones are counted together.
const MOST: usize = 10_000;

/// The name under which tenants beyond [`MOST`] are counted. No tenant can have it.
const OTHERS: &str = "(others)";

/// Counts by tenant that wait for their line.
#[derive(Debug, Default)]
pub struct TenantCounts(HashMap<String, Counted>);

#[derive(Debug, Default)]
struct Counted {
    count: u64,
    /// When the tenant had its last line.
    line_at: Option<Timestamp>,
}

impl TenantCounts {
    /// Adds to the count of a tenant.
    pub fn add(&mut self, tenant: &str, more: u64) {
        let name = if self.0.len() < MOST || self.0.contains_key(tenant) { tenant } else { OTHERS };
        self.0.entry(name.to_owned()).or_default().count += more;
    }

    /// Takes the counts of tenants that had no line within the last minute. What a process has counted when it ends is
    /// lost, so the sum of a tenant's lines is the least that happened.
    pub fn due(&mut self, now: Timestamp) -> Vec<(String, u64)> {
        let is_due = |counted: &Counted| counted.line_at.is_none_or(|at| now.duration_since(at).abs() >= APART);
        let mut due = Vec::new();
        self.0.retain(|tenant, counted| {
            if !is_due(counted) {
                return true;
            }
            if counted.count == 0 {
                return false;
            }
            due.push((tenant.clone(), std::mem::take(&mut counted.count)));
            counted.line_at = Some(now);
            true
        });
        due.sort();
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_tenant_has_a_line_a_minute_with_everything_since_the_last_one() {
        let mut counts = TenantCounts::default();
        let line = |tenant: &str, count: u64| (tenant.to_owned(), count);
        counts.add("acme", 2);
        assert_eq!(counts.due(at(0)), [line("acme", 2)], "the first one at once");
        counts.add("acme", 1);
        counts.add("acme", 1);
        counts.add("umbrella", 1);
        assert_eq!(counts.due(at(59)), [line("umbrella", 1)]);
        assert_eq!(counts.due(at(60)), [line("acme", 2)]);
        assert_eq!(counts.due(at(200)), []);
        assert!(counts.0.is_empty(), "idle tenants take no memory");
    }

    #[test]
    fn many_tenants_are_counted_together() {
        let mut counts = TenantCounts::default();
        (0..MOST + 5).for_each(|number| counts.add(&number.to_string(), 1));
        let due = counts.due(at(0));
        assert_eq!(due.len(), MOST + 1);
        assert!(due.contains(&(OTHERS.to_owned(), 5)));
    }
}
