//! What a delivery costs at least: signs and sends bodies, as deliver does, and does nothing else. `make bench` compares with it.
//!
//! Takes a URL and a size in bytes; for each number that it reads it sends so many batches of ten, and says when they have arrived.
#![expect(clippy::unwrap_used, reason = "a benchmark may end at what must not be")]
#![expect(clippy::print_stdout, reason = "this is how it says that it is done")]

use std::time::Duration;

use domain::secret::WebhookSecret;
use domain::signature::{SignatureScheme, sign};
use domain::target::TargetPolicy;
use domain::time::Clock as _;
use futures::future::join_all;
use outbound::{Client, Request};
use runtime::SystemClock;

const BATCH: usize = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let [url, bytes] = <[String; 2]>::try_from(std::env::args().skip(1).collect::<Vec<_>>()).unwrap();
    let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes.parse::<usize>().unwrap() - 11));
    let policy = TargetPolicy { allowed: vec!["127.0.0.0/8".parse().unwrap()], allow_http: true };
    let client = Client::new(policy).unwrap();
    let secret = WebhookSecret::from_random([7; 32]);
    let mut number = 0;
    for line in std::io::stdin().lines() {
        for _ in 0..line.unwrap().trim().parse::<usize>().unwrap() {
            let requests = (0..BATCH).map(|_| {
                number += 1;
                let (id, now) = (format!("evt_{number:026}"), SystemClock.now());
                let headers = sign(SignatureScheme::StandardWebhooks, &[&secret], &id, now, body.as_bytes());
                let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                let (url, body, timeout) = (url.clone(), body.clone(), Duration::from_secs(15));
                client.post(Request { url, headers, content_type: "application/json", body, timeout })
            });
            let outcomes = join_all(requests).await;
            assert!(outcomes.iter().all(|outcome| outcome.status == Some(204)), "{outcomes:?}");
        }
        println!("done");
    }
}
