//! Spans, exported by OTLP after each invocation. The names of attributes are those of OpenTelemetry's semantic
//! conventions, or start with `dynahook.`.
//!
//! A function without a [`Tracer`] does nothing for traces. With one, it [records](Tracer::record) the spans of sampled
//! traces while it works, and [exports](Tracer::export) them once its response is posted, because Lambda may freeze the
//! process afterwards. No response waits for the collector. Spans that it does not take are dropped.

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::event::trace::{Sampling, SpanId, TraceId, TraceParent, TracePolicy};
use domain::time::Clock as _;
use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Wire, Status};
use opentelemetry_semantic_conventions::SCHEMA_URL;
use opentelemetry_semantic_conventions::attribute as semantic;
use prost::Message as _;
use tokio::time::Instant;

use crate::config::environment;
use crate::{SystemClock, random, telemetry};

pub use opentelemetry_semantic_conventions::attribute;

/// How long an export may take. Until it ends, the environment takes no further invocation.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long before the end of an invocation an export ends. A process that is busy at the end is killed.
const MARGIN: Duration = Duration::from_millis(500);

/// For how long nothing is exported after an export failed, so that a collector that is down takes little of the
/// functions' time.
const PAUSE: Duration = Duration::from_secs(30);

/// The most spans of one export. A span takes less than 1 KB, and X-Ray accepts 5 MB and 10,000 spans.
const MOST: usize = 2_000;

/// The most characters of a collector's message that are logged.
const MOST_CHARACTERS: usize = 200;

/// The future of a [`Sender`].
pub type Sending = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send>>;

/// Sends an OTLP request in protobuf, and returns the body of the response, or why it was not accepted.
pub type Sender = Box<dyn Fn(Vec<u8>) -> Sending + Send + Sync>;

/// What a span is to the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It answers a request.
    Server,
    /// It makes a request.
    Client,
    /// It sends messages.
    Producer,
    /// It processes messages.
    Consumer,
}

/// A span that has ended.
#[derive(Debug, Clone)]
pub struct Span {
    /// Its trace.
    pub trace: TraceId,
    /// Its id.
    pub id: SpanId,
    /// The span that caused it, if that is known.
    pub parent: Option<SpanId>,
    /// Further spans that it has to do with.
    pub links: Vec<(TraceId, SpanId)>,
    /// Its name: one of few.
    pub name: Cow<'static, str>,
    /// Its kind.
    pub kind: Kind,
    /// When it started.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// Its attributes: ids and codes, but never a payload, a secret, or the path of a receiver's URL.
    pub attributes: Vec<Attribute>,
    /// Whether it failed.
    pub failed: bool,
}

/// The name and the value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute(KeyValue);

impl Attribute {
    /// Returns an attribute with a text.
    #[must_use]
    pub fn text(name: &str, text: &(impl fmt::Display + ?Sized)) -> Self {
        Self::new(name, Value::StringValue(text.to_string()))
    }

    /// Returns an attribute with a number.
    #[must_use]
    pub fn number(name: &str, number: impl TryInto<i64>) -> Self {
        Self::new(name, Value::IntValue(number.try_into().unwrap_or(i64::MAX)))
    }

    fn new(name: &str, value: Value) -> Self {
        let value = Some(AnyValue { value: Some(value) });
        Self(KeyValue { key: name.to_owned(), value, ..KeyValue::default() })
    }
}

/// The spans of a process that are not exported yet.
#[derive(Debug, Default)]
struct Buffer {
    spans: Vec<Wire>,
    /// How many spans were dropped since the last line of the log that says so.
    dropped: usize,
    /// When the current invocation ends, if that is known.
    deadline: Option<Timestamp>,
    /// Until when nothing is exported.
    paused_until: Option<Instant>,
}

/// Collects and exports spans.
pub struct Tracer {
    sampling: Sampling,
    resource: Resource,
    send: Sender,
    buffer: Mutex<Buffer>,
}

impl Tracer {
    /// Returns a tracer for a service, such as `deliver`.
    #[must_use]
    pub fn new(policy: &TracePolicy, service: &str, send: Sender) -> Self {
        Self { sampling: policy.sampling, resource: resource(service), send, buffer: Mutex::default() }
    }

    /// Returns which traces are exported.
    #[must_use]
    pub fn sampling(&self) -> Sampling {
        self.sampling
    }

    /// Returns the context of what a request causes. If the request has none, a trace starts.
    #[must_use]
    pub fn context(&self, given: Option<TraceParent>, now: Timestamp) -> TraceParent {
        let span = new_span();
        if let Some(TraceParent { trace, sampled, .. }) = given {
            return TraceParent { trace, span, sampled };
        }
        let trace = TraceId::new(now.as_second(), random::bits());
        TraceParent { trace, span, sampled: self.sampling.takes(trace) }
    }

    /// Sets the end of the current invocation, which the export after it does not exceed.
    pub fn ends_at(&self, deadline: Timestamp) {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner).deadline = Some(deadline);
    }

    /// Adds a span to the next export.
    pub fn record(&self, span: Span) {
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.spans.len() < MOST {
            buffer.spans.push(span.into());
        } else {
            buffer.dropped += 1;
        }
    }

    /// Exports the spans since the last call. Never fails: spans that cannot be exported are dropped, and the log has
    /// their number.
    pub async fn export(&self) {
        let (spans, dropped, deadline) = {
            let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
            let spans = std::mem::take(&mut buffer.spans);
            if buffer.paused_until.is_some_and(|until| Instant::now() < until) {
                buffer.dropped += spans.len();
                return;
            }
            if spans.is_empty() {
                return;
            }
            (spans, std::mem::take(&mut buffer.dropped), buffer.deadline.take())
        };
        if dropped > 0 {
            tracing::warn!(
                spans = dropped,
                "spans were dropped: there were too many or no time, or the collector had failed"
            );
        }
        let count = spans.len();
        let patience = patience(deadline, SystemClock.now());
        if patience.is_zero() {
            // The invocation took its whole time, which is no fault of the collector.
            self.buffer.lock().unwrap_or_else(PoisonError::into_inner).dropped += count;
            return;
        }
        let body = request(self.resource.clone(), spans).encode_to_vec();
        let sent = tokio::time::timeout(patience, (self.send)(body)).await;
        match sent.unwrap_or_else(|_| Err(format!("no answer within {} ms", patience.as_millis()))) {
            Ok(answer) => report_rejected(&answer),
            Err(error) => {
                tracing::warn!(spans = count, error, "spans were not exported, and are dropped");
                let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
                buffer.paused_until = Some(Instant::now() + PAUSE);
            }
        }
    }
}

/// Returns how long an export may take.
fn patience(deadline: Option<Timestamp>, now: Timestamp) -> Duration {
    let left = deadline.map(|deadline| Duration::try_from(deadline.duration_since(now)).unwrap_or_default());
    left.map_or(PATIENCE, |left| left.saturating_sub(MARGIN).min(PATIENCE))
}

/// Returns a random id for a span.
#[must_use]
pub fn new_span() -> SpanId {
    let [high, ..] = [random::bits().to_be_bytes()].map(|bytes| bytes.first_chunk().copied().unwrap_or_default());
    SpanId::new(u64::from_be_bytes(high))
}

/// Logs that a collector accepted only some spans.
fn report_rejected(answer: &[u8]) {
    let Ok(ExportTraceServiceResponse { partial_success: Some(partial) }) = ExportTraceServiceResponse::decode(answer)
    else {
        return;
    };
    if partial.rejected_spans > 0 {
        let reason: String = partial.error_message.chars().take(MOST_CHARACTERS).collect();
        tracing::warn!(spans = partial.rejected_spans, reason, "the collector rejected spans");
    }
}

fn request(resource: Resource, spans: Vec<Wire>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope { name: "dynahook".to_owned(), ..InstrumentationScope::default() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: SCHEMA_URL.to_owned() }];
    let of_resource = ResourceSpans { resource: Some(resource), scope_spans, schema_url: SCHEMA_URL.to_owned() };
    ExportTraceServiceRequest { resource_spans: vec![of_resource] }
}

/// Describes this process, with what Lambda says about it.
fn resource(service: &str) -> Resource {
    let fixed = [
        (semantic::SERVICE_NAMESPACE, "dynahook"),
        (semantic::SERVICE_NAME, service),
        (semantic::CLOUD_PROVIDER, "aws"),
        (semantic::CLOUD_PLATFORM, "aws_lambda"),
    ];
    let of_lambda = [
        (semantic::CLOUD_REGION, "AWS_REGION"),
        (semantic::FAAS_NAME, "AWS_LAMBDA_FUNCTION_NAME"),
        (semantic::FAAS_VERSION, "AWS_LAMBDA_FUNCTION_VERSION"),
        (semantic::FAAS_INSTANCE, "AWS_LAMBDA_LOG_STREAM_NAME"),
    ];
    let of_lambda = of_lambda.into_iter().filter_map(|(name, key)| Some(Attribute::text(name, &environment(key)?)));
    let version = telemetry::version().map(|version| Attribute::text(semantic::SERVICE_VERSION, &version));
    let attributes = fixed.into_iter().map(|(name, text)| Attribute::text(name, text));
    let attributes = attributes.chain(of_lambda).chain(version).map(|attribute| attribute.0).collect();
    Resource { attributes, ..Resource::default() }
}

impl From<Span> for Wire {
    fn from(span: Span) -> Self {
        let Span { trace, id, parent, links, name, kind, start, end, attributes, failed } = span;
        let kind = match kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Producer => SpanKind::Producer,
            Kind::Consumer => SpanKind::Consumer,
        };
        let link = |(trace, span): (TraceId, SpanId)| Link {
            trace_id: trace.to_bytes().to_vec(),
            span_id: span.to_bytes().to_vec(),
            ..Link::default()
        };
        Self {
            trace_id: trace.to_bytes().to_vec(),
            span_id: id.to_bytes().to_vec(),
            parent_span_id: parent.map(|parent| parent.to_bytes().to_vec()).unwrap_or_default(),
            // Sampled, as W3C's flags say.
            flags: 1,
            name: name.into_owned(),
            kind: kind.into(),
            start_time_unix_nano: nanoseconds(start),
            end_time_unix_nano: nanoseconds(end.max(start)),
            attributes: attributes.into_iter().map(|attribute| attribute.0).collect(),
            links: links.into_iter().map(link).collect(),
            status: failed.then(|| Status { code: StatusCode::Error.into(), ..Status::default() }),
            ..Self::default()
        }
    }
}

fn nanoseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
