//! What a delivery costs at least: signs and sends bodies, as deliver does, and does nothing else. `make bench` compares with it.
//!
//! Takes a URL and a size in bytes; for each number that it reads it sends so many batches of ten, and says when they have arrived.
#![expect(clippy::unwrap_used, reason = "a benchmark may end at what must not be")]
#![expect(clippy::print_stdout, reason = "this is how it says that it is done")]

use std::time::Duration;

use domain::event::EventType;
use domain::id::EventId;
use domain::payload::ContentType;
use domain::request::{Sending, request};
use domain::secret::WebhookSecret;
use domain::signature::Keys;
use domain::target::TargetPolicy;
use domain::time::Clock as _;
use domain::webhook::Settings;
use futures::future::join_all;
use outbound::{Client, Request};
use runtime::SystemClock;

const BATCH: usize = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let [url, bytes] = <[String; 2]>::try_from(std::env::args().skip(1).collect::<Vec<_>>()).unwrap();
    let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes.parse::<usize>().unwrap() - 11));
    let policy = TargetPolicy {
        allowed: vec!["127.0.0.0/8".parse().unwrap()],
        allow_http: true,
        ports: vec!["1-65535".parse().unwrap()],
    };
    let client = Client::new(policy).unwrap();
    let secret = WebhookSecret::from_random([7; 32]);
    let settings: Settings = serde_json::from_value(serde_json::json!({"name": "bare", "url": url})).unwrap();
    let event_type: EventType = "order.created".parse().unwrap();
    let mut number = 0_u128;
    for line in std::io::stdin().lines() {
        for _ in 0..line.unwrap().trim().parse::<usize>().unwrap() {
            let requests = (0..BATCH).map(|_| {
                number += 1;
                let at = SystemClock.now();
                let event = EventId::from_parts(at, number);
                let (event_type, content_type) = (&event_type, ContentType::Json);
                let sending = Sending { event, event_type, sequence: None, attempt: 1, content_type, body: &body, at };
                let made = request(&settings, Keys { secrets: &[&secret], signing_keys: &[] }, &sending);
                let (url, timeout, success) = (url.clone(), Duration::from_secs(15), Vec::new());
                let (headers, authorization, body) = (made.headers, None, made.body);
                let request = Request { url, headers, authorization, body, timeout, success, at };
                async { client.post(request, client.place(&settings.url).await).await }
            });
            let outcomes = join_all(requests).await;
            assert!(outcomes.iter().all(|outcome| outcome.status == Some(204)), "{outcomes:?}");
        }
        println!("done");
    }
}
