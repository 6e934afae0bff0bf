//! What a delivery costs at least: signs and sends bodies, as deliver does, and does nothing else. `make bench` compares with it.
//!
//! Takes a URL and a size in bytes; for each number that it reads it sends so many batches of ten, and says when they have arrived.
//! With a tenant and a webhook too it makes the calls of a batch as well: what is known of its deliveries is read, and whether
//! failures are counted, and that they arrived is written. What deliver costs beyond that is its own.
#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]
#![expect(clippy::print_stdout, reason = "this is how it says that it is done")]
#![expect(clippy::disallowed_methods, reason = "a benchmark is not a function: it reads the environment")]

use std::collections::BTreeSet;
use std::time::Duration;

use aws::{Ledger, Registry};
use domain::attempt::Attempt;
use domain::attempt::outcome::Outcome;
use domain::attempt::redact::SentHeaders;
use domain::attempt::target::TargetPolicy;
use domain::delivery::message::{Body, Message};
use domain::delivery::request::{Sending, request};
use domain::delivery::{Delivery, Progress, State};
use domain::id::{EventId, WebhookId};
use domain::payload::ContentType;
use domain::signing::secret::{Fingerprint, FingerprintKey, WebhookSecret};
use domain::signing::sign::Keys;
use domain::time::Clock as _;
use domain::webhook::settings::Settings;
use futures::future::join_all;
use outbound::{Client, Request};
use runtime::SystemClock;

const BATCH: usize = 10;

struct Tables {
    registry: Registry,
    ledger: Ledger,
    fingerprint: Fingerprint,
}

impl Tables {
    async fn connect(secret: &WebhookSecret) -> Self {
        let fingerprint = FingerprintKey::new("a key".to_owned().into()).fingerprint(secret);
        let aws = aws::Aws::connect().await;
        let table = |name: &str| std::env::var(name).unwrap();
        let (registry, ledger) = (aws.registry(table("REGISTRY_TABLE")), aws.ledger(table("DELIVERIES_TABLE")));
        Self { registry, ledger, fingerprint }
    }

    /// Reads whether failures are counted, and writes that messages arrived.
    async fn record(&self, messages: Vec<Message>, outcomes: Vec<Outcome>) {
        let at = SystemClock.now();
        let rows = messages.into_iter().zip(outcomes).map(|(message, outcome)| {
            let (secret_fingerprint, request_headers) = (self.fingerprint.clone(), SentHeaders::default());
            let attempt = Attempt { cycle: 0, number: 1, at, outcome, secret_fingerprint, request_headers, url: None };
            let progress = Progress { state: State::Delivered, cycle: 0, attempt: 1, next_at: None };
            Delivery { attempts: vec![attempt], ..Delivery::first(message, progress) }
        });
        let rows: Vec<Delivery> = rows.collect();
        let webhooks: BTreeSet<WebhookId> = rows.iter().map(|row| row.webhook).collect();
        let statistics = self.registry.statistics(webhooks.into_iter()).await.unwrap();
        let is_later = |webhook| statistics.get(&webhook).is_none_or(|statistics| !statistics.is_failing());
        self.ledger.record_delivered(&rows, is_later, at).await.unwrap();
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (url, bytes) = (&arguments[0], &arguments[1]);
    let secret = WebhookSecret::from_random([7; 32]);
    let tables = if arguments.len() > 2 { Some(Tables::connect(&secret).await) } else { None };
    let tenant = arguments.get(2).map_or("acme", String::as_str).parse().unwrap();
    let webhook = arguments.get(3).map_or("whk_00000000000000000000000001", String::as_str).parse().unwrap();
    let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes.parse::<usize>().unwrap() - 11));
    let policy = TargetPolicy {
        allowed: vec!["127.0.0.0/8".parse().unwrap()],
        allow_http: true,
        ports: vec!["1-65535".parse().unwrap()],
        own: Vec::new(),
    };
    let client = Client::new(policy).unwrap();
    let settings: Settings = serde_json::from_value(serde_json::json!({"name": "bare", "url": url})).unwrap();
    let mut number = 0_u128;
    for line in std::io::stdin().lines() {
        for _ in 0..line.unwrap().trim().parse::<usize>().unwrap() {
            let messages = (0..BATCH).map(|_| {
                number += 1;
                let event = EventId::from_parts(SystemClock.now(), number);
                let body = Body::Inline(body.clone());
                Message::first(event, "order.created".parse().unwrap(), webhook, Clone::clone(&tenant), body)
            });
            let messages: Vec<Message> = messages.collect();
            if let Some(Tables { registry, ledger, .. }) = &tables {
                let loaded =
                    ledger.load(registry, &messages.iter().collect::<Vec<_>>(), SystemClock.now()).await.unwrap();
                assert_eq!(loaded.webhooks.len(), 1);
            }
            let requests = messages.iter().map(|message| {
                let at = SystemClock.now();
                let (event, event_type, content_type) = (message.event, &message.event_type, ContentType::Json);
                let hops = message.hops;
                let sending = Sending {
                    event,
                    event_type,
                    sequence: None,
                    hops,
                    traceparent: None,
                    test: false,
                    attempt: 1,
                    content_type,
                    body: &body,
                    at,
                };
                let made = request(&settings, Keys { secrets: &[&secret], signing_keys: &[] }, &sending);
                let (url, timeout, success) = (url.clone(), Duration::from_secs(15), Vec::new());
                let (headers, authorization, body) = (made.headers, None, made.body);
                let request = Request { url, headers, authorization, body, timeout, success, at };
                async { client.post(request, client.place(&settings.url).await).await }
            });
            let outcomes = join_all(requests).await;
            assert!(outcomes.iter().all(|outcome| outcome.status == Some(204)), "{outcomes:?}");
            if let Some(tables) = &tables {
                tables.record(messages, outcomes).await;
            }
        }
        println!("done");
    }
}
