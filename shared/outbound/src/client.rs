//! One POST to a receiver.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::delivery::{Outcome, Verdict};
use domain::sent;
use domain::target::TargetPolicy;
use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::{Response, redirect};
use secrecy::{ExposeSecret as _, SecretString};

use crate::outcome::classify;
use crate::resolver::PolicyResolver;

mod token;

pub use token::TokenError;

/// How much of an answer is read, in bytes; the rest is not waited for.
const MAX_RESPONSE_BYTES: usize = 16 * 1024;

/// How much of an answer is kept, in bytes.
const EXCERPT_BYTES: usize = 1024;

/// The longest that setting up a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends deliveries. Made once an execution environment, so that connections are used again.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    policy: Arc<TargetPolicy>,
}

/// A request to a receiver.
#[derive(Debug)]
pub struct Request {
    /// Where to.
    pub url: String,
    /// All headers but those of the connection: the client adds none that says something of the body.
    pub headers: Vec<(String, String)>,
    /// Its `Authorization` header, if it has one: not among the others, which may be shown.
    pub authorization: Option<SecretString>,
    /// The body: sent as it is.
    pub body: Vec<u8>,
    /// How long all of it may take.
    pub timeout: Duration,
}

impl Client {
    /// Makes a client that goes where the policy allows.
    ///
    /// # Errors
    ///
    /// If the system's certificates cannot be read.
    pub fn new(policy: TargetPolicy) -> Result<Self, reqwest::Error> {
        let policy = Arc::new(policy);
        #[expect(clippy::disallowed_methods, reason = "this is the crate that dials")]
        let http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(PolicyResolver { policy: Arc::clone(&policy) }))
            .connect_timeout(CONNECT_TIMEOUT)
            .build()?;
        Ok(Self { http, policy })
    }

    /// Sends one request and says what came of it. Never fails: a failure is an outcome.
    pub async fn post(&self, request: Request) -> Outcome {
        let started = Instant::now();
        let mut outcome = self.exchange(request).await;
        outcome.duration_ms = u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX);
        outcome
    }

    async fn exchange(&self, request: Request) -> Outcome {
        // Checked again although it was when the webhook was written: policy may have changed, and a literal address is
        // never seen by the resolver.
        let url = match self.policy.parse(&request.url) {
            Ok(url) => url,
            Err(error) => return Outcome::unanswered(Verdict::Forbidden, format!("the URL {error}")),
        };
        let mut post = self.http.post(url).timeout(request.timeout);
        for (name, value) in request.headers {
            post = post.header(name, value);
        }
        if let Some(authorization) = request.authorization {
            let Some(value) = secret_value(&authorization) else {
                return Outcome::unanswered(Verdict::ProtocolFailed, "the authorization cannot stand in a header");
            };
            post = post.header(AUTHORIZATION, value);
        }
        match post.body(request.body).send().await {
            Ok(response) => read(response).await,
            Err(error) => {
                let (verdict, why) = classify(&error);
                Outcome::unanswered(verdict, why)
            }
        }
    }
}

/// Returns the value of a header that nobody prints or remembers.
fn secret_value(text: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text.expose_secret()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Reads the answer's start. The status decides; an answer that breaks off after it is still an answer.
async fn read(mut response: Response) -> Outcome {
    let status = response.status();
    let (verdict, error) = if status.is_success() {
        (Verdict::Accepted, None)
    } else if status.is_redirection() {
        let location = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
        let location = location.map_or_else(|| "nowhere".to_owned(), sent::redirect);
        (Verdict::Redirected, Some(format!("redirects are not followed; this one leads to {location}")))
    } else {
        let verdict = if status.is_client_error() { Verdict::Refused } else { Verdict::ServerFailed };
        (verdict, Some(format!("the receiver answered {status}")))
    };
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= MAX_RESPONSE_BYTES {
            break;
        }
    }
    body.truncate(EXCERPT_BYTES);
    let excerpt = (!body.is_empty()).then(|| String::from_utf8_lossy(&body).into_owned());
    Outcome { status: Some(status.as_u16()), error, response_excerpt: excerpt, ..Outcome::unanswered(verdict, "") }
}

#[cfg(test)]
mod tests;
