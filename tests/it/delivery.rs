//! From a write to the receiver, through the deployed stack.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::delivery::decide::dead_letter;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Answer, Received, Receiver, Stack, eventually, now};

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

/// The same policy with few attempts.
fn attempts(count: u32) -> Value {
    json!({"retry_policy": {"maxAttempts": count, "backoff": "exponential", "timeoutMs": 1000}})
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_record_that_changes_reaches_its_webhook_signed() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({})).await;

    tenant.put("i1", &[("title", text("Amélie")), ("price", AttributeValue::N("1.10".to_owned()))]).await;
    receiver.wait_for(1).await;
    tenant.put("i1", &[("title", text("Amélie")), ("price", AttributeValue::N("2".to_owned()))]).await;
    receiver.wait_for(2).await;
    tenant.remove("i1").await;
    let requests = receiver.wait_for(3).await;

    for request in &requests {
        request.verify(webhook["secret"].as_str().unwrap());
        assert_eq!(request.header("content-type"), "application/json");
        assert!(request.header("webhook-id").starts_with("evt_"));
        assert_eq!(request.json()["organizationId"], tenant.name);
        assert_eq!(request.json()["entityPath"], "items/i1");
        assert_eq!(request.json()["collectionPath"], "items");
        assert_eq!(request.json()["entityKey"], "item");
    }
    let [created, updated, deleted] = &requests.iter().map(Received::json).collect::<Vec<_>>()[..] else {
        panic!("three requests")
    };
    assert_eq!(created["operationType"], "created");
    assert!(created["data"]["oldValue"].is_null());
    assert_eq!(updated["operationType"], "updated");
    assert_eq!(updated["data"]["updateMask"], json!(["price"]));
    // DynamoDB gives back 1.10 as the number that it is.
    assert_eq!(updated["data"]["oldValue"]["properties"]["price"].to_string(), "1.1");
    assert_eq!(updated["data"]["value"]["properties"]["price"], 2);
    assert_eq!(deleted["operationType"], "deleted");
    assert_eq!(deleted["data"]["value"], Value::Null);
    assert_eq!(without_times(&deleted["data"]["oldValue"]), without_times(&updated["data"]["value"]));
    for value in [&created["data"]["value"], &updated["data"]["oldValue"], &deleted["data"]["oldValue"]] {
        assert!(value["createTime"].is_string() && value["updateTime"].is_string(), "{value}");
    }

    let deliveries = eventually("three rows", async || {
        Some(tenant.deliveries(&webhook).await).filter(|deliveries| deliveries.len() == 3)
    })
    .await;
    for delivery in deliveries {
        assert_eq!(delivery["state"], "delivered");
        assert_eq!(delivery["attempts"][0]["status"], 204);
        assert_eq!(delivery["attempts"][0]["secret_fingerprint"], webhook["secret_fingerprint"]);
    }
}

/// The stream does not know when a state was written, only when it was replaced.
fn without_times(value: &Value) -> Value {
    let mut value = value.clone();
    value.as_object_mut().unwrap().retain(|name, _| name == "key" || name == "properties");
    value
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn only_what_was_asked_for_arrives() {
    let stack = Stack::connect().await;
    let (tenant, stranger) = (stack.tenant(), stack.tenant());
    let (wanted, deletions, foreign) =
        (Receiver::accepting().await, Receiver::accepting().await, Receiver::accepting().await);
    tenant.webhook(&wanted.url, json!({})).await;
    tenant.webhook(&deletions.url, json!({"event_types": ["item.deleted"]})).await;
    tenant.webhook(&deletions.url, json!({"enabled": false})).await;
    stranger.webhook(&foreign.url, json!({})).await;
    tenant.put("i1", &[]).await;
    wanted.wait_for(1).await;
    tenant.remove("i1").await;
    wanted.wait_for(2).await;
    assert_eq!(deletions.wait_for(1).await[0].json()["operationType"], "deleted");
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!((deletions.received().len(), foreign.received().len()), (1, 0));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_failure_is_tried_again_with_the_same_id_and_bytes() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|number| Answer::Status(if number == 0 { 500 } else { 200 })).await;
    let webhook = tenant.webhook(&receiver.url, attempts(3)).await;
    tenant.put("i1", &[("note", text("\u{ffff} \u{1} \"é\" 🎬"))]).await;
    let delivery = tenant.delivery(&webhook, "delivered").await;
    let [first, second] = &receiver.received()[..] else { panic!("two requests") };
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert_eq!(first.body, second.body);
    second.verify(webhook["secret"].as_str().unwrap());
    assert_eq!(second.json()["data"]["value"]["properties"]["note"], "\u{ffff} \u{1} \"é\" 🎬");
    let outcomes: Vec<_> =
        delivery["attempts"].as_array().unwrap().iter().map(|a| (&a["verdict"], &a["status"])).collect();
    assert_eq!(outcomes, [(&json!("server_failed"), &json!(500)), (&json!("accepted"), &json!(200))]);
    assert_eq!(delivery["attempts"][0]["response_excerpt"], "noted");
}

/// The letter of an exhausted delivery, made of its row: in the queue the stack's sweep may be looking at it, and hide it meanwhile.
pub(crate) async fn letter(stack: &Stack, webhook: &Value, delivery: &str) -> String {
    let ledger = stack.aws.ledger(stack.output("DeliveriesTable").to_owned());
    let webhook = webhook["id"].as_str().unwrap().parse().unwrap();
    let row = ledger.delivery(webhook, delivery.parse().unwrap(), now()).await.unwrap().unwrap();
    dead_letter(row.next_message()).to_json()
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_dead_letter_that_is_moved_back_while_the_webhook_is_paused_waits_for_it() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|number| Answer::Status(if number == 0 { 404 } else { 204 })).await;
    let webhook = tenant.webhook(&receiver.url, attempts(1)).await;
    tenant.put("i1", &[]).await;
    let exhausted = tenant.delivery(&webhook, "exhausted").await;
    let letter = letter(&stack, &webhook, exhausted["id"].as_str().unwrap()).await;
    let action = |action: &str| format!("/webhooks/{}/{action}", webhook["id"].as_str().unwrap());
    tenant.call(Method::POST, &action("pause"), None).await;
    let back = async || {
        let send = stack.sqs.send_message().queue_url(stack.output("DeliveriesQueueUrl"));
        send.message_body(&letter).send().await.unwrap();
    };
    back().await;
    let parked = tenant.delivery(&webhook, "parked").await;
    assert_eq!((&parked["cycle"], receiver.received().len()), (&json!(1), 1));
    tenant.call(Method::POST, &action("resume"), None).await;
    // As the sweep does when it looks at it.
    back().await;
    assert_eq!(tenant.delivery(&webhook, "delivered").await["cycle"], 1);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_exhausted_delivery_is_a_dead_letter_that_can_be_moved_back() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|number| Answer::Status(if number == 0 { 404 } else { 204 })).await;
    let webhook = tenant.webhook(&receiver.url, attempts(1)).await;
    tenant.put("i1", &[]).await;
    let exhausted = tenant.delivery(&webhook, "exhausted").await;
    assert_eq!(exhausted["attempts"].as_array().unwrap().len(), 1);

    // What SQS's redrive does: the same body, in another queue.
    let letter = letter(&stack, &webhook, exhausted["id"].as_str().unwrap()).await;
    let back = stack.sqs.send_message().queue_url(stack.output("RetriesQueueUrl"));
    back.message_body(letter).send().await.unwrap();
    let delivered = tenant.delivery(&webhook, "delivered").await;
    assert_eq!((&delivered["id"], &delivered["cycle"]), (&exhausted["id"], &json!(1)));
    let [first, second] = &receiver.received()[..] else { panic!("two requests") };
    assert_eq!((first.header("webhook-id"), &first.body), (second.header("webhook-id"), &second.body));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_redirect_is_not_followed() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|_| Answer::Redirect("http://127.0.0.1:9/elsewhere")).await;
    let webhook = tenant.webhook(&receiver.url, attempts(1)).await;
    tenant.put("i1", &[]).await;
    let delivery = tenant.delivery(&webhook, "exhausted").await;
    assert_eq!(delivery["attempts"][0]["verdict"], "redirected");
    assert_eq!(
        delivery["attempts"][0]["error"],
        "redirects are not followed; this one leads to http://127.0.0.1:9/elsewhere"
    );
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_receiver_that_hangs_or_is_not_there_fails_in_time() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let hanging = Receiver::start(|_| Answer::Hang).await;
    let hung = tenant.webhook(&hanging.url, attempts(1)).await;
    let gone = tenant.webhook("http://127.0.0.1:9/", attempts(1)).await;
    let unknown = tenant.webhook("http://nowhere.invalid/", attempts(1)).await;
    let private = tenant.webhook("http://localhost.localdomain.invalid/", attempts(1)).await;
    tenant.put("i1", &[]).await;
    let verdict = async |webhook| tenant.delivery(webhook, "exhausted").await["attempts"][0].clone();
    let timed_out = verdict(&hung).await;
    assert_eq!(timed_out["verdict"], "timed_out");
    assert!((1000..3000).contains(&timed_out["duration_ms"].as_u64().unwrap()), "{timed_out}");
    assert_eq!(verdict(&gone).await["verdict"], "connect_failed");
    assert_eq!(verdict(&unknown).await["verdict"], "dns_failed");
    assert_eq!(verdict(&private).await["verdict"], "dns_failed");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn what_does_not_fit_a_message_arrives_whole() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|number| Answer::Status(if number == 0 { 500 } else { 204 })).await;
    let webhook = tenant.webhook(&receiver.url, attempts(3)).await;
    // Random digits, so that it does not get small by compression either.
    let noise: Vec<_> = (0_u64..18_000).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_string()).collect();
    let noise = noise.concat();
    tenant.put("i1", &[("noise", text(&noise))]).await;
    let requests = receiver.wait_for(2).await;
    requests[1].verify(webhook["secret"].as_str().unwrap());
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(requests[1].json()["data"]["value"]["properties"]["noise"], noise);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_deleted_webhook_gets_nothing_more() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (kept, ended) = (Receiver::accepting().await, Receiver::start(|_| Answer::Status(500)).await);
    tenant.webhook(&kept.url, json!({})).await;
    let webhook = tenant.webhook(&ended.url, attempts(5)).await;
    tenant.put("i1", &[]).await;
    tenant.delivery(&webhook, "retrying").await;
    let path = format!("/webhooks/{}", webhook["id"].as_str().unwrap());
    assert_eq!(tenant.call(Method::DELETE, &path, None).await.0, StatusCode::NO_CONTENT);
    let before = ended.received().len();
    tenant.put("i2", &[]).await;
    kept.wait_for(2).await;
    // The retry's message comes within 10 s and finds the webhook gone.
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    assert!(ended.received().len() <= before + 1, "at most the attempt that was under way");
    assert_eq!(kept.received().len(), 2);
}
