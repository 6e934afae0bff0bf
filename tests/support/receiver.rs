//! A receiver on loopback whose responses the test chooses.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

/// How a receiver answers a request.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// With this status.
    Status(u16),
    /// With 200 and this JSON.
    Json(&'static str),
    /// With this status and this text.
    Text(u16, &'static str),
    /// With a redirect to this URL.
    Redirect(&'static str),
    /// With this status, after a delay.
    After(Duration, u16),
    /// Not at all.
    Hang,
}

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, unchanged.
    pub body: Bytes,
    /// When it arrived.
    pub at: Instant,
}

/// A receiver that keeps all requests.
#[derive(Debug)]
pub struct Receiver {
    /// Its URL.
    pub url: String,
    received: Arc<Mutex<Vec<Received>>>,
    under_way: Arc<AtomicUsize>,
}

impl Received {
    /// Returns the value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header {name}")).to_str().unwrap()
    }

    /// Returns the body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Checks the signature with the official library.
    pub fn verify(&self, secret: &str) {
        standardwebhooks::Webhook::new(secret).unwrap().verify(&self.body, &self.headers).expect("a valid signature");
    }
}

impl Receiver {
    /// Starts a receiver that answers the request with number `n`, from 0, with `answer(n)`.
    pub async fn start(answer: impl Fn(usize) -> Answer + Clone + Send + Sync + 'static) -> Self {
        let received = Arc::new(Mutex::new(Vec::new()));
        let under_way = Arc::new(AtomicUsize::new(0));
        let (shared, count) = (Arc::clone(&received), Arc::clone(&under_way));
        let app = Router::new().fallback(async move |headers: HeaderMap, body: Bytes| {
            let number = {
                let mut received = shared.lock().unwrap();
                received.push(Received { headers, body, at: Instant::now() });
                received.len() - 1
            };
            count.fetch_add(1, Ordering::Relaxed);
            let response = respond(answer(number)).await;
            count.fetch_sub(1, Ordering::Relaxed);
            response
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, received, under_way }
    }

    /// Starts a receiver that accepts everything.
    pub async fn accepting() -> Self {
        Self::start(|_| Answer::Status(204)).await
    }

    /// Returns the requests that have arrived so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Returns the counter of requests that wait for a response; it is updated while the receiver runs.
    #[must_use]
    pub fn under_way(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.under_way)
    }

    /// Waits until that many requests have arrived.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        crate::eventually(&format!("{count} requests"), async || Some(self.received()).filter(|r| r.len() >= count))
            .await
    }
}

async fn respond(answer: Answer) -> Response {
    match answer {
        Answer::Status(status) => (StatusCode::from_u16(status).unwrap(), "noted").into_response(),
        Answer::Json(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Answer::Text(status, text) => (StatusCode::from_u16(status).unwrap(), text).into_response(),
        Answer::Redirect(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        Answer::After(wait, status) => {
            tokio::time::sleep(wait).await;
            StatusCode::from_u16(status).unwrap().into_response()
        }
        Answer::Hang => {
            tokio::time::sleep(Duration::from_hours(1)).await;
            StatusCode::OK.into_response()
        }
    }
}
