//! Scripted receivers for tests. Without a network, a test can control the clock.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use domain::attempt::outcome::Outcome;
use domain::webhook::authorization::token::Token;

use crate::request::Request;
use crate::token_error::TokenError;

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Answers<R, T> = Arc<dyn Fn(R) -> Answer<T> + Send + Sync>;

/// Decides the outcome of each request.
#[derive(Clone)]
pub struct Script {
    receivers: Answers<Request, Outcome>,
    token_servers: Option<Answers<String, Result<Token, TokenError>>>,
}

impl Script {
    /// Returns a script that calls a function for each request.
    pub fn new<F: Future<Output = Outcome> + Send + 'static>(
        answer: impl Fn(Request) -> F + Send + Sync + 'static,
    ) -> Self {
        Self { receivers: Arc::new(move |request| Box::pin(answer(request))), token_servers: None }
    }

    /// Adds scripted authorization servers, which are identified by their token URLs.
    #[must_use]
    pub fn with_token_servers<F: Future<Output = Result<Token, TokenError>> + Send + 'static>(
        self,
        answer: impl Fn(String) -> F + Send + Sync + 'static,
    ) -> Self {
        Self { token_servers: Some(Arc::new(move |request| Box::pin(answer(request)))), ..self }
    }

    pub(crate) fn answer(&self, request: Request) -> Answer<Outcome> {
        (self.receivers)(request)
    }

    pub(crate) fn token(&self, url: &str) -> Option<Answer<Result<Token, TokenError>>> {
        self.token_servers.as_ref().map(|answer| answer(url.to_owned()))
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}
