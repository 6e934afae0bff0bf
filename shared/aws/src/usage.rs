//! Tenants' budgets, enforced over all processes. The counts are in the Registry, and this process caches them for a
//! minute.
//!
//! There are two ways to count. Functions that can refuse (api and inbound) count each request with one conditional
//! write and refuse it if it exceeds the budget, so the limit is exact. Fan-out cannot refuse: it counts locally and
//! writes once for each batch and tenant, so each process that runs at the same time may exceed the budget by one
//! batch.
//!
//! One row counts everything of a tenant and day, which allows about 1,000 writes a second. While DynamoDB throttles it
//! or does not answer, everything is allowed and a warning is logged. Counts that could not be written are kept and
//! added to the next write. They are lost only if the process ends.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::access::tenant::TenantId;
use domain::budget::{Budget, Budgets, Counts, Deferral, Exceeded, Meter, today};
use domain::delivery::notices::threshold_event;
use futures::future::join_all;
use jiff::Timestamp;

use crate::registry::Counted;
use crate::{Events, Registry, StoreError};

/// How many tenants' usage a process caches. When there are more, it drops those that are out of date and have no
/// unwritten counts.
const MAX_TENANTS: usize = 10_000;

/// Tenants' usage and limits.
#[derive(Debug)]
pub struct Usage {
    registry: Registry,
    events: Events,
    defaults: Budgets,
    retention_days: u8,
    meters: Mutex<HashMap<TenantId, Meter>>,
}

impl Usage {
    /// Creates an empty cache; makes no call. `defaults` apply to tenants for which the operator has set nothing, and
    /// `retention_days` is how long the events of tables are kept.
    #[must_use]
    pub fn new(registry: Registry, events: Events, defaults: Budgets, retention_days: u8) -> Self {
        Self { registry, events, defaults, retention_days, meters: Mutex::default() }
    }

    /// Returns the limits of a tenant.
    ///
    /// # Errors
    ///
    /// If they are not cached and the table is unavailable.
    pub async fn limits(&self, tenant: &TenantId, now: Timestamp) -> Result<Budgets, StoreError> {
        self.refresh(tenant, now).await?;
        Ok(self.meters().get(tenant).map_or(self.defaults, |meter| *meter.limits()))
    }

    /// Counts what a request uses, if the tenant's budgets allow all of it.
    ///
    /// # Errors
    ///
    /// The budget that would be exceeded. Nothing is counted then, and the caller must refuse the request.
    pub async fn spend(&self, tenant: &TenantId, more: Counts, now: Timestamp) -> Result<(), Exceeded> {
        if more.is_none() {
            return Ok(());
        }
        if let Err(error) = self.refresh(tenant, now).await {
            tracing::warn!(tenant.id = %tenant, %error, "cannot read budgets; the request is allowed and not counted");
            return Ok(());
        }
        let room = {
            let mut meters = self.meters();
            let Some(meter) = meters.get_mut(tenant) else { return Ok(()) };
            meter.check(more, now).and_then(|()| meter.room(more, now)).map(|room| (room, meter.take_pending()))
        };
        let (room, pending) = match room {
            Ok(room) => room,
            Err(exceeded) => return self.refuse(tenant, exceeded, now).await,
        };
        // Counts that could not be written earlier are written without a condition: their requests were allowed
        // already.
        self.write(tenant, pending, now).await;
        match self.registry.add_usage(tenant, today(now), more, Some(room), now).await {
            Ok(Counted::Yes(counts)) => {
                self.learn(tenant, counts);
                self.tell(tenant, now).await;
                Ok(())
            }
            Ok(Counted::NoRoom(counts)) => {
                if let Some(counts) = counts {
                    self.learn(tenant, counts);
                }
                let refusal = self.meters().get(tenant).and_then(|meter| meter.refusal(more, now));
                match refusal {
                    Some(exceeded) => self.refuse(tenant, exceeded, now).await,
                    None => Ok(()),
                }
            }
            Err(error) => {
                tracing::warn!(tenant.id = %tenant, %error, "cannot count a tenant's use now; its request is allowed");
                self.count(tenant, more);
                Ok(())
            }
        }
    }

    async fn refuse(&self, tenant: &TenantId, exceeded: Exceeded, now: Timestamp) -> Result<(), Exceeded> {
        if let Some(meter) = self.meters().get_mut(tenant) {
            meter.refused(exceeded.budget);
        }
        self.tell(tenant, now).await;
        Err(exceeded)
    }

    /// Takes over a tenant's number of webhooks after one was added. The Registry counts webhooks in the transaction
    /// that writes them.
    pub async fn webhooks_added(&self, tenant: &TenantId, webhooks: u64, now: Timestamp) {
        if let Some(meter) = self.meters().get_mut(tenant) {
            meter.learn_webhooks(webhooks);
        }
        self.tell(tenant, now).await;
    }

    /// Notes that the Registry refused a webhook because the tenant already has `webhooks`.
    pub async fn webhook_refused(&self, tenant: &TenantId, webhooks: u64, now: Timestamp) {
        if let Some(meter) = self.meters().get_mut(tenant) {
            meter.refused(Budget::Webhooks);
        }
        self.webhooks_added(tenant, webhooks, now).await;
    }

    /// Reads tenants' usage, if it is not cached or older than a minute. A tenant whose usage cannot be read counts as
    /// having used nothing.
    pub async fn prepare(&self, tenants: impl IntoIterator<Item = &TenantId>, now: Timestamp) {
        let read = tenants.into_iter().map(|tenant| async move {
            if let Err(error) = self.refresh(tenant, now).await {
                tracing::warn!(tenant.id = %tenant, %error, "cannot read budgets; no delivery is deferred");
                let unknown = Meter::new(self.defaults, &[], self.retention_days, now);
                self.meters().entry(tenant.clone()).or_insert(unknown);
            }
        });
        join_all(read).await;
    }

    /// Counts a new delivery of a [prepared](Self::prepare) tenant, which is [sent](Self::sent) later. Returns until
    /// when the delivery waits, if it exceeds the budget.
    pub fn deliver(&self, tenant: &TenantId) -> Option<Deferral> {
        self.meters().get_mut(tenant)?.deliver()
    }

    /// Counts something of a [prepared](Self::prepare) tenant that is made now and [sent](Self::sent) later.
    pub fn make(&self, tenant: &TenantId, more: Counts) {
        if let Some(meter) = self.meters().get_mut(tenant) {
            meter.make(more);
        }
    }

    /// Notes that all that was made is sent. The next [`flush`](Self::flush) writes its counts.
    pub fn sent(&self) {
        self.meters().values_mut().for_each(Meter::sent);
    }

    /// Notes that what was made and is not [sent](Self::sent) yet will not be. It is made again, and counted then: a
    /// fault of AWS that lasts for hours must not use up the tenants' budgets.
    pub fn not_sent(&self) {
        self.meters().values_mut().for_each(Meter::not_sent);
    }

    fn count(&self, tenant: &TenantId, more: Counts) {
        if let Some(meter) = self.meters().get_mut(tenant) {
            meter.count(more);
        }
    }

    /// Writes all counts that are not written yet, with one call for each tenant, and drops those of what is not
    /// [sent](Self::sent), which must reach no threshold.
    pub async fn flush(&self, now: Timestamp) {
        self.not_sent();
        let pending: Vec<_> = {
            let mut meters = self.meters();
            let counted = meters.iter_mut().map(|(tenant, meter)| (tenant.clone(), meter.take_pending()));
            counted.filter(|(_, pending)| !pending.is_none()).collect()
        };
        join_all(pending.into_iter().map(|(tenant, pending)| async move {
            self.write(&tenant, pending, now).await;
            self.tell(&tenant, now).await;
        }))
        .await;
    }

    /// Writes counts, or keeps them for later if that fails.
    async fn write(&self, tenant: &TenantId, pending: Counts, now: Timestamp) {
        if pending.is_none() {
            return;
        }
        match self.registry.add_usage(tenant, today(now), pending, None, now).await {
            Ok(Counted::Yes(counts)) => self.learn(tenant, counts),
            // Impossible: the write has no condition.
            Ok(Counted::NoRoom(_)) => {}
            Err(error) => {
                tracing::warn!(tenant.id = %tenant, %error, ?pending, "a tenant's use is counted later");
                self.count(tenant, pending);
            }
        }
    }

    async fn refresh(&self, tenant: &TenantId, now: Timestamp) -> Result<(), StoreError> {
        if self.meters().get(tenant).is_some_and(|meter| !meter.is_stale(now)) {
            return Ok(());
        }
        let rows = self.registry.usage(tenant, false).await?;
        let read = Meter::new(self.defaults.with(&rows.overrides), &rows.days, self.retention_days, now);
        let mut meters = self.meters();
        if meters.len() >= MAX_TENANTS {
            meters.retain(|_, meter| !meter.is_stale(now) || meter.has_pending());
        }
        let read = match meters.remove(tenant) {
            Some(known) => known.renewed(&read),
            None => read,
        };
        meters.insert(tenant.clone(), read);
        Ok(())
    }

    fn learn(&self, tenant: &TenantId, counts: Counts) {
        if let Some(meter) = self.meters().get_mut(tenant) {
            meter.learn(counts);
        }
    }

    /// Publishes an event for each threshold that was reached, and logs it for the alarm. This happens once a day, in
    /// the first process that sees it.
    async fn tell(&self, tenant: &TenantId, now: Timestamp) {
        let (reached, limits) = {
            let mut meters = self.meters();
            let Some(meter) = meters.get_mut(tenant) else { return };
            (meter.thresholds(), *meter.limits())
        };
        for (budget, percent, used) in reached {
            let limit = limits.of(budget);
            let Some(event) = threshold_event(tenant, budget, percent, (used, limit), now) else { continue };
            match self.events.publish_first(&event, now).await {
                // Another process published and logged it.
                Ok(false) => continue,
                Ok(true) => {}
                Err(error) => {
                    let message =
                        "an event about a tenant's use was not published; another process may still publish it";
                    tracing::warn!(tenant.id = %tenant, %error, "{message}");
                }
            }
            tracing::warn!(
                tenant.id = %tenant, budget = budget.as_str(), budget_percent = percent, budget_used = used, budget_limit = limit,
                "a tenant has used much of a budget"
            );
        }
    }

    fn meters(&self) -> MutexGuard<'_, HashMap<TenantId, Meter>> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
