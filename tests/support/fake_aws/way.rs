//! A transport to the imitation without a network, so that fan-out runs in the test's own process and a call can panic.

use std::fmt;
use std::sync::Arc;

use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::{FakeAws, answer};

/// Receives the operation and the body of each call before it is made; may panic.
pub type Trap = Arc<dyn Fn(&str, &str) + Send + Sync>;

#[derive(Clone)]
struct Way {
    fake: Arc<FakeAws>,
    trap: Trap,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Way")
    }
}

impl FakeAws {
    /// Returns clients that call the imitation directly.
    pub async fn aws(self: &Arc<Self>, trap: Trap) -> aws::Aws {
        let config = aws_config::from_env()
            .http_client(Way { fake: Arc::clone(self), trap })
            .region("us-east-1")
            .credentials_provider(Credentials::new("test", "test", None, None, "test"));
        aws::Aws::load(config).await
    }
}

impl HttpClient for Way {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Way {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let way = self.clone();
        HttpConnectorFuture::new(async move {
            let target = request.headers().get("x-amz-target").expect("a JSON protocol").to_owned();
            let body = request.body().bytes().expect("a body that is there").to_vec();
            let (_, operation) = target.split_once('.').expect("a target names a service and an operation");
            (way.trap)(operation, std::str::from_utf8(&body).expect("JSON"));
            let target = HeaderValue::from_str(&target).expect("a header");
            let headers = HeaderMap::from_iter([(HeaderName::from_static("x-amz-target"), target)]);
            let response = answer(State(way.fake), headers, Bytes::from(body)).await;
            let status = response.status().as_u16().try_into().expect("a status");
            let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
            Ok(HttpResponse::new(status, SdkBody::from(body)))
        })
    }
}
