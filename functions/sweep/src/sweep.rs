//! Works through what is due, page by page, until nothing is due or the time is up.

use std::time::{Duration, SystemTime};

use aws::StoreError;
use aws::ledger::{Due, DueDelivery, Unreadable, Written};
use aws::queue::Outgoing;
use domain::delivery::dead_letter::DeadLetter;
use domain::delivery::decide::{Wake, wake};
use domain::delivery::{OVERDUE_AFTER, SWEEP_AHEAD};
use futures::channel::mpsc::{self, UnboundedSender};
use futures::stream::{self, Stream, StreamExt as _};
use jiff::Timestamp;
use runtime::metrics::{self, Metric};

use crate::{App, Swept, drain, line};

/// How many due rows of each partition are read at once.
const PAGE: usize = 50;

/// How many rows are moved at once.
const CONCURRENCY: usize = 32;

/// The time that a run reserves, to end before Lambda stops it.
pub(crate) const RESERVE: Duration = Duration::from_secs(10);

/// Wakes what is due. `deadline` is the end of the invocation.
///
/// # Errors
///
/// If the ledger is unavailable, or a part failed while the rest was processed. The next run continues.
#[tracing::instrument(name = "sweep.run", skip_all)]
pub(crate) async fn sweep(app: &App, deadline: SystemTime) -> Result<Swept, StoreError> {
    let deadline = Timestamp::try_from(deadline).unwrap_or(Timestamp::MAX) - RESERVE;
    // A drain, or a long line, may take the whole run. Other rows do not wait for it.
    let (breakers, claimed_breakers) = mpsc::unbounded();
    let (lines, claimed_lines) = mpsc::unbounded();
    let (swept, advanced, woken) = tokio::join!(
        through_pages(app, deadline, Aside { breakers, lines }),
        drain::advance_all(app, claimed_breakers, deadline),
        line::wake_all(app, claimed_lines, deadline)
    );
    let swept = swept?.and(advanced).and(woken);
    let Swept { woken, buried, attended: breakers, released, taken, failed } = swept;
    tracing::info!(woken, buried, breakers, released, taken, failed, "the sweep has looked at all that was due");
    match failed {
        0 => Ok(swept),
        _ => Err(StoreError::Unavailable(format!("{failed} parts of the sweep failed; the log says why"))),
    }
}

/// What may take long, and is processed meanwhile.
struct Aside {
    breakers: UnboundedSender<drain::Claimed>,
    lines: UnboundedSender<line::Claimed>,
}

/// Wakes due deliveries, page by page, and passes each due breaker and line on.
async fn through_pages(app: &App, deadline: Timestamp, aside: Aside) -> Result<Swept, StoreError> {
    let mut swept = Swept::default();
    let backlogs = drain::Backlogs::default();
    let mut measured = false;
    // They stay due, so each page has them again, and maybe more.
    let mut unreadable = Unreadable::default();
    loop {
        let now = app.clock.now();
        let found = app.ledger.due(now + SWEEP_AHEAD, PAGE, now).await?;
        if found.unreadable.count > unreadable.count {
            unreadable = found.unreadable;
        }
        let due = found.rows;
        if !measured {
            measure(&due, now);
            measured = true;
        }
        if due.is_empty() || now >= deadline {
            break;
        }
        let before = swept;
        let (mut deliveries, mut breakers, mut flows) = (Vec::new(), Vec::new(), Vec::new());
        for due in due {
            match due {
                Due::Delivery(delivery) => deliveries.push(*delivery),
                // Not early: unlike a delivery's message, a breaker or a line cannot wait for its time in a queue.
                Due::Breaker(breaker) if breaker.at <= now => breakers.push(breaker),
                Due::Flow(flow) if flow.at() <= now => flows.push(flow),
                Due::Breaker(_) | Due::Flow(_) => {}
            }
        }
        // Until they are claimed they are due, and hide later rows of their page. Those that have waited longest come
        // first.
        breakers.sort_by_key(|breaker| breaker.at);
        let claims = stream::iter(breakers).map(|due| drain::claim(app, &backlogs, due, now)).buffered(CONCURRENCY);
        pass_on(claims, &aside.breakers, &mut swept).await;
        let claims = stream::iter(flows).map(|due| line::claim(app, due, now)).buffered(CONCURRENCY);
        pass_on(claims, &aside.lines, &mut swept).await;
        let moved: Vec<_> =
            stream::iter(deliveries).map(|due| claim(app, due, now)).buffer_unordered(CONCURRENCY).collect().await;
        send(app, moved, &mut swept).await;
        if (swept.woken, swept.buried, swept.attended) == (before.woken, before.buried, before.attended) {
            // Nothing on this page was moved: another sweep took it, the index lags, or it is not due yet.
            break;
        }
    }
    if let Unreadable { count, first: Some(error) } = unreadable {
        swept.failed += count;
        tracing::warn!(count, %error, "due rows cannot be read; they wait for the version that wrote them");
    }
    Ok(swept)
}

/// Passes on what was claimed.
async fn pass_on<T>(
    claims: impl Stream<Item = Result<Option<T>, StoreError>>,
    to: &UnboundedSender<T>,
    swept: &mut Swept,
) {
    let claims: Vec<_> = claims.collect().await;
    for claimed in claims {
        match claimed {
            Ok(Some(claimed)) => {
                swept.attended += 1;
                // The other side ends after this one.
                let _ = to.unbounded_send(claimed);
            }
            Ok(None) => swept.taken += 1,
            Err(error) => swept.failed("claiming a breaker or a line", &error),
        }
    }
}

/// Measures how late the most overdue delivery is. Each partition lists its longest overdue rows first, so the first
/// page has it.
fn measure(due: &[Due], now: Timestamp) {
    let since = due.iter().filter_map(|due| match due {
        Due::Delivery(delivery) => Some(delivery.due_at()),
        Due::Breaker(_) | Due::Flow(_) => None,
    });
    let oldest = since.min().map(|oldest| now.duration_since(oldest).as_secs());
    if let Some(seconds) = oldest.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0) {
        metrics::record(Metric::OldestOverdue, seconds);
    }
}

/// What must be sent for a row.
enum Claimed {
    Retry(Outgoing),
    DeadLetter(Box<DeadLetter>),
    Taken,
}

/// Moves a row's due time, and returns what must be sent for it.
async fn claim(app: &App, due: DueDelivery, now: Timestamp) -> Result<Claimed, StoreError> {
    // The index lags behind the table. A delivery that has ended in the meantime needs nothing.
    let Some(wake) = wake(&due.progress, now) else { return Ok(Claimed::Taken) };
    let again_at = match wake {
        Wake::Send { due_at, .. } => due_at,
        Wake::DeadLetter => now + OVERDUE_AFTER,
    };
    if app.ledger.postpone(&due, again_at, now).await? == Written::TooLate {
        return Ok(Claimed::Taken);
    }
    Ok(match wake {
        Wake::Send { delay, .. } => Claimed::Retry(Outgoing::of(&due.message, delay)),
        Wake::DeadLetter => {
            let ended_at = due.ended_at.unwrap_or(now);
            Claimed::DeadLetter(Box::new(DeadLetter { message: due.message, last_status: None, ended_at }))
        }
    })
}

/// Adds to dead letters what only their rows contain, and the index does not.
async fn complete(app: &App, dead_letters: Vec<DeadLetter>) -> Result<Vec<DeadLetter>, StoreError> {
    if dead_letters.is_empty() {
        return Ok(dead_letters);
    }
    let rows =
        app.ledger.standings(dead_letters.iter().map(|dead_letter| &dead_letter.message), app.clock.now()).await?;
    let row = |dead_letter: &DeadLetter| rows.get(&dead_letter.message.delivery).copied();
    Ok(dead_letters
        .into_iter()
        .map(|dead_letter| (row(&dead_letter), dead_letter))
        .map(|(row, dead_letter)| dead_letter.completed(row))
        .collect())
}

/// Sends what must be sent for the rows of a page that were moved.
async fn send(app: &App, claimed: Vec<Result<Claimed, StoreError>>, swept: &mut Swept) {
    let (mut retries, mut dead_letters) = (Vec::new(), Vec::new());
    for claimed in claimed {
        match claimed {
            Ok(Claimed::Retry(message)) => retries.push(message),
            Ok(Claimed::DeadLetter(dead_letter)) => dead_letters.push(*dead_letter),
            Ok(Claimed::Taken) => swept.taken += 1,
            Err(error) => swept.failed("moving a due row", &error),
        }
    }
    for sent in app.retries.send(retries).await {
        match sent {
            Ok(()) => swept.woken += 1,
            Err(error) => swept.failed("sending the message of a delivery", &error),
        }
    }
    let dead_letters = match complete(app, dead_letters).await {
        Ok(dead_letters) => dead_letters,
        Err(error) => return swept.failed("reading what a page of dead letters needs", &error),
    };
    for buried in app.dead_letters.send(&dead_letters, app.clock.now()).await {
        match buried {
            Ok(()) => swept.buried += 1,
            Err(error) => swept.failed("sending a dead letter", &error),
        }
    }
}
