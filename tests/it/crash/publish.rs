//! What may happen before fan-out.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Cut, Function, Proxy, Receiver, Stack};

/// The api dies when the event is written and before it says so: sent again under the same key it is one event.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_01_the_api_dies_before_its_answer() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    tenant.webhook(&receiver.url, json!({"event_types": ["order.created"]})).await;
    let proxy = Proxy::start().await;
    let api = Function::start(&stack, "ApiFunction", &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    let event = json!({"id": "order-1", "event_type": "order.created", "entity_id": "1", "data": {"total": 1}});
    proxy.cut("TransactWriteItems", Cut::After);
    api.send(request(&tenant.name, &event)).await;
    proxy.was_cut().await;
    api.kill().await;
    let first = receiver.wait_for(1).await.remove(0);

    let (status, again) = tenant.call(Method::POST, "/events", Some(&event)).await;
    assert!(status.is_success(), "{again}");
    assert!(again.to_string().contains(first.header("webhook-id")), "{again} is the event that was sent");
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(receiver.received().len(), 1);
}

/// An item is written while no process reads the stream: it is read later, and its event is of the time of its commit.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_02_written_and_not_read_for_an_hour() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    tenant.webhook(&receiver.url, json!({})).await;
    let an_hour_ago = tests::now() - std::time::Duration::from_hours(1);
    let seconds = an_hour_ago.as_second();
    let keys = json!({"tenant_id": {"S": tenant.name}, "item_id": {"S": "i1"}});
    let record = json!({
        "eventID": tests::unique("late"), "eventName": "INSERT", "eventSource": "aws:dynamodb", "awsRegion": "us-east-1",
        "dynamodb": {"ApproximateCreationDateTime": seconds, "Keys": keys, "NewImage": keys, "SequenceNumber": "100",
            "SizeBytes": 50, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        "eventSourceARN": "arn:aws:dynamodb:us-east-1:000000000000:table/items/stream/2026-11-21T10:00:00.000",
    });
    let mut fanout = Function::start(&stack, "FanoutFunction", &[("PAYLOAD_RETENTION_DAYS", "0")]).await;
    assert_eq!(fanout.invoke(json!({"Records": [record]})).await, json!({"batchItemFailures": []}));
    let request = receiver.wait_for(1).await.remove(0);
    let at: jiff::Timestamp = request.json()["eventTimestamp"].as_str().unwrap().parse().unwrap();
    assert_eq!(at.as_second(), seconds);
}

/// A request as API Gateway hands it over.
fn request(tenant: &str, body: &Value) -> Value {
    let mut event: Value = serde_json::from_str(include_str!("../../fixtures/api-v2.json")).unwrap();
    event["requestContext"]["authorizer"]["lambda"]["tenant"] = json!(tenant);
    event["requestContext"]["http"]["method"] = json!("POST");
    for path in ["/requestContext/http/path", "/rawPath"] {
        *event.pointer_mut(path).unwrap() = json!("/api/v1/integration/events");
    }
    event["rawQueryString"] = json!("");
    event["body"] = json!(body.to_string());
    event
}
