//! A way to AWS that counts who passes, and where a call can be cut.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::sync::Notify;

/// What happens to a call instead of passing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// It is not made, and no answer ever comes: the test kills the caller.
    Before,
    /// It is made, and no answer ever comes.
    After,
    /// It is throttled.
    Throttle,
}

/// Forwards every call to the emulator, and remembers its name.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub url: String,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    calls: Mutex<Vec<String>>,
    /// The next call of that name is cut; a throttled one stays so until another cut is set.
    cut: Mutex<Option<(String, Cut)>>,
    met: Notify,
}

impl Proxy {
    /// Lets everything pass.
    pub async fn start() -> Self {
        Self::refusing("").await
    }

    /// Lets everything pass but calls of that name: DynamoDB does not know them then.
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

    /// Returns the names of the calls since it was asked last.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.calls.lock().unwrap())
    }

    /// Cuts the next call of that name.
    pub fn cut(&self, call: &str, cut: Cut) {
        *self.shared.cut.lock().unwrap() = Some((call.to_owned(), cut));
    }

    /// Lets everything pass again.
    pub fn mend(&self) {
        *self.shared.cut.lock().unwrap() = None;
    }

    /// Waits until the call that should be cut has come.
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
