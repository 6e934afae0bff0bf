//! How long the deliveries of a tenant took: a row for each hour, with the counts of histograms.
//!
//! A tenant's rows have all of its deliveries. Each application has rows of its own in addition, because a caller of an
//! application sees its own deliveries only.

use std::collections::HashMap;
use std::ops::Range;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::access::tenant::{AppId, TenantId};
use domain::webhook::hours::Hour;
use domain::webhook::latency::{Latencies, Times};
use jiff::{SignedDuration, Timestamp};

use super::Registry;
use crate::StoreError;
use crate::items::{Item, is_live, key, number, text};

/// How long a row is kept after its hour.
const KEPT: SignedDuration = SignedDuration::from_hours(3 * 24);

/// What the names of attributes begin with that count times from an event to its arrival. The number of the bucket
/// follows. Renaming is a migration.
const LATENESS: char = 'l';

/// The same for the durations of attempts.
const DURATION: char = 'd';

/// How many buckets one update writes. An expression has at most 4 KB.
const MAX_BUCKETS: usize = 200;

/// Returns the partition of a tenant's rows, or of those of an application: `#` is in the name of neither.
fn pk(tenant: &TenantId, app: Option<&AppId>) -> String {
    app.map_or_else(|| format!("H#{tenant}"), |app| format!("H#{tenant}#{app}"))
}

fn sk(hour: Hour) -> String {
    format!("HOUR#{:08}", hour.number())
}

/// Returns the attributes that count these times.
fn counters(latencies: &Latencies) -> Vec<(String, u64)> {
    let of = |prefix: char, times: &Times| -> Vec<_> {
        times.buckets().map(|(bucket, count)| (format!("{prefix}{bucket}"), count)).collect()
    };
    [of(LATENESS, &latencies.lateness), of(DURATION, &latencies.duration)].concat()
}

/// Reads the counts of a row.
fn read(item: &Item) -> Latencies {
    let mut latencies = Latencies::default();
    for (name, value) in item {
        let count = value.as_n().ok().and_then(|count| count.parse().ok());
        let (Some(prefix), Some(count)) = (name.chars().next(), count) else { continue };
        let Some(bucket) = name.strip_prefix(prefix).and_then(|bucket| bucket.parse().ok()) else { continue };
        match prefix {
            LATENESS => latencies.lateness.add(bucket, count),
            DURATION => latencies.duration.add(bucket, count),
            _ => {}
        }
    }
    latencies
}

/// Returns an expression that adds the counts, and its values. Counts that are equal share a value.
fn adding(counters: &[(String, u64)], expires_at: i64) -> (String, HashMap<String, AttributeValue>) {
    let adds: Vec<_> = counters.iter().map(|(name, count)| format!("{name} :{count}")).collect();
    let expression = format!("SET expires_at = :expires_at, v = :v ADD {}", adds.join(", "));
    let mut values: HashMap<_, _> = counters.iter().map(|(_, count)| (format!(":{count}"), number(*count))).collect();
    values.insert(":expires_at".to_owned(), number(expires_at));
    values.insert(":v".to_owned(), number(1));
    (expression, values)
}

impl Registry {
    /// Adds the times of deliveries of an hour: to all of the tenant, or to those of an application.
    ///
    /// If the answer of a call is lost, they are counted twice.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn add_latencies(
        &self,
        tenant: &TenantId,
        app: Option<&AppId>,
        hour: Hour,
        latencies: &Latencies,
    ) -> Result<(), StoreError> {
        let expires_at = (hour.start() + KEPT).as_second();
        for some in counters(latencies).chunks(MAX_BUCKETS) {
            let (expression, values) = adding(some, expires_at);
            let update = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(key(&pk(tenant, app), &sk(hour))))
                .update_expression(expression)
                .set_expression_attribute_values(Some(values));
            update.send().await.map_err(|error| StoreError::unavailable(&error))?;
        }
        Ok(())
    }

    /// Reads the times of the deliveries of a tenant, or of one of its applications, in some hours. Hours without
    /// deliveries are left out.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn latencies(
        &self,
        tenant: &TenantId,
        app: Option<&AppId>,
        hours: Range<Hour>,
        now: Timestamp,
    ) -> Result<HashMap<Hour, Latencies>, StoreError> {
        if hours.is_empty() {
            return Ok(HashMap::new());
        }
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
            .expression_attribute_values(":pk", text(pk(tenant, app)))
            .expression_attribute_values(":from", text(sk(hours.start)))
            .expression_attribute_values(":to", text(sk(hours.end.before(1))));
        let mut items = query.into_paginator().items().send();
        let mut found = HashMap::new();
        while let Some(item) = items.next().await {
            let item = item.map_err(|error| StoreError::unavailable(&error))?;
            let number = item.get("sk").and_then(|sk| sk.as_s().ok()?.strip_prefix("HOUR#")?.parse().ok());
            if let Some(number) = number.filter(|_| is_live(&item, now)) {
                found.insert(Hour::from_number(number), read(&item));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use domain::webhook::latency::Latency;
    use proptest::prelude::*;

    use super::*;
    use crate::items::tests::size;

    fn latencies(times: &[(u64, u64)]) -> Latencies {
        let mut latencies = Latencies::default();
        for (lateness_ms, duration_ms) in times.iter().copied() {
            latencies.record(&Latency { at: Timestamp::UNIX_EPOCH, lateness_ms, duration_ms });
        }
        latencies
    }

    #[test]
    fn the_rows_of_an_application_are_apart() {
        let (tenant, app) = ("acme".parse().unwrap(), "crm".parse().unwrap());
        assert_eq!((pk(&tenant, None), pk(&tenant, Some(&app))), ("H#acme".to_owned(), "H#acme#crm".to_owned()));
        assert_eq!(sk(Hour::from_number(498_679)), "HOUR#00498679");
    }

    #[test]
    fn equal_counts_share_a_value() {
        let counters = counters(&latencies(&[(300, 5), (300, 5), (9, 5)]));
        let (expression, values) = adding(&counters, 9);
        assert_eq!(expression, "SET expires_at = :expires_at, v = :v ADD l9 :1, l49 :2, d5 :3");
        assert_eq!(values.len(), 5);
    }

    /// Every bucket of both histograms, with counts that are all different and as large as a batch.
    #[test]
    fn an_expression_and_a_row_are_small_enough() {
        let mut all = Latencies::default();
        for bucket in 0..240 {
            all.lateness.add(bucket, 999_000 + u64::try_from(bucket).unwrap());
            all.duration.add(bucket, 998_000 + u64::try_from(bucket).unwrap());
        }
        for some in counters(&all).chunks(MAX_BUCKETS) {
            let (expression, _) = adding(some, 1_795_246_444);
            assert!(expression.len() <= 4096, "{} bytes", expression.len());
        }
        let mut item =
            key(&pk(&"0d9f1c4e-6f0a-4b60-9d6f-2f6f5f0a7c11".parse().unwrap(), None), &sk(Hour::from_number(498_679)));
        item.extend(counters(&all).into_iter().map(|(name, count)| (name, number(count))));
        assert!(size(&item) <= 6 * 1024, "{} bytes", size(&item));
        // A usual one: most deliveries take 20 ms to a second, and some are retried.
        let usual = latencies(&(0..5_000).map(|number| (number % 1000 + 20, number % 300 + 20)).collect::<Vec<_>>());
        item.retain(|name, _| name == "pk" || name == "sk");
        item.extend(counters(&usual).into_iter().map(|(name, count)| (name, number(count))));
        assert!(size(&item) <= 1024, "{} bytes", size(&item));
    }

    proptest! {
        #[test]
        fn a_row_is_read_as_it_was_written(times in proptest::collection::vec((any::<u64>(), any::<u64>()), 0..50)) {
            let latencies = latencies(&times);
            let mut item = key("H#acme", "HOUR#00498679");
            item.extend([("v", number(1)), ("expires_at", number(9))].map(|(name, value)| (name.to_owned(), value)));
            item.extend(counters(&latencies).into_iter().map(|(name, count)| (name, number(count))));
            prop_assert_eq!(read(&item), latencies);
        }
    }
}
