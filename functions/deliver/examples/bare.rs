//! What deliveries cost at least: a loop that signs and sends bodies as deliver does, and nothing else. `make bench`
//! compares deliver with it.
//!
//! `bare BYTES alone URL…` signs for each receiver with its own secret, and sends. `bare BYTES tables TENANT WEBHOOK…`
//! also makes the calls that a batch to these webhooks must make, which are three however many webhooks there are:
//!
//! 1. one read of the deliveries' rows, their webhooks and the webhooks' breakers, each of which may have changed;
//! 2. after the answers, one read of whether the webhooks' failures are counted, because an arrival ends a series of
//!    failures that other processes may have counted meanwhile;
//! 3. one write of the rows.
//!
//! The URL and the settings are those that were read. For each number that it reads from its input, the program sends
//! so many batches of ten, spread evenly over the receivers, and says when they have arrived. What deliver costs beyond
//! that is its own: taking an invocation, reading messages, deciding, the log and the metrics.
#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]
#![expect(clippy::print_stdout, reason = "this is how it says that it is done")]
#![expect(clippy::disallowed_methods, reason = "a benchmark is not a function: it reads the environment")]

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use aws::ledger::Loaded;
use aws::{Ledger, Registry};
use domain::access::tenant::TenantId;
use domain::attempt::Attempt;
use domain::attempt::outcome::Outcome;
use domain::attempt::redact::SentHeaders;
use domain::attempt::target::TargetPolicy;
use domain::delivery::message::{Body, Message};
use domain::delivery::request::{Sending, request};
use domain::delivery::{Delivery, Progress, State};
use domain::id::{EventId, WebhookId};
use domain::payload::ContentType;
use domain::signing::secret::{Fingerprint, FingerprintKey, SecretFormat, WebhookSecret};
use domain::signing::sign::Keys;
use domain::time::Clock as _;
use domain::webhook::settings::Settings;
use domain::webhook::{Audit, SecretReference, Webhook};
use futures::future::join_all;
use outbound::{Client, Request};
use runtime::SystemClock;
use serde_json::json;

const BATCH: usize = 10;

struct Tables {
    registry: Registry,
    ledger: Ledger,
    fingerprint: Fingerprint,
}

impl Tables {
    async fn connect() -> Self {
        let fingerprint = FingerprintKey::new("a key".to_owned().into()).fingerprint(&secret(0));
        let aws = aws::Aws::connect().await;
        let table = |name: &str| std::env::var(name).unwrap();
        let (registry, ledger) = (aws.registry(table("REGISTRY_TABLE")), aws.ledger(table("DELIVERIES_TABLE")));
        Self { registry, ledger, fingerprint }
    }

    /// Reads what is known of deliveries.
    async fn load(&self, messages: &[Message]) -> Loaded {
        let messages: Vec<&Message> = messages.iter().collect();
        let loaded = self.ledger.load(&self.registry, &messages, SystemClock.now()).await.unwrap();
        assert!(loaded.rows.is_empty() && loaded.breakers.is_empty(), "a delivery or its receiver failed before");
        loaded
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

fn secret(number: usize) -> WebhookSecret {
    WebhookSecret::from_random([u8::try_from(number).unwrap(); 32])
}

/// Returns the settings of webhooks that are in no table, one for each URL.
fn unread(urls: &[String]) -> Loaded {
    let webhook = |(number, url)| {
        let (id, at) = (WebhookId::from_parts(SystemClock.now(), number), SystemClock.now());
        let settings: Settings = serde_json::from_value(json!({"name": "bare", "url": url})).unwrap();
        let (vault_path, fingerprint) = (String::new(), Fingerprint::none());
        let secret =
            SecretReference { vault_path, fingerprint, format: SecretFormat::Whsec, previous: None, rotation: None };
        let (tenant, audit) = ("acme".parse().unwrap(), Audit::created(at, "bare"));
        let webhook =
            Webhook { id, tenant, app: None, settings, secret, authorization: None, notice: None, pause: None, audit };
        (id, webhook)
    };
    Loaded { webhooks: (1..).zip(urls).map(webhook).collect(), ..Loaded::default() }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (bytes, kind, receivers) = (&arguments[0], &arguments[1], &arguments[2..]);
    let (tables, tenant, webhooks, unread) = if kind == "tables" {
        let webhooks = receivers[1..].iter().map(|webhook| webhook.parse().unwrap());
        (Some(Tables::connect().await), receivers[0].parse().unwrap(), webhooks.collect(), Loaded::default())
    } else {
        let loaded = unread(receivers);
        (None, "acme".parse().unwrap(), loaded.webhooks.keys().copied().collect::<Vec<WebhookId>>(), loaded)
    };
    let secrets: HashMap<WebhookId, WebhookSecret> = webhooks.iter().copied().zip((1..).map(secret)).collect();
    let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes.parse::<usize>().unwrap() - 11));
    let policy = TargetPolicy {
        allowed: vec!["127.0.0.0/8".parse().unwrap()],
        allow_http: true,
        ports: vec!["1-65535".parse().unwrap()],
        own: Vec::new(),
    };
    let client = Client::new(policy).unwrap();
    let mut number = 0_u128;
    for line in std::io::stdin().lines() {
        for _ in 0..line.unwrap().trim().parse::<usize>().unwrap() {
            let messages = webhooks.iter().cycle().take(BATCH).map(|webhook| {
                number += 1;
                let event = EventId::from_parts(SystemClock.now(), number);
                let body = Body::Inline(body.clone());
                Message::first(event, "order.created".parse().unwrap(), *webhook, TenantId::clone(&tenant), body)
            });
            let messages: Vec<Message> = messages.collect();
            let read = match &tables {
                Some(tables) => Some(tables.load(&messages).await),
                None => None,
            };
            let loaded = read.as_ref().unwrap_or(&unread);
            let requests = messages.iter().map(|message| {
                let (settings, secret) = (&loaded.webhooks[&message.webhook].settings, &secrets[&message.webhook]);
                let request = signed(message, settings, secret, &body);
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

fn signed(message: &Message, settings: &Settings, secret: &WebhookSecret, body: &str) -> Request {
    let at = SystemClock.now();
    let sending = Sending {
        event: message.event,
        event_type: &message.event_type,
        sequence: None,
        hops: message.hops,
        traceparent: None,
        test: false,
        attempt: 1,
        content_type: ContentType::Json,
        body,
        at,
    };
    let made = request(settings, Keys { secrets: &[secret], signing_keys: &[] }, &sending);
    let (url, timeout, success) = (settings.url.clone(), Duration::from_secs(15), Vec::new());
    Request { url, headers: made.headers, authorization: None, body: made.body, timeout, success, at }
}
