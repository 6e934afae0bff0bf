//! Open breakers: deliveries wait until a probe succeeds or a caller closes the breaker.

use std::sync::atomic::Ordering;

use reqwest::Method;
use rstest::rstest;
use serde_json::json;
use tests::{Function, Stack, eventually, path};

use super::{breaker, down, eager, states, time_passes, wait_for_states};

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn deliveries_wait_while_a_receiver_is_down_and_go_when_a_probe_arrives() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (receiver, up) = down().await;
    let webhook = tenant.webhook(&receiver.url, eager()).await;
    for item in 0..12 {
        tenant.put(&format!("i{item}"), &[]).await;
    }
    wait_for_states(&tenant, &webhook, 12, "parked").await;
    assert_eq!(breaker(&stack, &webhook).await.unwrap(), "open");
    let tried = receiver.received().len();
    tenant.put("late", &[]).await;
    wait_for_states(&tenant, &webhook, 13, "parked").await;
    assert_eq!(receiver.received().len(), tried, "it gets no request");

    // A probe that fails: one request, and all wait on.
    time_passes(&stack, &webhook).await;
    receiver.wait_for(tried + 1).await;
    wait_for_states(&tenant, &webhook, 13, "parked").await;
    assert_eq!((receiver.received().len(), breaker(&stack, &webhook).await.unwrap()), (tried + 1, "open".to_owned()));

    up.store(true, Ordering::Relaxed);
    time_passes(&stack, &webhook).await;
    eventually("a breaker that is closed", async || (breaker(&stack, &webhook).await? != "open").then_some(())).await;
    Function::start(&stack, "SweepFunction", &[]).await.invoke(json!({})).await;
    wait_for_states(&tenant, &webhook, 13, "delivered").await;
    let arrived: Vec<_> = receiver.received().split_off(tried + 1);
    assert_eq!(arrived.len(), 13, "each once");
}

/// A caller who knows that the receiver is up again need not wait for the next probe.
#[rstest]
#[case::resume("/resume")]
#[case::test("/test")]
#[case::redeliver("/deliveries/{}/redeliver")]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_open_breaker_closes_on_request(#[case] action: &str) {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (receiver, up) = down().await;
    let webhook = tenant.webhook(&receiver.url, eager()).await;
    for item in 0..12 {
        tenant.put(&format!("i{item}"), &[]).await;
    }
    wait_for_states(&tenant, &webhook, 12, "parked").await;
    up.store(true, Ordering::Relaxed);
    let parked = tenant.deliveries(&webhook).await.remove(0);
    let action = action.replace("{}", parked["id"].as_str().unwrap());
    let (status, answer) = tenant.call(Method::POST, &path(&webhook, &action), None).await;
    assert!(status.is_success(), "{answer}");
    eventually("a breaker that is closed", async || (breaker(&stack, &webhook).await? != "open").then_some(())).await;
    let (_, shown) = tenant.call(Method::GET, &path(&webhook, ""), None).await;
    assert_eq!(shown["consecutive_failures"], 0, "the next failure must not open it again");
    Function::start(&stack, "SweepFunction", &[]).await.invoke(json!({})).await;
    eventually("deliveries that arrive", async || {
        let states = states(&tenant, &webhook).await;
        (states.len() >= 12 && states.iter().all(|state| state == "delivered")).then_some(())
    })
    .await;
}
