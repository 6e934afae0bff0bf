//! The environment of deliveries under load: a cloud in memory, and receivers on loopback.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use domain::delivery::message::{Body, MAX_INLINE_BYTES, Message};
use domain::id::{EventId, WebhookId};
use domain::source::Source;
use domain::time::Clock;
use domain::webhook::Webhook;
use jiff::Timestamp;
use serde_json::{Value, json};
use tests::cloud::{Cloud, FaultScript, Faults, Letter, sqs_event};
use tests::{Hooks, now};

pub(crate) const BATCH: usize = 10;
pub(crate) const TENANT: &str = "acme";

/// The wall clock.
struct Wall;

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        now()
    }
}

/// The requests that arrived: by webhook and event, when the first one arrived and how many there were.
pub(crate) type Arrivals = Mutex<HashMap<(String, String), (Instant, u32)>>;

pub(crate) struct Fixture {
    pub(crate) cloud: Arc<Cloud>,
    pub(crate) cloud_url: String,
    pub(crate) hooks: Hooks,
    pub(crate) arrivals: Arc<Arrivals>,
    registry: aws::Registry,
    bodies: aws::Bodies,
    port: u16,
    number: AtomicU64,
}

/// Answers a request by the kind in its path: `slow` after 200 ms, `hang` never, `fails` with an error one time in
/// twenty, all others at once. A request for a token is never answered.
async fn receive(
    State(arrivals): State<Arc<Arrivals>>,
    Path((kind, webhook)): Path<(String, String)>,
    headers: HeaderMap,
) -> StatusCode {
    let Some(event) = headers.get("webhook-id") else { return std::future::pending().await };
    let event = event.to_str().unwrap().to_owned();
    let count = {
        let mut arrivals = arrivals.lock().unwrap();
        let (_, count) = arrivals.entry((webhook, event.clone())).or_insert((Instant::now(), 0));
        *count += 1;
        *count
    };
    match &*kind {
        "slow" => tokio::time::sleep(Duration::from_millis(200)).await,
        "hang" => std::future::pending().await,
        // The event ids determine which ones fail, so that a run can be repeated. Repeated requests fail equally often.
        "fails"
            if event.bytes().fold(count, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())) % 20 == 0 =>
        {
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        _ => {}
    }
    StatusCode::NO_CONTENT
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::start_with(Arc::new(|_: &str, _: usize| Faults::default())).await
    }

    /// Starts with a cloud whose calls have the faults of `fault_script`.
    pub(crate) async fn start_with(fault_script: FaultScript) -> Self {
        let cloud = Cloud::new(Arc::new(Wall));
        let calm = Arc::new(|_: &str, _: usize| Faults::default());
        let cloud_url = cloud.listen(fault_script).await;
        let hooks = Hooks::new(&cloud).await;
        let aws = cloud.line(calm).aws().await;
        let (registry, bodies) = (aws.registry("registry".to_owned()), aws.bodies("events".to_owned()));
        let arrivals = Arc::new(Arrivals::default());
        let app = Router::new().route("/{kind}/{webhook}", post(receive)).with_state(Arc::clone(&arrivals));
        let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { cloud, cloud_url, hooks, arrivals, registry, bodies, port, number: AtomicU64::new(0) }
    }

    /// Returns the URL of a receiver. Each receiver has its own host.
    pub(crate) fn url(&self, host: u64, kind: &str) -> String {
        let kind = if kind.is_empty() { "fast" } else { kind };
        format!("http://127.0.0.{}:{}/{kind}/{host}", host % 250 + 1, self.port)
    }

    /// Registers a table.
    pub(crate) async fn register(&self, source: &Source) {
        self.registry.create_source(source).await.unwrap();
    }

    /// Registers webhooks whose receivers are of that kind.
    pub(crate) async fn webhooks(&self, count: usize, settings: Value, kind: &str) -> Vec<Webhook> {
        self.webhooks_of(TENANT, count, |_| settings.clone(), kind).await
    }

    /// Registers webhooks of a tenant, each with the settings for its index.
    pub(crate) async fn webhooks_of(
        &self,
        tenant: &str,
        count: usize,
        settings: impl Fn(usize) -> Value,
        kind: &str,
    ) -> Vec<Webhook> {
        let mut webhooks = Vec::new();
        for index in 0..count {
            let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
            let mut settings = settings(index);
            settings["url"] = json!(self.url(number, kind));
            webhooks.push(self.hooks.create(tenant, number.into(), settings).await);
        }
        webhooks
    }

    /// Returns a first message with a body of that size.
    pub(crate) async fn message(&self, webhook: WebhookId, bytes: usize) -> Message {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let event = EventId::from_parts(now(), number.into());
        let body = text(number, bytes);
        let body = if bytes > MAX_INLINE_BYTES {
            self.bodies.carry(&event.to_string(), &body, MAX_INLINE_BYTES, now()).await.unwrap()
        } else {
            Body::Inline(body)
        };
        Message::first(event, "order.created".parse().unwrap(), webhook, TENANT.parse().unwrap(), body)
    }

    /// Returns a batch of first messages, spread evenly over the webhooks.
    pub(crate) async fn batch(&self, webhooks: &[Webhook], size: usize, bytes: usize) -> Value {
        let mut letters = Vec::new();
        for (id, webhook) in (1..).zip(webhooks.iter().cycle().take(size)) {
            let message = self.message(webhook.id, bytes).await;
            let (body, due) = (message.to_json(), now());
            letters.push(Letter { id, body, message: None, due, receives: 1, group: None, cause: None, trace: None });
        }
        sqs_event(&letters)
    }
}

/// Returns a JSON text of that size that compresses badly.
fn text(seed: u64, bytes: usize) -> String {
    let mut state = seed;
    let digits = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + u8::try_from((state >> 33) % 64).unwrap())
    });
    let text: String = digits.filter(|c| *c != '\\').take(bytes.saturating_sub(11)).collect();
    format!(r#"{{"text":"{text}"}}"#)
}
