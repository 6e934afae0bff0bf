//! How calls reach the cloud: over an SDK transport without a network, or over HTTP.

use std::collections::HashMap;
use std::sync::Arc;

use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::{Cloud, FaultScript, Line};

/// The header in which Lambda counts the invocations of a chain of requests.
const TRACE: &str = "x-amzn-trace-id";

impl Line {
    /// Returns clients that use this line.
    pub async fn aws(&self) -> aws::Aws {
        let config = aws_config::from_env()
            .http_client(self.clone())
            .region("us-east-1")
            .credentials_provider(Credentials::new("test", "test", None, None, "test"));
        aws::Aws::over(config, SharedHttpConnector::new(self.clone())).await
    }
}

impl HttpClient for Line {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Line {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let line = self.clone();
        HttpConnectorFuture::new(async move {
            let target = request.headers().get("x-amz-target").expect("a JSON protocol").to_owned();
            let trace = request.headers().get(TRACE).map(str::to_owned);
            let body = request.body().bytes().expect("a body that is there").to_vec();
            let reply = Line::call(&line, &target, &body, trace.as_deref()).await;
            let status = reply.status.try_into().expect("a status");
            Ok(HttpResponse::new(status, SdkBody::from(reply.body)))
        })
    }
}

impl Cloud {
    /// Starts to listen on loopback, with faults from `fault_script`; returns the URL.
    pub async fn listen(self: &Arc<Self>, fault_script: FaultScript) -> String {
        let app = Router::new().fallback(answer).with_state(self.line(fault_script));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    }
}

async fn answer(State(line): State<Line>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").unwrap().to_str().unwrap();
    let trace = headers.get(TRACE).map(|value| value.to_str().unwrap());
    let reply = line.call(target, &body, trace).await;
    let content_type = [("content-type", "application/x-amz-json-1.0")];
    (StatusCode::from_u16(reply.status).unwrap(), content_type, reply.body).into_response()
}

/// Returns the environment with which deliver and sweep call the cloud at that URL.
#[must_use]
pub fn delivery_environment(url: &str) -> HashMap<String, String> {
    let queue = |name: &str| format!("{url}/000000000000/{name}");
    let all = [
        ("AWS_ENDPOINT_URL", url.to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_LAMBDA_FUNCTION_NAME", "deliver".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("RUST_LOG", "error".to_owned()),
        ("REGISTRY_TABLE", "registry".to_owned()),
        ("EVENTS_TABLE", "events".to_owned()),
        ("DELIVERIES_TABLE", "deliveries".to_owned()),
        ("RETRIES_QUEUE_URL", queue("retries")),
        ("SLOW_QUEUE_URL", queue("slow")),
        ("EXHAUSTED_QUEUE_URL", queue("exhausted")),
        ("DEAD_LETTER_QUEUE_URL", queue("dead-letters")),
        ("FINGERPRINT_KEY_ARN", "/test/fingerprint-key".to_owned()),
        ("DELIVERED_RETENTION_DAYS", "15".to_owned()),
        ("TARGET_ALLOWED_CIDRS", "127.0.0.0/8".to_owned()),
        ("TARGET_ALLOW_HTTP", "true".to_owned()),
        ("TARGET_ALLOWED_PORTS", "1-65535".to_owned()),
        ("MIMALLOC_PURGE_DELAY", "1".to_owned()),
    ];
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
