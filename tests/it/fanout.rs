//! Fan-out: replays, and records that cannot be mapped.

use serde_json::{Value, json};
use tests::{Function, Receiver, Stack, Tenant, eventually};

/// A stream record of the table that the stack knows, as Lambda hands it over.
fn record(tenant: &Tenant, sequence: &str, image: Value) -> Value {
    let mut image = image;
    image["tenant_id"] = json!({"S": tenant.name});
    json!({
        "eventID": format!("{}-{sequence}", tenant.name),
        "eventName": "INSERT",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_795_244_140.0,
            "Keys": {"tenant_id": {"S": tenant.name}},
            "NewImage": image,
            "SequenceNumber": sequence,
            "SizeBytes": 26,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventSourceARN": "arn:aws:dynamodb:us-east-1:000000000000:table/items/stream/2026-11-21T10:00:00.000",
    })
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_replayed_batch_changes_nothing() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({})).await;
    let batch = json!({"Records": [
        record(&tenant, "1", json!({"item_id": {"S": "i1"}})),
        record(&tenant, "2", json!({"item_id": {"S": "i2"}})),
    ]});
    let mut fanout = Function::start(&stack, "FanoutFunction", &[]).await;
    assert_eq!(fanout.invoke(batch.clone()).await, json!({"batchItemFailures": []}));
    tenant.delivery(&webhook, "delivered").await;
    receiver.wait_for(2).await;
    // Another execution environment, so that nothing is remembered.
    let mut other = Function::start(&stack, "FanoutFunction", &[]).await;
    other.invoke(batch.clone()).await;
    fanout.invoke(batch).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(receiver.received().len(), 2, "every copy had the ids of the first");
    assert_eq!(tenant.deliveries(&webhook).await.len(), 2);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_record_that_comes_twice_in_a_batch_is_fanned_out_once() {
    let stack = Stack::connect().await;
    for order in [["1", "1", "2"], ["1", "2", "1"], ["2", "1", "1"]] {
        let tenant = stack.tenant();
        let receiver = Receiver::accepting().await;
        let webhook = tenant.webhook(&receiver.url, json!({})).await;
        // A queue that only the test reads.
        let queue =
            stack.sqs.create_queue().queue_name(tests::unique("copies")).send().await.unwrap().queue_url.unwrap();
        let mut fanout = Function::start(&stack, "FanoutFunction", &[("DELIVERIES_QUEUE_URL", &queue)]).await;
        let records = order.map(|number| record(&tenant, number, json!({"item_id": {"S": format!("i{number}")}})));
        let response = fanout.invoke(json!({"Records": records})).await;
        assert_eq!(response, json!({"batchItemFailures": []}), "{order:?}");
        let mut sent = Vec::new();
        let receive = || stack.sqs.receive_message().queue_url(&queue).max_number_of_messages(10).send();
        while let Some(messages) = receive().await.unwrap().messages.filter(|messages| !messages.is_empty()) {
            sent.extend(
                messages
                    .into_iter()
                    .map(|message| domain::delivery::message::Message::from_json(&message.body.unwrap()).unwrap()),
            );
        }
        let webhooks: Vec<_> = sent.iter().map(|message| message.webhook.to_string()).collect();
        assert_eq!(webhooks, [webhook["id"].as_str().unwrap(); 2], "{order:?}");
        assert_ne!(sent[0].delivery, sent[1].delivery, "{order:?}");
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_record_that_cannot_be_mapped_does_not_stop_the_others() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    tenant.webhook(&receiver.url, json!({})).await;
    let poison = record(&tenant, "1", json!({"colour": {"S": "blue"}}));
    let broken = json!({"eventID": 7, "dynamodb": {"SequenceNumber": "2", "NewImage": []}, "mark": tenant.name});
    let unregistered = {
        let mut record = record(&tenant, "3", json!({"item_id": {"S": "i3"}}));
        record["eventSourceARN"] = json!("arn:aws:dynamodb:us-east-1:000000000000:table/strange/stream/2026");
        record
    };
    let good = record(&tenant, "4", json!({"item_id": {"S": "i4"}}));
    let mut fanout = Function::start(&stack, "FanoutFunction", &[]).await;
    let response = fanout.invoke(json!({"Records": [&poison, &broken, &unregistered, &good]})).await;
    assert_eq!(response, json!({"batchItemFailures": []}), "the shard goes on");
    assert_eq!(receiver.wait_for(1).await[0].json()["entityId"], "i4");

    let mut failures: Vec<Value> = Vec::new();
    eventually("three stream failures", async || {
        let url = stack.output("StreamFailuresQueueUrl");
        // Other tests receive messages of this queue too.
        let receive = stack.sqs.receive_message().queue_url(url).max_number_of_messages(10).visibility_timeout(0);
        let answer = receive.send().await.unwrap();
        let bodies = answer.messages.unwrap_or_default().into_iter().filter_map(|message| message.body);
        let own = bodies.filter(|body| body.contains(&tenant.name)).map(|body| serde_json::from_str(&body).unwrap());
        failures.extend(own.filter(|failure| !failures.contains(failure)).collect::<Vec<_>>());
        (failures.len() == 3).then_some(())
    })
    .await;
    let reason_of = |record: &Value| {
        let failure = failures.iter().find(|failure| &failure["record"] == record).expect("the whole record");
        failure["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(reason_of(&poison), r#"the item has no attribute "item_id", which the source names for its entity id"#);
    assert!(reason_of(&broken).starts_with("not a DynamoDB stream record"));
    assert_eq!(reason_of(&unregistered), "table strange is not registered as a source");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_fault_of_ours_hands_the_batch_back() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    tenant.webhook(&receiver.url, json!({})).await;
    let batch = json!({"Records": [record(&tenant, "77", json!({"item_id": {"S": "i1"}}))]});
    let mut cut_off = Function::start(&stack, "FanoutFunction", &[("REGISTRY_TABLE", "gone")]).await;
    let response = cut_off.invoke(batch.clone()).await;
    assert_eq!(response, json!({"batchItemFailures": [{"itemIdentifier": "77"}]}));
    let queue = "http://127.0.0.1:9/000000000000/gone";
    let mut cut_off = Function::start(&stack, "FanoutFunction", &[("DELIVERIES_QUEUE_URL", queue)]).await;
    let response = cut_off.invoke(batch).await;
    assert_eq!(response, json!({"batchItemFailures": [{"itemIdentifier": "77"}]}));
    assert_eq!(receiver.received().len(), 0);
}
