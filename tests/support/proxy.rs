//! A proxy in front of the emulator that records calls and can cut them.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::sync::Notify;

/// How a call is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The call is not made, and never returns: the test kills the caller.
    Before,
    /// The call is made, but never returns.
    After,
    /// The call is throttled.
    Throttle,
}

/// Forwards every call to the emulator, and records its name.
#[derive(Debug)]
pub struct Proxy {
    /// Its URL.
    pub url: String,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    calls: Mutex<Vec<String>>,
    /// The name of the next call to cut, and how. A throttle applies to all later calls of that name until another cut
    /// is set.
    cut: Mutex<Option<(String, Cut)>>,
    met: Notify,
}

impl Proxy {
    /// Starts a proxy that forwards everything.
    pub async fn start() -> Self {
        Self::refusing("").await
    }

    /// Starts a proxy that forwards everything except calls of that name, which it answers like a DynamoDB that does
    /// not know the operation.
    pub async fn refusing(refused: &'static str) -> Self {
        let shared = Arc::new(Shared::default());
        let state = Arc::clone(&shared);
        let (target, http) = (crate::environment::variable("AWS_ENDPOINT_URL"), reqwest::Client::new());
        let forward = async move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| -> Response {
            let call = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or("?");
            let call = call.rsplit('.').next().unwrap_or(call).to_owned();
            state.calls.lock().unwrap().push(call.clone());
            if call == refused {
                return (StatusCode::BAD_REQUEST, r#"{"__type": "UnknownOperationException"}"#).into_response();
            }
            let cut = state.cut(&call);
            match cut {
                Some(Cut::Before) => return state.hang().await,
                Some(Cut::Throttle) => return throttled(),
                Some(Cut::After) | None => {}
            }
            let answer =
                http.request(method, format!("{target}{uri}")).headers(headers).body(body).send().await.unwrap();
            let status = StatusCode::from_u16(answer.status().as_u16()).unwrap();
            let headers = answer.headers().clone();
            let body = answer.bytes().await.unwrap();
            if cut.is_some() {
                return state.hang().await;
            }
            (status, headers, body).into_response()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(forward)).await });
        Self { url, shared }
    }

    /// Returns the names of the calls since the last call of this function.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.calls.lock().unwrap())
    }

    /// Cuts the next call of that name.
    pub fn cut(&self, call: &str, cut: Cut) {
        *self.shared.cut.lock().unwrap() = Some((call.to_owned(), cut));
    }

    /// Forwards everything again.
    pub fn mend(&self) {
        *self.shared.cut.lock().unwrap() = None;
    }

    /// Waits until the call has been cut.
    pub async fn was_cut(&self) {
        tokio::time::timeout(std::time::Duration::from_secs(30), self.shared.met.notified()).await.expect("the call");
    }
}

impl Shared {
    fn cut(&self, call: &str) -> Option<Cut> {
        let mut cut = self.cut.lock().unwrap();
        let (_, what) = cut.as_ref().filter(|(name, _)| name == call)?;
        let what = *what;
        if what != Cut::Throttle {
            *cut = None;
        }
        Some(what)
    }

    async fn hang(&self) -> Response {
        self.met.notify_one();
        std::future::pending().await
    }
}

fn throttled() -> Response {
    (StatusCode::BAD_REQUEST, r#"{"__type": "ThrottlingException", "message": "slow down"}"#).into_response()
}
