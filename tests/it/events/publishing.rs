//! Publishing: single events and several in one request, their fields, and ids and keys that make a request idempotent.

use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use tests::{Claims, Receiver, Stack};

use super::{ids, list, publish};

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_published_event_reaches_who_wants_it_with_all_its_digits() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({"event_types": ["invoice.paid"]})).await;
    let digits = "12345678901234567890123456789012345678";
    let body =
        format!(r#"{{"event_type": "invoice.paid", "entity_id": "in_1", "data": {{"total": 12.50, "n": {digits}}}}}"#);
    let (status, published) = stack.call(Method::POST, "/events", Some(&tenant.token), Some(&body)).await;
    assert_eq!((status, &published["event_type"]), (StatusCode::ACCEPTED, &json!("invoice.paid")), "{published}");
    assert_eq!(published["duplicate"], Value::Null);
    let request = receiver.wait_for(1).await.remove(0);
    request.verify(webhook["secret"].as_str().unwrap());
    assert_eq!(request.header("webhook-id"), published["id"].as_str().unwrap());
    assert_eq!(
        (&request.json()["entityPath"], &request.json()["entityKey"]),
        (&json!("invoices/in_1"), &json!("invoice"))
    );
    let sent = String::from_utf8(request.body.to_vec()).unwrap();
    assert!(sent.contains(digits) && sent.contains("12.50"), "{sent}");

    let read = format!("/events/{}", published["id"].as_str().unwrap());
    let answer = stack.request(Method::GET, &read, Some(&tenant.token), None).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let text = answer.text().await.unwrap();
    assert!(text.contains(digits) && text.contains("12.50"), "{text}");
    let event: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (
            &event["source"],
            &event["operation"],
            &event["entity"]["path"],
            &event["app_id"],
            &event["data"]["old_value"]
        ),
        (&json!("published"), &json!("created"), &json!("invoices/in_1"), &Value::Null, &Value::Null)
    );
    assert!(event["state_id"].is_null() && event["previous_state_id"].is_null() && event["sequence"].is_string());
    assert_eq!(request.json()["state"].as_str().map(str::len), Some(24), "it is named on its way");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn of_several_a_bad_one_does_not_stop_the_others() {
    let tenant = Stack::connect().await.tenant();
    let body = json!([
        {"event_type": "a.created", "data": {"n": 1}},
        {"event_type": "a.*", "data": {}},
        {"event_type": "a.created", "data": []},
        {"event_type": "a.updated", "entity_id": "1", "data": {"n": 2}, "old_data": {"n": 1}},
        7,
    ]);
    let (status, answer) = tenant.call(Method::POST, "/events", Some(&body)).await;
    assert_eq!(status, StatusCode::MULTI_STATUS, "{answer}");
    let results = answer["results"].as_array().unwrap();
    let statuses: Vec<_> = results.iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [202, 422, 422, 202, 422]);
    let pointers: Vec<_> = results.iter().map(|result| result["problem"]["errors"][0]["pointer"].clone()).collect();
    assert_eq!(pointers, [Value::Null, json!("#/event_type"), json!("#/data"), Value::Null, json!("#")]);
    let events = list(&tenant, "").await;
    let mut published = [results[0]["id"].as_str().unwrap(), results[3]["id"].as_str().unwrap()];
    published.sort_unstable();
    published.reverse();
    assert_eq!(ids(&events), published);
    let updated = events.iter().find(|event| event["event_type"] == "a.updated").unwrap();
    assert_eq!(
        (&updated["update_mask"], &updated["data"]),
        (&json!(["n"]), &json!({"value": {"n": 2}, "old_value": {"n": 1}}))
    );

    for body in [json!([]), Value::Array(vec![json!({"event_type": "a.b", "data": {}}); 101])] {
        let (status, problem) = tenant.call(Method::POST, "/events", Some(&body)).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("#")));
    }
}

#[rstest]
#[case::no_type(json!({"data": {}}), "#/event_type")]
#[case::group(json!({"event_type": "a.*", "data": {}}), "#/event_type")]
#[case::ours(json!({"event_type": "webhook.paused", "data": {}}), "#/event_type")]
#[case::no_data(json!({"event_type": "a.b"}), "#/data")]
#[case::no_object(json!({"event_type": "a.b", "data": 7}), "#/data")]
#[case::old_data(json!({"event_type": "a.b", "data": {}, "old_data": []}), "#/old_data")]
#[case::entity_id(json!({"event_type": "a.b", "data": {}, "entity_id": "a/b"}), "#/entity_id")]
#[case::collection(json!({"event_type": "a.b", "data": {}, "collection": "/a"}), "#/collection")]
#[case::id(json!({"event_type": "a.b", "data": {}, "id": ""}), "#/id")]
#[case::unknown(json!({"event_type": "a.b", "data": {}, "tenant": "x"}), "#/tenant")]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn what_is_not_as_it_must_be_is_named(#[case] body: Value, #[case] pointer: &str) {
    let tenant = Stack::connect().await.tenant();
    let (status, problem) = tenant.call(Method::POST, "/events", Some(&body)).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(pointer)));
    assert_eq!(list(&tenant, "").await, [] as [Value; 0]);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn the_callers_own_id_is_published_once() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let event = json!({"event_type": "order.placed", "data": {}, "id": "order 7"});
    let first = publish(&tenant, &event).await;
    let again = publish(&tenant, &event).await;
    assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &json!(true)));
    let (_, several) = tenant.call(Method::POST, "/events", Some(&json!([event, event]))).await;
    assert!(several["results"].as_array().unwrap().iter().all(|result| result["id"] == first["id"]), "{several}");
    let new = json!({"event_type": "order.placed", "data": {}, "id": "order 8"});
    let (_, several) = tenant.call(Method::POST, "/events", Some(&json!([new, new]))).await;
    let results = &several["results"];
    assert_eq!((&results[0]["id"], &results[0]["duplicate"]), (&results[1]["id"], &Value::Null), "{several}");
    assert_eq!(results[1]["duplicate"], true);
    assert_eq!(list(&tenant, "").await.len(), 2);
    // Another tenant's and another application's ids are others.
    let theirs = publish(&stack.tenant(), &event).await;
    let app = Claims::new(&tenant.name, &["ADMIN"]).with("app_id", json!("crm")).rs256();
    let (_, apps) = stack.call(Method::POST, "/events", Some(&app), Some(&event.to_string())).await;
    assert!(theirs["id"] != first["id"] && apps["id"] != first["id"] && apps["id"].is_string());
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_request_with_a_key_is_done_once() {
    let tenant = Stack::connect().await.tenant();
    let body = json!([{"event_type": "a.b", "data": {}}, {"event_type": "a.c", "data": {}}]);
    let key = &[("idempotency-key", "k")][..];
    let first = tenant.send(Method::POST, "/events", key, &body).await;
    assert_eq!(first.status(), StatusCode::MULTI_STATUS);
    let again = tenant.send(Method::POST, "/events", key, &body).await;
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.status(), StatusCode::MULTI_STATUS);
    assert_eq!(first.json::<Value>().await.unwrap(), again.json::<Value>().await.unwrap());
    assert_eq!(list(&tenant, "").await.len(), 2);
}
