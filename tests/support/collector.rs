//! A collector of traces on loopback: it takes OTLP over HTTP, as X-Ray and other collectors do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message as _;

/// A request to the collector.
#[derive(Debug, Clone)]
pub struct Export {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its bytes.
    pub body: Bytes,
}

/// A span. Ids are in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedSpan {
    /// The service that made it.
    pub service: String,
    /// Its trace.
    pub trace: String,
    /// Its id.
    pub id: String,
    /// The id of its parent; empty without one.
    pub parent: String,
    /// The traces and ids of its links.
    pub links: Vec<(String, String)>,
    /// Its name.
    pub name: String,
    /// Its kind, by its number in the protocol.
    pub kind: i32,
    /// Whether its status is an error.
    pub failed: bool,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
}

impl ReceivedSpan {
    /// Returns an attribute; empty if it is absent.
    #[must_use]
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// A collector that keeps what it receives.
#[derive(Debug)]
pub struct Collector {
    /// The URL for traces.
    pub url: String,
    exports: Arc<Mutex<Vec<Export>>>,
}

impl Collector {
    /// Starts a collector that answers each request with that status.
    pub async fn start(status: StatusCode) -> Self {
        Self::answering(Some(status)).await
    }

    /// Starts a collector that accepts requests and never answers.
    pub async fn hanging() -> Self {
        Self::answering(None).await
    }

    async fn answering(status: Option<StatusCode>) -> Self {
        let exports = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&exports);
        let app = Router::new().route(
            "/v1/traces",
            post(async move |headers: HeaderMap, body: Bytes| {
                kept.lock().unwrap().push(Export { headers, body });
                match status {
                    Some(status) => status,
                    None => std::future::pending().await,
                }
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, exports }
    }

    /// Returns the requests so far.
    #[must_use]
    pub fn exports(&self) -> Vec<Export> {
        self.exports.lock().unwrap().clone()
    }

    /// Returns the spans so far.
    #[must_use]
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        self.exports().iter().flat_map(|export| spans(&export.body)).collect()
    }
}

fn spans(body: &[u8]) -> Vec<ReceivedSpan> {
    let mut all = Vec::new();
    for of_resource in ExportTraceServiceRequest::decode(body).expect("OTLP").resource_spans {
        let resource = texts(of_resource.resource.expect("a resource").attributes);
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            all.push(ReceivedSpan {
                service: resource["service.name"].clone(),
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
                name: span.name,
                kind: span.kind,
                failed: span.status.is_some_and(|status| status.code == 2),
                attributes: texts(span.attributes),
            });
        }
    }
    all
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<AnyValue>| match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.into_iter().map(|attribute| (attribute.key, text(attribute.value))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
