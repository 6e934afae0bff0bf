//! Jobs of several tenants share the sweep's time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use aws::Ledger;
use aws::ledger::AttemptKey;
use domain::delivery::job::{Job, JobKind, JobProgress, JobScope, JobState};
use domain::delivery::message::{Body, Message};
use domain::delivery::{Delivery, Progress, State};
use domain::id::{EventId, JobId};
use domain::time::Clock as _;
use domain::webhook::Webhook;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tests::Hooks;
use tests::cloud::environment::variable;
use tests::cloud::{Cloud, Faults};

use crate::drain::Time;

/// Makes so many dead letters of a webhook.
async fn bury(ledger: &Ledger, webhook: &Webhook, count: u32, now: Timestamp) {
    for number in 0..count {
        let event = EventId::derive(now - SignedDuration::from_hours(1), &[&number.to_string()]);
        let (event_type, body) = ("item.updated".parse().unwrap(), Body::Inline("{}".to_owned()));
        let message = Message::first(event, event_type, webhook.id, webhook.tenant.clone(), body);
        let progress = Progress { state: State::Exhausted, cycle: 0, attempt: 1, next_at: None };
        let slot = AttemptKey::of(&message);
        ledger.record_first(&Delivery::first(message, progress), now).await.unwrap();
        ledger.dead_letter_sent(slot, &webhook.tenant, now - SignedDuration::from_mins(1)).await.unwrap();
    }
}

fn redrive(webhook: &Webhook, number: u128, dry_run: bool, now: Timestamp) -> Job {
    Job {
        id: JobId::from_parts(now, number),
        tenant: webhook.tenant.clone(),
        app: None,
        kind: JobKind::Redrive,
        scope: JobScope { webhook: None, event_types: Vec::new(), from: None, to: now },
        rate: 10,
        dry_run,
        state: JobState::Running,
        reason: None,
        progress: JobProgress { cursor: None, looked_at: 0, sent: 0, next_at: now },
        created_at: now,
        created_by: "ada".to_owned(),
        updated_at: now,
    }
}

/// No rate limits a dry run. Those of one tenant, which began earlier and last longer than a run of the sweep, must not
/// hold up a job of another tenant.
#[tokio::test(start_paused = true)]
async fn dry_runs_of_a_tenant_hold_up_no_job_of_another() {
    let time = Time(Arc::new(AtomicI64::new(1_795_244_140_000)), Arc::default());
    let cloud = Cloud::new(Arc::new(time.clone()));
    let aws = cloud.line(Arc::new(|_, _| Faults::default())).aws().await;
    let (ledger, hooks) = (aws.ledger("deliveries".to_owned()), Hooks::new(&cloud).await);
    let settings = json!({"url": "https://receiver.example/"});
    let many = hooks.create("acme", 1, settings.clone()).await;
    let few = hooks.create("globex", 2, settings).await;
    let now = time.now();
    bury(&ledger, &many, 600, now).await;
    bury(&ledger, &few, 1, now).await;
    let dry: Vec<JobId> = (1..=4).map(|number| JobId::from_parts(now, number)).collect();
    for number in 1..=4 {
        ledger.start_job(redrive(&many, number, true, now), now).await.unwrap();
    }
    let later = now + SignedDuration::from_secs(1);
    let job = redrive(&few, 5, false, later);
    let (tenant, id) = (job.tenant.clone(), job.id);
    ledger.start_job(job, later).await.unwrap();

    let sweep = sweep::App::new(sweep::Config::from_lookup(variable).unwrap(), &aws, Box::new(time.clone()));
    time.0.store((now + SignedDuration::from_secs(5)).as_millisecond(), Ordering::Relaxed);
    // With every look at the clock, that many milliseconds pass.
    time.1.store(300, Ordering::Relaxed);
    let run = async || {
        let deadline = SystemTime::from(time.now() + SignedDuration::from_secs(55));
        sweep::run(&sweep, deadline).await.unwrap();
    };
    run().await;
    let now = time.now();
    let state = async |tenant, id| ledger.job(tenant, id, now).await.unwrap().unwrap().state;
    assert_eq!(state(&tenant, id).await, JobState::Done);
    assert_eq!(cloud.queues.len("retries"), 1);
    assert_eq!(state(&many.tenant, dry[0]).await, JobState::Running, "the dry runs took longer than the run");
    for _ in 0..20 {
        run().await;
    }
    for id in dry {
        let job = ledger.job(&many.tenant, id, now).await.unwrap().unwrap();
        assert_eq!((job.state, job.progress.looked_at, job.progress.sent), (JobState::Done, 600, 600));
    }
    assert_eq!(cloud.queues.len("retries"), 1, "dry runs send nothing");
}
