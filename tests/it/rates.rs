//! Counters that all processes share.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use aws::registry::Rates;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::access::rate::{Rate, RateKey};
use tests::{Cut, Proxy, Stack, unique};

fn rate(limit: u32, window_seconds: u32) -> Rate {
    let [limit, window_seconds] = [limit, window_seconds].map(|number| NonZeroU32::new(number).unwrap());
    Rate { limit, window_seconds }
}

/// A process with its own memory, whose calls go through a proxy.
async fn process(stack: &Stack, proxy: &Proxy) -> Rates {
    let aws = aws::Aws::load(aws_config::from_env().endpoint_url(&proxy.url)).await;
    Rates::new(aws.registry(stack.output("RegistryTable").to_owned()))
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn processes_share_a_limit_and_refusals_cost_no_call() {
    let (stack, proxy) = (Stack::connect().await, Proxy::start().await);
    let processes = [process(&stack, &proxy).await, process(&stack, &proxy).await, process(&stack, &proxy).await];
    let (rate, now) = (rate(5, 3600), tests::now());
    let (key, other) = (RateKey::new("test", &[&unique("tenant")]), RateKey::new("test", &[&unique("tenant")]));
    let mut allowed = 0;
    for _ in 0..10 {
        for process in &processes {
            allowed += usize::from(process.take(&key, rate, now).await.is_ok());
        }
    }
    assert_eq!(allowed, 5, "over all processes");
    let calls = proxy.calls();
    assert!(calls.len() <= 5 + processes.len(), "{calls:?}");
    assert!(processes[0].take(&other, rate, now).await.is_ok(), "another key has a counter of its own");

    let window = rate.window(now);
    let row = stack.dynamodb.get_item().table_name(stack.output("RegistryTable"));
    let row = row
        .key("pk", AttributeValue::S(key.as_str().to_owned()))
        .key("sk", AttributeValue::S(window.start.to_string()));
    let row = row.consistent_read(true).send().await.unwrap().item.unwrap();
    let expires_at: i64 = row["expires_at"].as_n().unwrap().parse().unwrap();
    assert!((window.end..window.end + 3600).contains(&expires_at), "a counter is deleted after its window");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn what_cannot_be_counted_is_allowed_soon() {
    let (stack, proxy) = (Stack::connect().await, Proxy::start().await);
    let process = process(&stack, &proxy).await;
    let (key, rate, now) = (RateKey::new("test", &[&unique("tenant")]), rate(1, 3600), tests::now());
    proxy.cut("UpdateItem", Cut::Before);
    let began = Instant::now();
    assert!(process.take(&key, rate, now).await.is_ok());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let _ = proxy.calls();
    for _ in 0..5 {
        assert!(process.take(&key, rate, now).await.is_ok());
    }
    assert_eq!(proxy.calls(), [""; 0], "after a failure nothing is counted for a second");
    proxy.mend();
    let later = now + Duration::from_secs(1);
    assert!(process.take(&key, rate, later).await.is_ok());
    assert!(process.take(&key, rate, later).await.is_err());
}
