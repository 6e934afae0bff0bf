//! Jobs, which are stored in the Deliveries table like the deliveries that they send.
//!
//! The requested state, the position and the counts of a job are written separately, so pausing a job during a run
//! loses none of the run's counts.

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::access::tenant::{AppId, TenantId};
use domain::delivery::KEPT;
use domain::delivery::job::{Cursor, Job, JobKind, JobProgress, JobScope, JobState};
use domain::id::JobId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Ledger, Written, written};
use crate::error::is_conflict;
use crate::items::{IS_LIVE, IS_NEW, Item, from_item, is_live, json_text, key, live_at, number, text, to_item};
use crate::{StoreError, batch};

/// The lane of running jobs, which the sweep reads. There are few, so it is one partition.
const LANE: &str = "jobs";

/// Renaming a field here is a migration.
#[derive(Debug, Serialize, Deserialize)]
struct JobItem {
    pk: String,
    sk: String,
    v: u8,
    job: JobId,
    tenant: TenantId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    app: Option<AppId>,
    job_kind: JobKind,
    #[serde(with = "json_text")]
    job_scope: JobScope,
    rate_per_second: u32,
    dry_run: bool,
    created_at: Timestamp,
    created_by: String,
    job_state: JobState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    job_reason: Option<String>,
    updated_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    job_cursor: Option<String>,
    looked_at: u64,
    sent: u64,
    next_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lane: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lane_at: Option<i64>,
    expires_at: i64,
}

/// A running job that is due for the sweep.
#[derive(Debug, Clone)]
pub struct DueJob {
    tenant: TenantId,
    id: JobId,
    seen_lane_at: i64,
}

/// A job that only this process works on.
#[derive(Debug, Clone)]
pub struct ClaimedJob {
    /// The job.
    pub job: Job,
    claimed_until: i64,
}

fn pk(tenant: &TenantId) -> String {
    format!("T#{tenant}")
}

fn sk(id: JobId) -> String {
    format!("JOB#{id}")
}

fn expires_at(now: Timestamp) -> AttributeValue {
    number((now + KEPT).as_second())
}

impl From<Job> for JobItem {
    fn from(job: Job) -> Self {
        let at = job.progress.next_at.as_millisecond();
        let is_running = job.state == JobState::Running;
        Self {
            pk: pk(&job.tenant),
            sk: sk(job.id),
            v: 1,
            job: job.id,
            tenant: job.tenant,
            app: job.app,
            job_kind: job.kind,
            job_scope: job.scope,
            rate_per_second: job.rate,
            dry_run: job.dry_run,
            created_at: job.created_at,
            created_by: job.created_by,
            job_state: job.state,
            job_reason: job.reason,
            updated_at: job.updated_at,
            job_cursor: job.progress.cursor.map(|cursor| cursor.to_string()),
            looked_at: job.progress.looked_at,
            sent: job.progress.sent,
            next_at: at,
            lane: is_running.then(|| LANE.to_owned()),
            lane_at: is_running.then_some(at),
            expires_at: (job.updated_at + KEPT).as_second(),
        }
    }
}

impl TryFrom<JobItem> for Job {
    type Error = StoreError;

    fn try_from(item: JobItem) -> Result<Self, Self::Error> {
        let inconsistent = |why: String| StoreError::inconsistent(item.job, why);
        let cursor = item.job_cursor.as_deref().map(str::parse::<Cursor>).transpose();
        let cursor = cursor.map_err(|error| inconsistent(error.to_string()))?;
        let next_at = Timestamp::from_millisecond(item.next_at).map_err(|error| inconsistent(error.to_string()))?;
        Ok(Self {
            id: item.job,
            tenant: item.tenant,
            app: item.app,
            kind: item.job_kind,
            scope: item.job_scope,
            rate: item.rate_per_second,
            dry_run: item.dry_run,
            state: item.job_state,
            reason: item.job_reason,
            progress: JobProgress { cursor, looked_at: item.looked_at, sent: item.sent, next_at },
            created_at: item.created_at,
            created_by: item.created_by,
            updated_at: item.updated_at,
        })
    }
}

fn job(item: Item) -> Result<Job, StoreError> {
    from_item::<JobItem>(item)?.try_into()
}

impl Ledger {
    /// Writes a new job, unless there is one with its id. In that case the request that started it was repeated.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn start_job(&self, job: Job, now: Timestamp) -> Result<Written, StoreError> {
        let put = self.client.put_item().table_name(&self.table).set_item(Some(to_item(&JobItem::from(job))?));
        let put = put.condition_expression(IS_NEW).expression_attribute_values(":live_at", live_at(now));
        match put.send().await {
            Ok(_) => Ok(Written::Yes),
            Err(error) if is_conflict(&error) => Ok(Written::TooLate),
            Err(error) => Err(StoreError::unavailable(&error)),
        }
    }

    /// Returns a job of the tenant, unless it has expired.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn job(&self, tenant: &TenantId, id: JobId, now: Timestamp) -> Result<Option<Job>, StoreError> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key(&pk(tenant), &sk(id))));
        let item = get.consistent_read(true).send().await.map_err(|error| StoreError::unavailable(&error))?.item;
        item.filter(|item| is_live(item, now)).map(job).transpose()
    }

    /// Lists the tenant's jobs that match `wanted`, newest first.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn jobs(
        &self,
        tenant: &TenantId,
        before: Option<JobId>,
        limit: usize,
        now: Timestamp,
        wanted: impl Fn(&Job) -> bool,
    ) -> Result<Vec<Job>, StoreError> {
        // `JOB#job_~` sorts after all job ids, and excludes any other kind of item that may share the partition later.
        let last = before.map_or_else(|| "JOB#job_~".to_owned(), sk);
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .scan_index_forward(false)
            .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":pk", text(pk(tenant)))
            .expression_attribute_values(":first", text("JOB#"))
            .expression_attribute_values(":last", text(last))
            .filter_expression(IS_LIVE)
            .expression_attribute_values(":live_at", live_at(now));
        let mut pages = query.into_paginator().items().send();
        let mut jobs = Vec::new();
        while jobs.len() < limit
            && let Some(item) = pages.next().await
        {
            let job = job(item.map_err(|error| StoreError::unavailable(&error))?)?;
            // `BETWEEN` includes its end.
            if Some(job.id) != before && wanted(&job) {
                jobs.push(job);
            }
        }
        Ok(jobs)
    }

    /// Writes a requested state, if the job is still in the state that the caller saw.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn set_job_state(&self, seen: &Job, state: JobState, now: Timestamp) -> Result<Written, StoreError> {
        let set = "SET job_state = :state, updated_at = :now, expires_at = :expires";
        let (expression, at) = match state {
            JobState::Running => (format!("{set}, lane = :lane, lane_at = :at REMOVE job_reason"), Some(now)),
            JobState::Paused | JobState::Done | JobState::Cancelled | JobState::Failed => {
                (format!("{set} REMOVE job_reason, lane, lane_at"), None)
            }
        };
        let mut update = self
            .update_job(&seen.tenant, seen.id)
            .update_expression(expression)
            .condition_expression("job_state = :seen")
            .expression_attribute_values(":seen", text(seen.state.as_str()))
            .expression_attribute_values(":state", text(state.as_str()))
            .expression_attribute_values(":now", text(now.to_string()))
            .expression_attribute_values(":expires", expires_at(now));
        if let Some(at) = at {
            update = update
                .expression_attribute_values(":lane", text(LANE))
                .expression_attribute_values(":at", number(at.as_millisecond()));
        }
        written(update).await
    }

    /// Lists running jobs that are due by `until`, the longest overdue first.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn due_jobs(&self, until: Timestamp, limit: i32) -> Result<Vec<DueJob>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("lanes")
            .key_condition_expression("lane = :lane AND lane_at <= :until")
            .expression_attribute_values(":lane", text(LANE))
            .expression_attribute_values(":until", number(until.as_millisecond()))
            .limit(limit);
        let answer = query.send().await.map_err(|error| StoreError::unavailable(&error))?;
        answer.items.unwrap_or_default().iter().map(DueJob::from_item).collect()
    }

    /// Lists running jobs of all tenants, at most `limit`, the longest overdue first.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn running_jobs(&self, limit: i32, now: Timestamp) -> Result<Vec<Job>, StoreError> {
        let due = self.due_jobs(Timestamp::MAX, limit).await?;
        let keys = due.iter().map(|due| (self.table.clone(), key(&pk(&due.tenant), &sk(due.id))));
        let found = batch::get(&self.client, keys.collect()).await?;
        let live = found.into_values().flatten().filter(|item| is_live(item, now));
        let mut jobs = live.map(job).collect::<Result<Vec<_>, _>>()?;
        // The index may lag behind.
        jobs.retain(|job| job.state == JobState::Running);
        jobs.sort_by_key(|job| job.id);
        Ok(jobs)
    }

    /// Claims a job for this process until `until`, unless another process did or the job was stopped.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn claim_job(&self, due: &DueJob, until: Timestamp) -> Result<Option<ClaimedJob>, StoreError> {
        let claimed_until = until.as_millisecond();
        let update = self
            .update_job(&due.tenant, due.id)
            .update_expression("SET lane_at = :until")
            .condition_expression("lane_at = :seen AND job_state = :running")
            .expression_attribute_values(":until", number(claimed_until))
            .expression_attribute_values(":seen", number(due.seen_lane_at))
            .expression_attribute_values(":running", text(JobState::Running.as_str()))
            .return_values(aws_sdk_dynamodb::types::ReturnValue::AllNew);
        match update.send().await {
            Ok(answer) => {
                let item = answer.attributes.unwrap_or_default();
                Ok(Some(ClaimedJob { job: job(item)?, claimed_until }))
            }
            Err(error) if is_conflict(&error) => Ok(None),
            Err(error) => Err(StoreError::unavailable(&error)),
        }
    }

    /// Writes the progress of a claimed job, unless this process lost the claim or the job was stopped. With `release`,
    /// the job is due again at `next_at`. A job that no longer runs leaves the lane.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn store_job(&self, claimed: &ClaimedJob, release: bool, now: Timestamp) -> Result<Written, StoreError> {
        let ClaimedJob { job, claimed_until } = claimed;
        let mut set = vec![
            "job_state = :state",
            "looked_at = :looked_at",
            "sent = :sent",
            "next_at = :next_at",
            "updated_at = :now",
            "expires_at = :expires",
        ];
        let mut remove = Vec::new();
        let mut update = self
            .update_job(&job.tenant, job.id)
            .condition_expression("lane_at = :claimed AND job_state = :running")
            .expression_attribute_values(":claimed", number(*claimed_until))
            .expression_attribute_values(":running", text(JobState::Running.as_str()))
            .expression_attribute_values(":state", text(job.state.as_str()))
            .expression_attribute_values(":looked_at", number(job.progress.looked_at))
            .expression_attribute_values(":sent", number(job.progress.sent))
            .expression_attribute_values(":next_at", number(job.progress.next_at.as_millisecond()))
            .expression_attribute_values(":now", text(now.to_string()))
            .expression_attribute_values(":expires", expires_at(now));
        if let Some(cursor) = job.progress.cursor {
            set.push("job_cursor = :cursor");
            update = update.expression_attribute_values(":cursor", text(cursor.to_string()));
        }
        if let Some(reason) = &job.reason {
            set.push("job_reason = :reason");
            update = update.expression_attribute_values(":reason", text(reason.clone()));
        }
        if job.state != JobState::Running {
            remove.extend(["lane", "lane_at"]);
        } else if release {
            set.push("lane_at = :next_at");
        }
        let mut expression = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            expression = format!("{expression} REMOVE {}", remove.join(", "));
        }
        written(update.update_expression(expression)).await
    }

    fn update_job(&self, tenant: &TenantId, id: JobId) -> UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).set_key(Some(key(&pk(tenant), &sk(id))))
    }
}

impl DueJob {
    /// Reads a due job from its keys, which every index contains.
    fn from_item(item: &Item) -> Result<Self, StoreError> {
        let of = |name: &str, prefix: &str| {
            item.get(name).and_then(|value| value.as_s().ok()?.strip_prefix(prefix)).unwrap_or_default().to_owned()
        };
        let (tenant, id) = (of("pk", "T#"), of("sk", "JOB#"));
        let inconsistent = |why: &dyn std::fmt::Display| StoreError::inconsistent(format!("job {id}"), why);
        let seen = item.get("lane_at").and_then(|value| value.as_n().ok()?.parse().ok()).unwrap_or_default();
        Ok(Self {
            tenant: tenant.parse().map_err(|error| inconsistent(&error))?,
            id: id.parse().map_err(|error| inconsistent(&error))?,
            seen_lane_at: seen,
        })
    }
}

#[cfg(test)]
mod tests;
