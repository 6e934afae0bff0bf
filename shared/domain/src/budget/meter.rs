//! What one process knows of a tenant's use, and what follows from it.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::limits::{Budget, Budgets, KNOWN_FOR_SECONDS, PUBLISHED_KEPT_DAYS};

/// How many days a delivery is deferred at most. One that would have to wait for longer is given up, and is a dead letter.
pub const LONGEST_DEFERRAL_DAYS: u64 = 7;

/// The parts of a budget, in percent, at which the tenant gets an event and the operator an alarm.
pub const THRESHOLDS: [u8; 2] = [80, 100];

const SECONDS_A_DAY: u64 = 86_400;

/// How many days back a backlog is followed: as long as days are kept.
const HISTORY_DAYS: usize = 100;

/// What a tenant did in a day. Fields that are missing in a row are 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Events: published ones, and those of tables.
    pub events: u64,
    /// The published ones, in bytes of JSON.
    pub published_bytes: u64,
    /// Those of tables that the archive was to keep, in bytes of JSON.
    pub archived_bytes: u64,
    /// New deliveries.
    pub deliveries: u64,
    /// Secrets that were created, rotated or replaced.
    pub secrets: u64,
    /// Jobs that were started.
    pub jobs: u64,
}

impl Counts {
    /// Returns the sum.
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

    /// Says whether nothing is counted.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", sentence(self))]
pub struct Exceeded {
    /// What is used up.
    pub budget: Budget,
    /// How much is used.
    pub used: u64,
    /// How much the request needs.
    pub needed: u64,
    /// How much there is.
    pub limit: u64,
    /// When there is something again.
    pub resets_at: Timestamp,
    /// How long that takes, in whole seconds, at least one.
    pub wait_seconds: u64,
}

fn sentence(Exceeded { budget, used, needed, limit, resets_at, .. }: &Exceeded) -> String {
    let then = if budget.is_daily() { "the day ends" } else { "events of another day expire" };
    format!(
        "the budget {budget} does not allow this: {used} of {limit} are used, and the request needs {needed}; {then} at {resets_at}, or ask \
         the operator for a larger budget"
    )
}

/// Until when a delivery that is over its day's budget waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deferral {
    /// Until its turn on a later day.
    Until(Timestamp),
    /// There is no turn within [`LONGEST_DEFERRAL_DAYS`].
    Never,
}

/// Returns the day of a time, in UTC.
#[must_use]
pub fn today(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}

/// Returns when the day of a time ends, in UTC.
#[must_use]
pub fn resets_at(now: Timestamp) -> Timestamp {
    start(today(now)) + SignedDuration::from_hours(24)
}

fn start(day: Date) -> Timestamp {
    // Every day has a start in UTC; the last one that there is may not have an end.
    day.to_zoned(TimeZone::UTC).map_or(Timestamp::MIN, |start| start.timestamp())
}

/// What one process knows of a tenant on one day.
#[derive(Debug, Clone)]
pub struct Meter {
    limits: Budgets,
    day: Date,
    read_at: Timestamp,
    /// What other days left, in bytes of events that are still kept.
    stored_before: u64,
    /// How many deliveries of earlier days have their turns today or later.
    backlog: u64,
    /// What all processes counted, as far as this one knows.
    shared: Counts,
    /// What this one has not written yet.
    pending: Counts,
    /// How many webhooks the tenant has, since this process changed that; 0 before. They are not counted by day.
    webhooks: u64,
    /// The budgets for which a request was refused today, however much of them is left.
    full: BTreeSet<Budget>,
    announced: BTreeSet<(Budget, u8)>,
}

impl Meter {
    /// Begins with what was read: the limits, and the counts of the days. `retention_days` is how long the events of tables are kept.
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
            // Of yesterday the first.
            let place = usize::try_from(age(*of) - 1).ok();
            if let Some(made) = place.and_then(|place| made.get_mut(place)) {
                *made = counts.deliveries;
            }
        }
        // Each day makes what its budget allows, and leaves the rest to the next; what has no turn within some days is given up.
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
            webhooks: 0,
            full: BTreeSet::new(),
            announced: BTreeSet::new(),
        }
    }

    /// Takes what was read again, and keeps what is not written yet.
    #[must_use]
    pub fn renewed(self, read: &Self) -> Self {
        let (full, announced) =
            if self.day == read.day { (self.full, self.announced) } else { (BTreeSet::new(), BTreeSet::new()) };
        Self { pending: self.pending, full, announced, ..read.clone() }
    }

    /// Says whether it is to be read again.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        let age = now.duration_since(self.read_at).as_secs();
        self.day != today(now) || !(0..KNOWN_FOR_SECONDS).contains(&age)
    }

    /// Returns the limits.
    #[must_use]
    pub const fn limits(&self) -> &Budgets {
        &self.limits
    }

    /// Returns how much of a budget is used, as far as this process knows.
    #[must_use]
    pub fn used(&self, budget: Budget) -> u64 {
        let counts = self.shared.and(self.pending);
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

    /// Returns how much of a counter there may be before `more` is added, such that the budget holds with it.
    ///
    /// # Errors
    ///
    /// If there is no room however little of the counter is used, as far as is known.
    pub fn room(&self, more: Counts, now: Timestamp) -> Result<Counts, Exceeded> {
        // What other counters than the one in the condition take of the stored bytes.
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

    /// Says whether what this process knows is enough to refuse, without asking the others: counters never go down within a day.
    ///
    /// # Errors
    ///
    /// Which budget does not allow it.
    pub fn check(&self, more: Counts, now: Timestamp) -> Result<(), Exceeded> {
        for (budget, needed) in asked(more) {
            if self.used(budget).saturating_add(needed) > self.limits.of(budget) {
                return Err(self.exceeded(budget, needed, now));
            }
        }
        Ok(())
    }

    /// Returns why something is refused for which the counters that all processes share have no room; `None` if nothing is asked for.
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

    /// Counts something that is written later.
    pub fn count(&mut self, more: Counts) {
        self.pending = self.pending.and(more);
    }

    /// Counts a new delivery, and says until when it waits, if it is over the budget.
    pub fn deliver(&mut self) -> Option<Deferral> {
        self.count(Counts { deliveries: 1, ..Counts::default() });
        let before = self.backlog.saturating_add(self.used(Budget::DeliveriesPerDay)).saturating_sub(1);
        turn(before, self.limits.deliveries_per_day, self.day)
    }

    /// Says whether there is something to be written.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.pending.is_none()
    }

    /// Returns what is to be written, which is then this process's to write or to [give back](Self::count).
    pub fn take_pending(&mut self) -> Counts {
        std::mem::take(&mut self.pending)
    }

    /// Takes what the shared counters say.
    pub const fn learn(&mut self, shared: Counts) {
        self.shared = shared;
    }

    /// Takes how many webhooks the tenant has.
    pub const fn learn_webhooks(&mut self, webhooks: u64) {
        self.webhooks = webhooks;
    }

    /// Takes that a request was refused for want of a budget. Its threshold of 100 % is reached from then on: a request
    /// that does not fit is refused with less used, and without this the tenant would not hear of it.
    pub fn refused(&mut self, budget: Budget) {
        self.full.insert(budget);
    }

    /// Returns the thresholds that are reached and not yet announced: each once in each process and day.
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

/// Returns what a request needs of the budgets that can refuse it.
fn asked(more: Counts) -> impl Iterator<Item = (Budget, u64)> {
    let asked = [
        (Budget::EventsPerDay, more.events),
        (Budget::StoredBytes, more.published_bytes),
        (Budget::SecretsPerDay, more.secrets),
        (Budget::JobsPerDay, more.jobs),
    ];
    asked.into_iter().filter(|(_, needed)| *needed > 0)
}

/// Returns when a delivery is made that has so many before it, today and from the days before.
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
