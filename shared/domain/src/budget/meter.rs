//! The meter: what one process knows of a tenant's use, and the decisions that follow from it.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::limits::{Budget, Budgets, KNOWN_FOR_SECONDS, PUBLISHED_KEPT_DAYS};

/// The longest deferral of a delivery, in days. A delivery that would have to wait longer is given up and becomes a
/// dead letter.
pub const LONGEST_DEFERRAL_DAYS: u64 = 7;

/// The percentages of a budget at which the tenant receives an event and the operator an alarm.
pub const THRESHOLDS: [u8; 2] = [80, 100];

const SECONDS_A_DAY: u64 = 86_400;

/// How many past days are considered for the backlog: as many as are stored.
const HISTORY_DAYS: usize = 100;

/// A tenant's use in a day. Fields missing in a row are 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Events, both published ones and those of tables.
    pub events: u64,
    /// Published events, in bytes of JSON.
    pub published_bytes: u64,
    /// Events of tables passed to the archive, in bytes of JSON.
    pub archived_bytes: u64,
    /// New deliveries.
    pub deliveries: u64,
    /// Secrets created, rotated or replaced.
    pub secrets: u64,
    /// Jobs started.
    pub jobs: u64,
}

impl Counts {
    /// Returns the sum of both.
    #[must_use]
    pub const fn and(self, more: Self) -> Self {
        Self {
            events: self.events.saturating_add(more.events),
            published_bytes: self.published_bytes.saturating_add(more.published_bytes),
            archived_bytes: self.archived_bytes.saturating_add(more.archived_bytes),
            deliveries: self.deliveries.saturating_add(more.deliveries),
            secrets: self.secrets.saturating_add(more.secrets),
            jobs: self.jobs.saturating_add(more.jobs),
        }
    }

    /// Returns whether all counts are zero.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", sentence(self))]
pub struct Exceeded {
    /// The budget.
    pub budget: Budget,
    /// How much is used.
    pub used: u64,
    /// How much the request needs.
    pub needed: u64,
    /// The limit of the budget.
    pub limit: u64,
    /// When the budget is available again.
    pub resets_at: Timestamp,
    /// The time until then in whole seconds, at least one.
    pub wait_seconds: u64,
}

fn sentence(Exceeded { budget, used, needed, limit, resets_at, .. }: &Exceeded) -> String {
    let then = if budget.is_daily() { "the day ends" } else { "events of another day expire" };
    format!(
        "the budget {budget} does not allow this: {used} of {limit} are used, and the request needs {needed}; {then} at {resets_at}, or ask \
         the operator for a larger budget"
    )
}

/// How long a delivery over its day's budget is deferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deferral {
    /// Until its turn on a later day.
    Until(Timestamp),
    /// It has no turn within [`LONGEST_DEFERRAL_DAYS`].
    Never,
}

/// Returns the UTC day of a time.
#[must_use]
pub fn today(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}

/// Returns the end of the UTC day of a time.
#[must_use]
pub fn resets_at(now: Timestamp) -> Timestamp {
    start(today(now)) + SignedDuration::from_hours(24)
}

fn start(day: Date) -> Timestamp {
    // Every day has a start in UTC, but the last representable day may have no end.
    day.to_zoned(TimeZone::UTC).map_or(Timestamp::MIN, |start| start.timestamp())
}

/// What one process knows of a tenant on one day.
#[derive(Debug, Clone)]
pub struct Meter {
    limits: Budgets,
    day: Date,
    read_at: Timestamp,
    /// Events of other days that are still kept, in bytes.
    stored_before: u64,
    /// How many deliveries of earlier days have their turn today or later.
    backlog: u64,
    /// The counts of all processes, as far as this one knows.
    shared: Counts,
    /// The counts that this process has not written yet.
    pending: Counts,
    /// The counts of what this process is making and has not sent yet.
    making: Counts,
    /// The number of the tenant's webhooks, known after this process has changed it; 0 before. It is not counted by
    /// day.
    webhooks: u64,
    /// The budgets for which a request was refused today, even if some of them is left.
    full: BTreeSet<Budget>,
    announced: BTreeSet<(Budget, u8)>,
}

impl Meter {
    /// Creates a meter from what was read: the limits, and the counts of the days. `retention_days` is how long the
    /// events of tables are kept.
    #[must_use]
    pub fn new(limits: Budgets, days: &[(Date, Counts)], retention_days: u8, now: Timestamp) -> Self {
        let day = today(now);
        let age = |of: Date| i64::from(day.since(of).map_or(i32::MAX, |span| span.get_days()));
        let shared = days.iter().find(|(of, _)| *of == day).map(|(_, counts)| *counts).unwrap_or_default();
        let kept = |of: Date, days: u8| (1..=i64::from(days)).contains(&age(of));
        let stored = days.iter().map(|(of, counts)| {
            let published = if kept(*of, PUBLISHED_KEPT_DAYS) { counts.published_bytes } else { 0 };
            let archived = if kept(*of, retention_days) { counts.archived_bytes } else { 0 };
            published.saturating_add(archived)
        });
        let stored_before = stored.fold(0, u64::saturating_add);
        let limit = limits.deliveries_per_day;
        let mut made = [0; HISTORY_DAYS];
        for (of, counts) in days {
            // Index 0 is yesterday.
            let place = usize::try_from(age(*of) - 1).ok();
            if let Some(made) = place.and_then(|place| made.get_mut(place)) {
                *made = counts.deliveries;
            }
        }
        // Each day makes as many deliveries as its budget allows and leaves the rest to the next day. Those without a
        // turn within the limit are given up.
        let most = limit.saturating_mul(LONGEST_DEFERRAL_DAYS);
        let backlog = made
            .iter()
            .rev()
            .fold(0_u64, |backlog, made| backlog.saturating_add(*made).min(most).saturating_sub(limit));
        Self {
            limits,
            day,
            read_at: now,
            stored_before,
            backlog,
            shared,
            pending: Counts::default(),
            making: Counts::default(),
            webhooks: 0,
            full: BTreeSet::new(),
            announced: BTreeSet::new(),
        }
    }

    /// Replaces what was read by a newer reading, and keeps the counts that are not written yet.
    #[must_use]
    pub fn renewed(self, read: &Self) -> Self {
        let (full, announced) =
            if self.day == read.day { (self.full, self.announced) } else { (BTreeSet::new(), BTreeSet::new()) };
        Self { pending: self.pending, making: self.making, full, announced, ..read.clone() }
    }

    /// Returns whether it must be read again.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        let (age, known_for) = (now.duration_since(self.read_at), SignedDuration::from_secs(KNOWN_FOR_SECONDS));
        self.day != today(now) || !(SignedDuration::ZERO..known_for).contains(&age)
    }

    /// Returns the tenant's limits.
    #[must_use]
    pub const fn limits(&self) -> &Budgets {
        &self.limits
    }

    /// Returns how much of a budget is used, as far as this process knows.
    #[must_use]
    pub fn used(&self, budget: Budget) -> u64 {
        let counts = self.shared.and(self.pending).and(self.making);
        match budget {
            Budget::Webhooks => self.webhooks,
            Budget::SecretsPerDay => counts.secrets,
            Budget::EventsPerDay => counts.events,
            Budget::DeliveriesPerDay => counts.deliveries,
            Budget::StoredBytes => {
                counts.published_bytes.saturating_add(counts.archived_bytes).saturating_add(self.stored_before)
            }
            Budget::JobsPerDay => counts.jobs,
        }
    }

    /// Returns the highest value that a counter may have before `more` is added without exceeding the budget.
    ///
    /// # Errors
    ///
    /// If `more` does not fit even with the lowest use that this process knows.
    pub fn room(&self, more: Counts, now: Timestamp) -> Result<Counts, Exceeded> {
        // The part of the stored bytes that other counters than the one in the condition cover.
        let elsewhere = self.stored_before.saturating_add(self.shared.archived_bytes);
        let asked = [
            (Budget::EventsPerDay, more.events, 0),
            (Budget::StoredBytes, more.published_bytes, elsewhere),
            (Budget::SecretsPerDay, more.secrets, 0),
            (Budget::JobsPerDay, more.jobs, 0),
        ];
        let mut room = [u64::MAX; 4];
        for (place, (budget, needed, taken)) in asked.into_iter().enumerate().filter(|(_, (_, needed, _))| *needed > 0)
        {
            let left = self.limits.of(budget).checked_sub(taken).and_then(|left| left.checked_sub(needed));
            room[place] = left.ok_or_else(|| self.exceeded(budget, needed, now))?;
        }
        let [events, published_bytes, secrets, jobs] = room;
        Ok(Counts { events, published_bytes, archived_bytes: 0, deliveries: 0, secrets, jobs })
    }

    /// Decides from local knowledge whether a request can be refused without a read. Counters never decrease within a
    /// day.
    ///
    /// # Errors
    ///
    /// The budget that is exceeded.
    pub fn check(&self, more: Counts, now: Timestamp) -> Result<(), Exceeded> {
        for (budget, needed) in asked(more) {
            if self.used(budget).saturating_add(needed) > self.limits.of(budget) {
                return Err(self.exceeded(budget, needed, now));
            }
        }
        Ok(())
    }

    /// Returns why a request is refused after the shared counters had no room for it, or `None` if it needs nothing.
    #[must_use]
    pub fn refusal(&self, more: Counts, now: Timestamp) -> Option<Exceeded> {
        self.check(more, now)
            .err()
            .or_else(|| asked(more).next().map(|(budget, needed)| self.exceeded(budget, needed, now)))
    }

    fn exceeded(&self, budget: Budget, needed: u64, now: Timestamp) -> Exceeded {
        let (used, limit) = (self.used(budget), self.limits.of(budget));
        let resets_at = resets_at(now);
        let wait_seconds = u64::try_from(resets_at.duration_since(now).as_secs()).unwrap_or_default() + 1;
        Exceeded { budget, used, needed, limit, resets_at, wait_seconds }
    }

    /// Adds counts that are written later.
    pub fn count(&mut self, more: Counts) {
        self.pending = self.pending.and(more);
    }

    /// Adds counts of something that is made and [sent](Self::sent) later.
    pub fn make(&mut self, more: Counts) {
        self.making = self.making.and(more);
    }

    /// Counts a new delivery, which is made and [sent](Self::sent) later. If it is over the budget, returns how long it
    /// is deferred.
    pub fn deliver(&mut self) -> Option<Deferral> {
        self.make(Counts { deliveries: 1, ..Counts::default() });
        let before = self.backlog.saturating_add(self.used(Budget::DeliveriesPerDay)).saturating_sub(1);
        turn(before, self.limits.deliveries_per_day, self.day)
    }

    /// Notes that what was made is sent. Its counts are written later.
    pub fn sent(&mut self) {
        let made = std::mem::take(&mut self.making);
        self.count(made);
    }

    /// Notes that what was made is not sent. It is made again, and counted then.
    pub fn not_sent(&mut self) {
        self.making = Counts::default();
    }

    /// Returns whether there are counts to write, now or later.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.pending.and(self.making).is_none()
    }

    /// Takes the counts to write. The caller must write them or [add them again](Self::count).
    pub fn take_pending(&mut self) -> Counts {
        std::mem::take(&mut self.pending)
    }

    /// Sets the shared counts.
    pub const fn learn(&mut self, shared: Counts) {
        self.shared = shared;
    }

    /// Sets the number of the tenant's webhooks.
    pub const fn learn_webhooks(&mut self, webhooks: u64) {
        self.webhooks = webhooks;
    }

    /// Records that a request was refused because of a budget. From then on its threshold of 100 % counts as reached. A
    /// request that does not fit is refused before the budget is completely used, and without this the tenant would not
    /// be notified.
    pub fn refused(&mut self, budget: Budget) {
        self.full.insert(budget);
    }

    /// Returns the thresholds that have been reached and not yet announced. Each process announces each threshold once
    /// a day.
    pub fn thresholds(&mut self) -> Vec<(Budget, u8, u64)> {
        let mut reached = Vec::new();
        for budget in Budget::ALL {
            let (used, limit) = (self.used(budget), self.limits.of(budget));
            for percent in THRESHOLDS {
                let is_used = used > 0 && u128::from(used) * 100 >= u128::from(limit) * u128::from(percent);
                let is_refused = percent == 100 && self.full.contains(&budget);
                if (is_used || is_refused) && self.announced.insert((budget, percent)) {
                    reached.push((budget, percent, used));
                }
            }
        }
        reached
    }
}

/// Returns what a request needs of each budget that can refuse it.
fn asked(more: Counts) -> impl Iterator<Item = (Budget, u64)> {
    let asked = [
        (Budget::EventsPerDay, more.events),
        (Budget::StoredBytes, more.published_bytes),
        (Budget::SecretsPerDay, more.secrets),
        (Budget::JobsPerDay, more.jobs),
    ];
    asked.into_iter().filter(|(_, needed)| *needed > 0)
}

/// Returns when a delivery is made that has this many before it, from today and earlier days.
fn turn(before: u64, limit: u64, day: Date) -> Option<Deferral> {
    let days = before.checked_div(limit).unwrap_or(LONGEST_DEFERRAL_DAYS);
    if days == 0 {
        return None;
    }
    if days >= LONGEST_DEFERRAL_DAYS {
        return Some(Deferral::Never);
    }
    let into_the_day = u128::from(before % limit) * u128::from(SECONDS_A_DAY) / u128::from(limit);
    let seconds = days * SECONDS_A_DAY + u64::try_from(into_the_day).unwrap_or(SECONDS_A_DAY);
    Some(Deferral::Until(start(day) + SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))))
}

#[cfg(test)]
mod tests;
