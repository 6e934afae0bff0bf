//! Measures how long the parts of a request take.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use domain::attempt::outcome::Timing;

tokio::task_local! {
    /// The trace of the request that this task is making. The pool passes only a URL to the dialer, but it calls the
    /// dialer within the request's own future, so a task-local variable connects them.
    static CURRENT: Trace;
}

/// The timings of one request, filled in by the connector that dials for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Timing>>);

/// A part of dialing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    Dns,
    Connect,
    Tls,
}

impl Trace {
    /// Runs a request, so that its dialing finds this trace with [`current`](Self::current).
    pub(crate) async fn follow<T>(&self, request: impl Future<Output = T>) -> T {
        CURRENT.scope(self.clone(), request).await
    }

    /// Returns the trace of the request that this task is making.
    pub(crate) fn current() -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or_default()
    }

    /// Measures the time of a part, even if the part is cancelled.
    pub(crate) async fn measure<T>(&self, part: Part, work: impl Future<Output = T>) -> T {
        let _stopwatch = Stopwatch { trace: self, part, started: Instant::now() };
        work.await
    }

    /// Returns what was measured so far.
    pub(crate) fn timing(&self) -> Timing {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether both are the trace of the same request.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Records the time when it is dropped, so that a part that never ends shows how long the request waited for it.
struct Stopwatch<'a> {
    trace: &'a Trace,
    part: Part,
    started: Instant,
}

impl Drop for Stopwatch<'_> {
    fn drop(&mut self) {
        let took = Some(milliseconds(self.started.elapsed()));
        let mut timing = self.trace.0.lock().unwrap_or_else(PoisonError::into_inner);
        match self.part {
            Part::Dns => timing.dns_ms = took,
            Part::Connect => timing.connect_ms = took,
            Part::Tls => timing.tls_ms = took,
        }
    }
}

/// Returns whole milliseconds.
pub(crate) fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
