//! A receiver that a test plays itself: no network, so that a test's time may stand still while nothing happens.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use domain::delivery::Outcome;

use crate::Request;

type Answer = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Says what comes of each request.
#[derive(Clone)]
pub struct Script(Arc<dyn Fn(Request) -> Answer + Send + Sync>);

impl Script {
    /// Makes a script of a function.
    pub fn new<F: Future<Output = Outcome> + Send + 'static>(
        answer: impl Fn(Request) -> F + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |request| Box::pin(answer(request))))
    }

    pub(crate) fn answer(&self, request: Request) -> Answer {
        (self.0)(request)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}
