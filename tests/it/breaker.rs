//! Receivers that are down: their deliveries wait, one tries, and then all go.

mod limits;
mod open;
mod pauses;
mod slow;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tests::{Answer, Function, Receiver, Stack, Tenant, eventually};

/// A receiver that answers 500 until the flag is set.
pub(crate) async fn down() -> (Receiver, Arc<AtomicBool>) {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let answer = move |_| Answer::Status(if is_up.load(Ordering::Relaxed) { 204 } else { 500 });
    (Receiver::start(answer).await, up)
}

/// Attempts that follow one another at once, and as many as there can be.
pub(crate) fn eager() -> Value {
    json!({"retry_policy": {"maxAttempts": 25, "baseMs": 100, "capMs": 1000, "timeoutMs": 1000}})
}

fn key(webhook: &Value) -> [(&'static str, AttributeValue); 2] {
    let pk = format!("W#{}", webhook["id"].as_str().unwrap());
    [("pk", AttributeValue::S(pk)), ("sk", AttributeValue::S("BREAKER".to_owned()))]
}

async fn breaker_row(stack: &Stack, webhook: &Value) -> Option<HashMap<String, AttributeValue>> {
    let [pk, sk] = key(webhook);
    let get = stack.dynamodb.get_item().table_name(stack.output("DeliveriesTable")).key(pk.0, pk.1).key(sk.0, sk.1);
    get.consistent_read(true).send().await.unwrap().item
}

pub(crate) async fn breaker(stack: &Stack, webhook: &Value) -> Option<String> {
    Some(breaker_row(stack, webhook).await?["breaker_state"].as_s().unwrap().clone())
}

/// Lets the time come at which a breaker is probed, or looked at; then lets the sweep look.
pub(crate) async fn time_passes(stack: &Stack, webhook: &Value) {
    time_passes_until(stack, webhook).await;
    Function::start(stack, "SweepFunction", &[]).await.invoke(json!({})).await;
}

/// Lets the time come at which a breaker is probed, or looked at.
pub(crate) async fn time_passes_until(stack: &Stack, webhook: &Value) {
    let [pk, sk] = key(webhook);
    let update =
        stack.dynamodb.update_item().table_name(stack.output("DeliveriesTable")).key(pk.0, pk.1).key(sk.0, sk.1);
    let update = update.update_expression("SET lane_at = :past, probe_at = :past");
    let past = AttributeValue::N("1000".to_owned());
    update.expression_attribute_values(":past", past).send().await.unwrap();
}

async fn states(tenant: &Tenant, webhook: &Value) -> Vec<String> {
    let deliveries = tenant.deliveries(webhook).await;
    deliveries.iter().map(|delivery| delivery["state"].as_str().unwrap().to_owned()).collect()
}

pub(crate) async fn wait_for_states(tenant: &Tenant, webhook: &Value, count: usize, state: &str) {
    eventually(&format!("{count} that are {state}"), async || {
        let states = states(tenant, webhook).await;
        (states.iter().filter(|one| *one == state).count() == count).then_some(())
    })
    .await;
}
