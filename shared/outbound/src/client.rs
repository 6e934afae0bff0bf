//! Sends POST requests to receivers.

use std::sync::Arc;
use std::time::Duration;

use domain::attempt::answer::{Answer, StatusPattern, judge};
use domain::attempt::outcome::{Outcome, Timing, Verdict};
use domain::attempt::target::{TargetError, TargetPolicy};
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT};
use hyper::http::Extensions;
use hyper::http::uri::InvalidUri;
use hyper::{HeaderMap, Method, Response, Uri};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::Timestamp;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls_platform_verifier::BuilderVerifierExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, timeout_at};

use crate::dial::Dialer;
use crate::host_limit::{HostLimits, HostSlot};
use crate::outcome::classify;
use crate::request::Request;
use crate::resolver::Resolver;
#[cfg(feature = "scripted")]
use crate::script::Script;
use crate::trace::{Trace, milliseconds};
use resend::Payload;

mod header_case;
mod resend;
mod token;

/// How much of a response body is read, in bytes; the rest is ignored.
const MAX_RESPONSE_BYTES: usize = 16 * 1024;

/// How much of a response body is stored, in bytes.
const EXCERPT_BYTES: usize = 1024;

/// The largest response head, in bytes. A larger one is a protocol error.
const MAX_HEAD_BYTES: u32 = 64 * 1024;

/// The shortest line of a head, in bytes: a name, a colon and the end of the line.
const SHORTEST_LINE_BYTES: usize = 4;

/// How long an idle connection is kept. Receivers close theirs after about a minute.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How often an HTTP/2 connection is pinged, and how long the reply may take. Otherwise, a connection that died while
/// the environment was frozen would take every request until the operating system notices.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

const OUR_NAME: HeaderValue = HeaderValue::from_static(concat!("Dynahook/", env!("CARGO_PKG_VERSION")));

/// The header with which a receiver rejects this event or all events; see [`judge`].
const WEBHOOK_DELIVERY: HeaderName = HeaderName::from_static("webhook-delivery");

/// Sends deliveries. Create it once per execution environment, so that connections are reused.
#[derive(Clone)]
pub struct Client {
    pool: Pool<Dialer, Payload>,
    /// For requests whose header names have capitals: without HTTP/2, which has none.
    exact: Pool<Dialer, Payload>,
    policy: Arc<TargetPolicy>,
    places: Arc<HostLimits>,
    #[cfg(feature = "scripted")]
    script: Option<Script>,
}

impl Client {
    /// Returns a client that only connects to targets that the policy allows.
    ///
    /// # Errors
    ///
    /// If the system's certificates cannot be read.
    pub fn new(policy: TargetPolicy) -> Result<Self, rustls::Error> {
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let tls = tls.with_safe_default_protocol_versions()?.with_platform_verifier()?.with_no_client_auth();
        Ok(Self::dialing(policy, Resolver::System, tls))
    }

    fn dialing(policy: TargetPolicy, names: Resolver, tls: ClientConfig) -> Self {
        let policy = Arc::new(policy);
        Self::over(Dialer::new(Arc::clone(&policy), names, tls), policy)
    }

    fn over(dialer: Dialer, policy: Arc<TargetPolicy>) -> Self {
        let mut pools = Pool::builder(TokioExecutor::new());
        pools
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http1_max_buf_size(MAX_HEAD_BYTES as usize)
            .http1_max_headers(MAX_HEAD_BYTES as usize / SHORTEST_LINE_BYTES)
            // A line among the headers that is not a header takes nothing from the status.
            .http1_ignore_invalid_headers_in_responses(true)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .http2_max_header_list_size(MAX_HEAD_BYTES)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT);
        let exact = dialer.clone().preferring_http_1();
        Self {
            pool: pools.build(dialer),
            exact: pools.http1_title_case_headers(true).build(exact),
            policy,
            places: Arc::default(),
            #[cfg(feature = "scripted")]
            script: None,
        }
    }

    /// Replaces the network by a script.
    #[cfg(feature = "scripted")]
    #[must_use]
    pub fn scripted(self, script: Script) -> Self {
        Self { script: Some(script), ..self }
    }

    /// Waits until one more request may be sent to the URL's host: at most 20 run at the same time to one host and
    /// port.
    ///
    /// The receiver does not cause this wait, so it comes before the request and does not count towards its timeout. A
    /// delivery that has no time left when it gets the slot must count as not attempted.
    pub async fn place(&self, url: &str) -> HostSlot {
        self.places.take(url).await
    }

    /// Sends one request and returns the outcome. Never fails: a failure is an outcome.
    pub async fn post(&self, request: Request, place: HostSlot) -> Outcome {
        #[cfg(feature = "scripted")]
        if let Some(script) = &self.script {
            return script.answer(request).await;
        }
        let started = Instant::now();
        let trace = Trace::default();
        let mut outcome = trace.follow(Box::pin(self.exchange(request, &trace, started))).await;
        outcome.duration_ms = milliseconds(started.elapsed());
        drop(place);
        outcome
    }

    async fn exchange(&self, request: Request, trace: &Trace, started: Instant) -> Outcome {
        let deadline = started + request.timeout;
        let (success, at) = (request.success.clone(), request.at);
        let is_exact = header_case::matters(&request.headers);
        let extensions = if is_exact { header_case::preserve(&request.headers).await } else { Extensions::new() };
        let mut request = match self.prepare(request) {
            Ok(request) => request,
            Err((verdict, why)) => return Outcome::unanswered(verdict, why),
        };
        *request.extensions_mut() = extensions;
        let pool = if is_exact { &self.exact } else { &self.pool };
        let response = match call(pool, request, deadline).await {
            Ok(response) => response,
            Err((verdict, why)) => return Outcome { timing: trace.timing(), ..Outcome::unanswered(verdict, why) },
        };
        let took = started.elapsed();
        // The response may come over another request's connection: either a reused one, or one that was ready before
        // the dialed one. Then nothing was dialed for this response.
        let dialled = response.extensions().get::<Trace>().filter(|dialled| dialled.is(trace));
        let timing = dialled.map(Trace::timing).unwrap_or_default();
        let timing = Timing { first_byte_ms: Some(milliseconds(took)), ..timing };
        let now = at + took;
        Outcome { timing, ..read(response, &success, now, deadline).await }
    }

    /// Returns the URI of a URL, if the policy allows it.
    fn target(&self, url: &str) -> Result<Uri, TargetError> {
        let url = self.policy.parse(url)?;
        url.as_str().parse().map_err(|error: InvalidUri| TargetError::Malformed(error.to_string()))
    }

    /// Returns the HTTP request, or why it cannot be sent.
    fn prepare(&self, request: Request) -> Result<hyper::Request<Bytes>, (Verdict, String)> {
        // The URL was checked when the webhook was written, but the policy may have changed since.
        let forbidden = |error| (Verdict::Forbidden, format!("the URL {error}"));
        let uri = self.target(&request.url).map_err(forbidden)?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        for (name, value) in request.headers {
            // The value may be a secret, so the message contains only the name.
            let fault = || (Verdict::ProtocolFailed, format!("the header {name:?} cannot be sent"));
            let value = HeaderValue::try_from(value).map_err(|_| fault())?;
            headers.append(HeaderName::try_from(&name).map_err(|_| fault())?, value);
        }
        if let Some(authorization) = request.authorization {
            let fault = || (Verdict::ProtocolFailed, "the authorization is not a valid header value".to_owned());
            headers.insert(AUTHORIZATION, secret_value(&authorization).ok_or_else(fault)?);
        }
        headers.entry(USER_AGENT).or_insert(OUR_NAME);
        Ok(post(uri, headers, request.body.into()))
    }
}

/// Sends a request, again if it was not processed, and returns the head of its answer, or why no answer came.
async fn call(
    pool: &Pool<Dialer, Payload>,
    request: hyper::Request<Bytes>,
    deadline: Instant,
) -> Result<Response<Incoming>, (Verdict, String)> {
    match timeout_at(deadline, resend::send(pool, request)).await {
        Ok(answered) => answered.map_err(|error| classify(&error)),
        Err(_) => Err((Verdict::TimedOut, "no complete answer within the timeout".to_owned())),
    }
}

fn post(uri: Uri, headers: HeaderMap, body: Bytes) -> hyper::Request<Bytes> {
    let mut post = hyper::Request::new(body);
    (*post.method_mut(), *post.uri_mut(), *post.headers_mut()) = (Method::POST, uri, headers);
    post
}

/// Returns a header value that is marked as sensitive: it is not printed in debug output, nor indexed by HTTP/2.
fn secret_value(text: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text.expose_secret()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Reads the start of the response. The head determines the outcome, even if the body breaks off.
async fn read(response: Response<Incoming>, success: &[StatusPattern], now: Timestamp, deadline: Instant) -> Outcome {
    let (head, mut body) = response.into_parts();
    let header = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let status = head.status.as_u16();
    let answer = Answer {
        status,
        retry_after: header(&RETRY_AFTER),
        webhook_delivery: header(&WEBHOOK_DELIVERY),
        location: header(&LOCATION),
    };
    let judged = judge(answer, success, now);
    let mut start = Vec::new();
    while start.len() < MAX_RESPONSE_BYTES
        && let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await
    {
        if let Some(data) = frame.data_ref() {
            start.extend_from_slice(data);
        }
    }
    let mut body = String::from_utf8_lossy(&start).into_owned();
    // Truncate after the conversion, because the replacement characters for invalid bytes are longer than the bytes.
    body.truncate(body.floor_char_boundary(MAX_RESPONSE_BYTES));
    let mut excerpt = body.clone();
    excerpt.truncate(excerpt.floor_char_boundary(EXCERPT_BYTES));
    let has_more = body.len() > excerpt.len() && judged.verdict != Verdict::Accepted;
    let excerpt = Some(excerpt).filter(|excerpt| !excerpt.is_empty());
    Outcome {
        status: Some(status),
        error: judged.error,
        response_excerpt: excerpt,
        response_body: has_more.then_some(body),
        retry_after_s: judged.retry_after_s,
        ..Outcome::unanswered(judged.verdict, "")
    }
}

#[cfg(test)]
pub(crate) mod tests;
