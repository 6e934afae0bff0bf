//! Dead letters: seen, filtered, sent again one by one, and from SQS's own console too.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::Message;
use domain::delivery::EARLIER_ATTEMPTS;
use domain::delivery::decide::dead_letter;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Answer, Function, Receiver, Stack, Tenant, eventually, path, row_key};

use crate::crash::{event, first_message};

fn attempts(count: u32) -> Value {
    json!({"retry_policy": {"maxAttempts": count, "backoff": "exponential", "timeoutMs": 1000}})
}

/// The tenant's dead letters that the query asks for.
async fn letters(tenant: &Tenant, query: &str) -> Vec<Value> {
    let (status, list) = tenant.call(Method::GET, &format!("/dead-letters{query}"), None).await;
    assert_eq!(status, StatusCode::OK, "{list}");
    list["data"].as_array().unwrap().clone()
}

async fn letters_are(tenant: &Tenant, count: usize) -> Vec<Value> {
    eventually(&format!("{count} dead letters"), async || {
        Some(letters(tenant, "").await).filter(|letters| letters.len() == count)
    })
    .await
}

async fn redeliver(tenant: &Tenant, webhook: &Value, delivery: &Value) -> (StatusCode, Value) {
    let rest = format!("/deliveries/{}/redeliver", delivery["id"].as_str().unwrap());
    tenant.call(Method::POST, &path(webhook, &rest), None).await
}

/// Makes a queue of the test's own; returns its URL.
async fn queue(stack: &Stack) -> String {
    stack.sqs.create_queue().queue_name(tests::unique("letters")).send().await.unwrap().queue_url.unwrap()
}

/// What is in a queue now, with the attribute `cause`; it is visible again after a second.
async fn look(stack: &Stack, url: &str) -> Vec<Message> {
    let request = stack.sqs.receive_message().queue_url(url).max_number_of_messages(10).visibility_timeout(1);
    request.message_attribute_names("cause").send().await.unwrap().messages.unwrap_or_default()
}

fn cause(letter: &Message) -> &str {
    letter.message_attributes.as_ref().unwrap()["cause"].string_value().unwrap()
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn are_listed_newest_first_with_filters_and_pages() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|_| Answer::Status(404)).await;
    let webhook = tenant.webhook(&receiver.url, attempts(1)).await;
    tenant.put("i1", &[]).await;
    letters_are(&tenant, 1).await;
    tenant.remove("i1").await;
    let all = letters_are(&tenant, 2).await;
    let types: Vec<_> = all.iter().map(|letter| letter["delivery"]["event_type"].clone()).collect();
    assert_eq!(types, ["item.deleted", "item.created"]);
    assert_eq!(all[0]["delivery"]["state"], "exhausted");
    assert_eq!(all[0]["delivery"]["webhook_id"], webhook["id"]);
    assert!(all[0]["last_error"].as_str().unwrap().contains("404"), "{}", all[0]);

    let id = webhook["id"].as_str().unwrap();
    let newest = all[0]["exhausted_at"].as_str().unwrap();
    for (query, expected) in [
        (format!("?webhook_id={id}"), 2),
        ("?webhook_id=whk_01JD1KXA00SRK4CNHMSET7SYG2".to_owned(), 0),
        ("?event_type=item.created".to_owned(), 1),
        ("?event_type=*.deleted".to_owned(), 1),
        (format!("?from={newest}"), 1),
        (format!("?to={newest}"), 1),
        (format!("?to={newest}&event_type=item.deleted"), 0),
    ] {
        assert_eq!(letters(&tenant, &query).await.len(), expected, "{query}");
    }
    let (_, first) = tenant.call(Method::GET, "/dead-letters?limit=1", None).await;
    let next = format!("/dead-letters?limit=1&cursor={}", first["next_cursor"].as_str().unwrap());
    let (_, second) = tenant.call(Method::GET, &next, None).await;
    assert_eq!([&first["data"][0], &second["data"][0]], [&all[0], &all[1]]);

    let (status, problem) = tenant.call(Method::GET, "/dead-letters?cursor=x", None).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("?cursor")));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn is_sent_again_with_the_same_bytes_and_its_copy_in_the_queue_is_stale_then() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|number| Answer::Status(if number == 0 { 404 } else { 204 })).await;
    let webhook = tenant.webhook(&receiver.url, attempts(1)).await;
    tenant.put("i1", &[]).await;
    let delivery = letters_are(&tenant, 1).await[0]["delivery"].clone();
    let letter = crate::delivery::letter(&stack, &webhook, delivery["id"].as_str().unwrap()).await;

    let (status, started) = redeliver(&tenant, &webhook, &delivery).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{started}");
    assert_eq!((&started["state"], &started["cycle"]), (&json!("pending"), &json!(1)));
    let delivered = tenant.delivery(&webhook, "delivered").await;
    assert_eq!((&delivered["id"], &delivered["cycle"]), (&delivery["id"], &json!(1)));
    let [first, second] = &receiver.received()[..] else { panic!("two requests") };
    assert_eq!((first.header("webhook-id"), &first.body), (second.header("webhook-id"), &second.body));
    letters_are(&tenant, 0).await;

    // SQS's own redrive, as the console does it: the same body, back on the queue. It asks for the cycle that was.
    let back = stack.sqs.send_message().queue_url(stack.output("DeliveriesQueueUrl"));
    back.message_body(letter).send().await.unwrap();
    // What is sent after it arrives after it, more or less: a change that goes through says that the copy was looked at.
    tenant.put("i2", &[]).await;
    receiver.wait_for(3).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(receiver.received().len(), 3, "the copy asked for nothing");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn comes_back_when_it_fails_again() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|_| Answer::Status(404)).await;
    let webhook = tenant.webhook(&receiver.url, attempts(1)).await;
    tenant.put("i1", &[]).await;
    let before = letters_are(&tenant, 1).await[0].clone();
    assert_eq!(redeliver(&tenant, &webhook, &before["delivery"]).await.0, StatusCode::ACCEPTED);
    let again = eventually("the dead letter of the next cycle", async || {
        letters(&tenant, "").await.into_iter().find(|letter| letter["delivery"]["cycle"] == 1)
    })
    .await;
    assert_eq!(again["delivery"]["id"], before["delivery"]["id"]);
    assert_eq!(again["delivery"]["attempts"].as_array().unwrap().len(), 2);
    assert!(again["exhausted_at"].as_str() > before["exhausted_at"].as_str());
}

/// Makes its row as if it had been attempted 25 times.
async fn attempted_often(stack: &Stack, webhook: &Value, delivery: &Value) {
    let [webhook, id] = [webhook, delivery].map(|resource| resource["id"].as_str().unwrap());
    let key = row_key(webhook.parse().unwrap(), id.parse().unwrap());
    let table = stack.output("DeliveriesTable");
    let row =
        stack.dynamodb.get_item().table_name(table).set_key(Some(key.clone())).send().await.unwrap().item.unwrap();
    let many = AttributeValue::L(vec![row["attempts"].as_l().unwrap()[0].clone(); 25]);
    let update = stack.dynamodb.update_item().table_name(table).set_key(Some(key));
    let update = update.update_expression("SET attempts = :many").expression_attribute_values(":many", many);
    update.send().await.unwrap();
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_delivered_one_is_sent_again_by_the_settings_of_today() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({})).await;
    tenant.put("i1", &[]).await;
    let delivery = tenant.delivery(&webhook, "delivered").await;
    attempted_often(&stack, &webhook, &delivery).await;
    let patch = json!({"payload_format": "standard"});
    assert_eq!(tenant.call(Method::PATCH, &path(&webhook, ""), Some(&patch)).await.0, StatusCode::OK);
    assert_eq!(redeliver(&tenant, &webhook, &delivery).await.0, StatusCode::ACCEPTED);
    let requests = receiver.wait_for(2).await;
    requests[1].verify(webhook["secret"].as_str().unwrap());
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
    assert_eq!(requests[1].json()["type"], "item.created");
    let again = eventually("the next cycle", async || {
        let delivery = tenant.delivery(&webhook, "delivered").await;
        Some(delivery).filter(|delivery| delivery["cycle"] == 1)
    })
    .await;
    let attempts = again["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), &attempts[EARLIER_ATTEMPTS]["cycle"]), (EARLIER_ATTEMPTS + 1, &json!(1)));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn one_that_waits_is_attempted_now_and_once() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|number| Answer::Status(if number == 0 { 500 } else { 204 })).await;
    let webhook = tenant.webhook(&receiver.url, attempts(5)).await;
    tenant.put("i1", &[]).await;
    let delivery = tenant.delivery(&webhook, "retrying").await;
    let (status, answer) = redeliver(&tenant, &webhook, &delivery).await;
    // The retry may have come first: then it is delivered, and is sent once more.
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let delivered = tenant.delivery(&webhook, "delivered").await;
    assert_eq!(delivered["attempts"][1]["number"], 2);
    // The retry that was under way finds its attempt made.
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(receiver.received().len() <= 3, "{}", receiver.received().len());
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn what_cannot_be_sent_now_is_refused_with_the_fix() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|_| Answer::Status(404)).await;
    let webhook = tenant.webhook(&receiver.url, attempts(1)).await;
    tenant.put("i1", &[]).await;
    let delivery = letters_are(&tenant, 1).await[0]["delivery"].clone();
    for (stop, go_on, fix) in [("pause", "resume", "resume it first"), ("disable", "enable", "enable it first")] {
        tenant.call(Method::POST, &path(&webhook, &format!("/{stop}")), None).await;
        let (status, problem) = redeliver(&tenant, &webhook, &delivery).await;
        assert_eq!((status, &problem["type"]), (StatusCode::CONFLICT, &json!("urn:dynahook:problem:conflict")));
        assert!(problem["detail"].as_str().unwrap().ends_with(fix), "{problem}");
        tenant.call(Method::POST, &path(&webhook, &format!("/{go_on}")), None).await;
    }
    // A test is made from an event that is not kept.
    let test = tenant.tested(&webhook, None).await;
    let (status, problem) = redeliver(&tenant, &webhook, &test).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    let nobodys = json!({"id": "dlv_01JD1KXA00SRK4CNHMSET7SYG2"});
    assert_eq!(redeliver(&tenant, &webhook, &nobodys).await.0, StatusCode::NOT_FOUND);
    assert_eq!(letters(&tenant, "").await.len(), 1, "still there");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_message_that_nobody_can_read_keeps_its_cause() {
    let stack = Stack::connect().await;
    let poison = tests::unique("poison");
    let send = stack.sqs.send_message().queue_url(stack.output("DeliveriesQueueUrl"));
    send.message_body(format!("{{{poison}")).send().await.unwrap();
    let letter = eventually("the poison", async || {
        let letters = look(&stack, stack.output("DeadLetterQueueUrl")).await;
        letters.into_iter().find(|message| message.body().unwrap().contains(&poison))
    })
    .await;
    assert_eq!(letter.body().unwrap(), format!("{{{poison}"));
    assert!(cause(&letter).starts_with("not a delivery message: "), "{}", cause(&letter));
}

/// Exhausted deliveries are in a queue of their own; the one that is alarmed has none of them.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_exhausted_delivery_is_a_letter_that_says_why() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|_| Answer::Status(404)).await;
    let webhook = tenant.webhook(&receiver.url, attempts(1)).await;
    let (exhausted, dead) = (queue(&stack).await, queue(&stack).await);
    let environment = [("EXHAUSTED_QUEUE_URL", &*exhausted), ("DEAD_LETTER_QUEUE_URL", &*dead)];
    let mut deliver = Function::start(&stack, "DeliverFunction", &environment).await;
    let message = first_message(&tenant.name, &webhook);
    assert_eq!(deliver.invoke(event(&message.to_json())).await, json!({"batchItemFailures": []}));
    let letters = look(&stack, &exhausted).await;
    let [letter] = &letters[..] else { panic!("one letter: {letters:?}") };
    let expected = crate::delivery::letter(&stack, &webhook, &message.delivery.to_string()).await;
    assert_eq!(
        (letter.body(), cause(letter)),
        (Some(&*expected), "exhausted after 1 attempts; the last got status 404")
    );
    assert_eq!(look(&stack, &dead).await, []);
}

/// What the sweep asks of SQS: letters are received and hidden, and those that are removed do not come again.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn letters_are_received_and_removed() {
    let stack = Stack::connect().await;
    let url = queue(&stack).await;
    let [events, deliveries] = ["EventsTable", "DeliveriesTable"].map(|table| stack.output(table).to_owned());
    let exhausted = stack.aws.dead_letters(url.clone(), events, deliveries);
    let tenant = stack.tenant();
    let webhook = tenant.webhook("http://127.0.0.1:9/", json!({})).await;
    let letter = dead_letter(first_message(&tenant.name, &webhook));
    for text in [letter.to_json(), "no letter".to_owned()] {
        stack.sqs.send_message().queue_url(&url).message_body(text).send().await.unwrap();
    }
    let received = eventually("the letter", async || {
        Some(exhausted.receive(Duration::from_mins(1)).await.unwrap()).filter(|letters| !letters.is_empty())
    })
    .await;
    assert_eq!(received.iter().map(|letter| &letter.message).collect::<Vec<_>>(), [&letter]);
    assert_eq!(exhausted.remove(received).await, 1);
    let visible = stack.sqs.receive_message().queue_url(&url).send().await.unwrap();
    assert_eq!(visible.messages, None, "what is no letter is hidden, and stays");
}
