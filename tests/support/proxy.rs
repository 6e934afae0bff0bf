//! A way to AWS that counts who passes.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

/// Forwards every call to the emulator, and remembers its name.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub url: String,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Lets everything pass.
    pub async fn start() -> Self {
        Self::refusing("").await
    }

    /// Lets everything pass but calls of that name: DynamoDB does not know them then.
    pub async fn refusing(refused: &'static str) -> Self {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&calls);
        let (target, http) = (crate::stack::variable("AWS_ENDPOINT_URL"), reqwest::Client::new());
        let forward = async move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| -> Response {
            let call = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or("?");
            let call = call.rsplit('.').next().unwrap_or(call).to_owned();
            shared.lock().unwrap().push(call.clone());
            if call == refused {
                return (StatusCode::BAD_REQUEST, r#"{"__type": "UnknownOperationException"}"#).into_response();
            }
            let answer =
                http.request(method, format!("{target}{uri}")).headers(headers).body(body).send().await.unwrap();
            let status = StatusCode::from_u16(answer.status().as_u16()).unwrap();
            let headers = answer.headers().clone();
            (status, headers, answer.bytes().await.unwrap()).into_response()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(forward)).await });
        Self { url, calls }
    }

    /// Returns the names of the calls since it was asked last.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}
