//! Published events, the archive, the catalog of types, and what a webhook does with events.

use std::time::Duration;

use aws::events::Archiving;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::event::Event;
use domain::id::EventId;
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use tests::{Claims, Function, Receiver, Stack, Tenant, now, path, unique};

const URL: &str = "https://example.com/hook";

async fn publish(tenant: &Tenant, event: &Value) -> Value {
    let (status, published) = tenant.call(Method::POST, "/events", Some(event)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{published}");
    published
}

async fn list(tenant: &Tenant, query: &str) -> Vec<Value> {
    let (status, list) = tenant.call(Method::GET, &format!("/events?{query}"), None).await;
    assert_eq!(status, StatusCode::OK, "{list}");
    list["data"].as_array().unwrap().clone()
}

fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["id"].as_str().unwrap()).collect()
}

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

/// Together they are more than a function may answer with.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_page_holds_no_more_than_an_answer_can() {
    let tenant = Stack::connect().await.tenant();
    let mut published = Vec::new();
    for number in 0..20 {
        let event = json!({"event_type": "order.placed", "data": {"number": number, "text": "x".repeat(200_000)}});
        published.push(publish(&tenant, &event).await["id"].clone());
    }
    let (mut pages, mut read, mut cursor) = (0, Vec::new(), String::new());
    loop {
        let (status, page) = tenant.call(Method::GET, &format!("/events?limit=50{cursor}"), None).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        assert!(page.to_string().len() < 3_000_000);
        pages += 1;
        read.extend(page["data"].as_array().unwrap().iter().map(|event| event["id"].clone()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    published.sort_by(|one, other| other.as_str().cmp(&one.as_str()));
    assert_eq!((pages, read), (2, published), "each once, the newest first");
}

/// Events that a batch archives together are one item. One of them is read, and all are listed, dry-run and replayed,
/// each once, although a retry has split the batch elsewhere.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn archived_events_of_a_batch_are_read_and_listed_one_by_one() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let events = stack.aws.events(stack.output("EventsTable").to_owned());
    let started = Timestamp::from_second(now().as_second() - 60).unwrap();
    let event = |number: u32| -> Event {
        let at = started + Duration::from_secs(u64::from(number / 20));
        let id = EventId::derive(at, &[&tenant.name, &number.to_string()]);
        serde_json::from_value(json!({
            "source": "items", "id": id, "tenant": tenant.name, "event_type": "item.created", "operation": "created",
            "at": at, "sequence": format!("{number:0>40}"),
            "entity": {"id": format!("i{number}"), "key": "item", "collection": "items"},
            "new": {"id": "state", "properties": {"number": number, "text": "x".repeat(2_000)}}}))
        .unwrap()
    };
    let archived: Vec<Event> = (0..70).map(event).collect();
    let until = now() + Duration::from_hours(24);
    for batch in [&archived[..], &archived[..40], &archived[40..], &archived[7..8]] {
        events.archive(&mut Archiving::new(batch), now(), until).await;
    }
    let mut newest_first: Vec<String> = archived.iter().map(|event| event.id.to_string()).collect();
    newest_first.sort_unstable_by(|one, other| other.cmp(one));
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, page) = tenant.call(Method::GET, &format!("/events?limit=30{cursor}"), None).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        listed.extend(page["data"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(listed, newest_first);
    let found = list(&tenant, "entity=items/i33").await;
    assert_eq!(ids(&found), [archived[33].id.to_string()]);
    let (status, read) = tenant.call(Method::GET, &format!("/events/{}", archived[33].id), None).await;
    assert_eq!((status, &read), (StatusCode::OK, &found[0]));
    let theirs = stack.tenant().call(Method::GET, &format!("/events/{}", archived[33].id), None).await;
    assert_eq!(theirs.0, StatusCode::NOT_FOUND);

    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({"event_types": ["item.created"]})).await;
    let body = json!({"webhook": {"event_types": ["item.deleted"]}, "events": 70});
    let (status, run) = tenant.call(Method::POST, &path(&webhook, "/dry-run"), Some(&body)).await;
    assert_eq!((status, &run["looked_at"], &run["before"]), (StatusCode::OK, &json!(70), &json!(70)), "{run}");
    let (from, to) = (started + Duration::from_secs(1), started + Duration::from_secs(3));
    let body = json!({"from": from.to_string(), "to": to.to_string(), "rate_per_second": 100});
    let (status, job) = tenant.call(Method::POST, &path(&webhook, "/replay"), Some(&body)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{job}");
    let mut sweep = Function::start(&stack, "SweepFunction", &[]).await;
    sweep.invoke(json!({})).await;
    let requests = receiver.wait_for(40).await;
    let mut sent: Vec<_> = requests.iter().map(|request| request.header("webhook-id").to_owned()).collect();
    sent.sort_unstable_by(|one, other| other.cmp(one));
    assert_eq!(sent, newest_first[10..50]);
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

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn superoffices_form_publishes_too() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    tenant.webhook(&receiver.url, json!({"event_types": ["contact.changed"]})).await;
    let (status, published) =
        tenant.call(Method::POST, "/webhooks/contact.changed/1234", Some(&json!({"Name": "SuperOffice"}))).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{published}");
    let request = receiver.wait_for(1).await.remove(0).json();
    assert_eq!((&request["entityPath"], &request["entityId"]), (&json!("contacts/1234"), &json!("1234")));
    assert_eq!((&request["operationType"], &request["eventType"]), (&json!("updated"), &json!("contact.changed")));
    let body = json!({"required": ["Name"]});
    tenant.call(Method::PUT, "/event-types/contact.changed", Some(&json!({"schema": body}))).await;
    let (status, problem) = tenant.call(Method::POST, "/webhooks/contact.changed/1", Some(&json!({}))).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("#")));
    // By its other name it is the same type.
    let (status, _) = tenant.call(Method::POST, "/webhooks/contact.updated/1", Some(&json!({}))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    // A misspelt action is no event.
    let webhook = tenant.webhook(URL, json!({})).await;
    assert_eq!(tenant.call(Method::POST, &path(&webhook, "/puase"), Some(&json!({}))).await.0, StatusCode::NOT_FOUND);
    assert_eq!(list(&tenant, "").await.len(), 1);
}

#[rstest]
#[case::update_of_a_table("item.changed", "item.changed")]
#[case::group("*.changed", "item.changed")]
#[case::its_own_name("item.updated", "item.updated")]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_update_reaches_a_webhook_by_either_name(#[case] asked: &str, #[case] shown: &str) {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({"event_types": [asked]})).await;
    assert_eq!(webhook["event_types"], json!([asked]));
    tenant.put("i1", &[]).await;
    tenant.put("i1", &[("title", AttributeValue::S("new".to_owned()))]).await;
    let request = receiver.wait_for(1).await.remove(0).json();
    assert_eq!((&request["operationType"], &request["eventType"]), (&json!("updated"), &json!(shown)));
    tenant.delivery(&webhook, "delivered").await;
    let (_, found) = tenant.call(Method::GET, &path(&webhook, "/deliveries?event_type=item.updated"), None).await;
    assert_eq!(found["data"].as_array().unwrap().len(), 1, "{found}");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_soft_deletion_can_be_published() {
    let tenant = Stack::connect().await.tenant();
    let (soft, all) = (Receiver::accepting().await, Receiver::accepting().await);
    tenant.webhook(&soft.url, json!({"event_types": ["contact.softdeleted"]})).await;
    tenant.webhook(&all.url, json!({"event_types": ["contact.deleted"]})).await;
    for event in ["deleted", "softdeleted"] {
        let (status, _) = tenant.call(Method::POST, &format!("/webhooks/contact.{event}/1"), Some(&json!({}))).await;
        assert_eq!(status, StatusCode::ACCEPTED);
    }
    assert_eq!(all.wait_for(2).await.len(), 2);
    let request = soft.wait_for(1).await.remove(0).json();
    assert_eq!((&request["operationType"], &request["softRemoved"]), (&json!("deleted"), &json!(true)));
    assert_eq!(soft.received().len(), 1);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_list_shows_what_is_asked_for() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let mut published = Vec::new();
    for number in 0..5 {
        let event_type = if number % 2 == 0 { "order.created" } else { "order.updated" };
        let event = json!({
            "event_type": event_type, "entity_id": format!("o{number}"), "data": {"status": number}, "old_data": {"status": 9},
        });
        published.push(publish(&tenant, &event).await["id"].as_str().unwrap().to_owned());
        // Ids of the same millisecond have no order.
        let last = now().as_millisecond();
        tests::eventually("the next millisecond", async || (now().as_millisecond() > last).then_some(())).await;
    }
    published.reverse();
    assert_eq!(ids(&list(&tenant, "").await), published);
    let only = |numbers: &[usize]| numbers.iter().map(|number| published[4 - number].clone()).collect::<Vec<_>>();
    for (query, numbers) in [
        ("event_type=order.created", &[4, 2, 0][..]),
        ("event_type=order.*", &[4, 3, 2, 1, 0]),
        ("event_type=*.updated", &[3, 1]),
        ("event_type=order.status_changed", &[3, 1]),
        ("event_type=invoice.*", &[]),
        ("entity_id=o2", &[2]),
        ("source=published", &[4, 3, 2, 1, 0]),
        ("source=items", &[]),
        ("from=2999-01-01T00:00:00Z", &[]),
        ("from=2000-01-01T00:00:00Z&to=2999-01-01T00:00:00Z", &[4, 3, 2, 1, 0]),
        ("to=2020-01-01T00:00:00Z", &[]),
    ] {
        assert_eq!(ids(&list(&tenant, query).await), only(numbers), "{query}");
    }
    let mut paged = Vec::new();
    let mut next = "/events?limit=2".to_owned();
    loop {
        let (status, page) = tenant.call(Method::GET, &next, None).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        paged.extend(page["data"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        next = format!("/events?limit=2&cursor={cursor}");
    }
    assert_eq!(paged, published);
    assert_eq!(list(&stack.tenant(), "").await, [] as [Value; 0], "a tenant sees only its own");
    for query in ["limit=0", "cursor=x", "event_type=a*", "from=yesterday", "colour=red"] {
        let (status, problem) = tenant.call(Method::GET, &format!("/events?{query}"), None).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{query}: {problem}");
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_application_sees_its_own_events_and_nobodys() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let token = |app: &str| Claims::new(&tenant.name, &["ADMIN"]).with("app_id", json!(app)).rs256();
    let (crm, erp) = (token("crm"), token("erp"));
    let event = json!({"event_type": "a.b", "data": {}}).to_string();
    let nobodys = publish(&tenant, &json!({"event_type": "a.b", "data": {}})).await;
    let (_, crms) = stack.call(Method::POST, "/events", Some(&crm), Some(&event)).await;
    let (_, erps) = stack.call(Method::POST, "/events", Some(&erp), Some(&event)).await;
    let mut seen = Vec::new();
    for token in [&crm, &erp, &tenant.token] {
        let (_, list) = stack.call(Method::GET, "/events", Some(token), None).await;
        let listed = list["data"].as_array().unwrap().clone();
        for event in [&nobodys, &crms, &erps] {
            let read = format!("/events/{}", event["id"].as_str().unwrap());
            let status = stack.call(Method::GET, &read, Some(token), None).await.0;
            let is_listed = listed.iter().any(|listed| listed["id"] == event["id"]);
            assert_eq!(status == StatusCode::OK, is_listed);
            seen.push(is_listed);
        }
    }
    assert_eq!(seen, [true, true, false, true, false, true, true, true, true]);
    // It describes no types either: those are everybody's.
    let described = stack.call(Method::PUT, "/event-types/a.b", Some(&crm), Some("{}")).await;
    assert_eq!(described.0, StatusCode::FORBIDDEN);
    assert_eq!(stack.call(Method::GET, "/event-types", Some(&crm), None).await.0, StatusCode::OK);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_type_is_described_and_its_events_are_checked() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let described = json!({
        "description": "an invoice is paid", "deprecated": false, "example": {"total": 1.5},
        "schema": {"type": "object", "required": ["total"], "properties": {"total": {"type": "number"}}},
    });
    let (status, created) = tenant.call(Method::PUT, "/event-types/invoice.paid", Some(&described)).await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
    assert_eq!(
        (&created["event_type"], &created["updated_by"], &created["first_seen_at"]),
        (&json!("invoice.paid"), &json!("test-user"), &Value::Null)
    );
    for (name, value) in described.as_object().unwrap() {
        assert_eq!(&created[name], value, "{name}");
    }
    let (status, read) = tenant.call(Method::GET, "/event-types/invoice.paid", None).await;
    assert_eq!((status, &read), (StatusCode::OK, &created));

    let bad = json!({"event_type": "invoice.paid", "data": {"total": "secret"}});
    let (status, problem) = tenant.call(Method::POST, "/events", Some(&bad)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["errors"], json!([{"pointer": "#/data/total", "detail": "value is not of type \"number\""}]));
    publish(&tenant, &json!({"event_type": "invoice.paid", "data": {"total": 2}})).await;
    publish(&tenant, &json!({"event_type": "invoice.sent", "data": {}})).await;
    // What is replaced is gone.
    let (status, replaced) = tenant.call(Method::PUT, "/event-types/invoice.paid", Some(&json!({}))).await;
    assert_eq!((status, &replaced["schema"], &replaced["description"]), (StatusCode::OK, &Value::Null, &Value::Null));
    publish(&tenant, &bad).await;
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn when_a_type_was_first_seen_stays() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let registry = stack.aws.registry(stack.output("RegistryTable").to_owned());
    let seen = [(tenant.name.parse().unwrap(), "order.seen".parse().unwrap())];
    let at = now();
    registry.record_types(&seen, at).await.unwrap();
    let (_, entry) = tenant.call(Method::GET, "/event-types/order.seen", None).await;
    assert_eq!((&entry["first_seen_at"], &entry["updated_at"]), (&json!(at.to_string()), &Value::Null));
    let body = json!({"description": "d", "schema": {"type": "object"}});
    let (status, described) = tenant.call(Method::PUT, "/event-types/order.seen", Some(&body)).await;
    assert_eq!((status, &described["first_seen_at"]), (StatusCode::OK, &json!(at.to_string())), "it was known");
    registry.record_types(&seen, now()).await.unwrap();
    let (_, entry) = tenant.call(Method::GET, "/event-types/order.seen", None).await;
    assert_eq!(entry, described);

    for name in ["order.a", "order.b"] {
        tenant.call(Method::PUT, &format!("/event-types/{name}"), Some(&json!({}))).await;
    }
    let seen = [(tenant.name.parse().unwrap(), "order.b.seen".parse().unwrap())];
    registry.record_types(&seen, at).await.unwrap();
    let (mut listed, mut next) = (Vec::new(), "/event-types?limit=1".to_owned());
    loop {
        let (status, page) = tenant.call(Method::GET, &next, None).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        listed.extend(page["data"].as_array().unwrap().iter().map(|entry| entry["event_type"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        next = format!("/event-types?limit=1&cursor={cursor}");
    }
    // The types that tables make are listed too.
    let own = ["order.a", "order.b", "order.b.seen", "order.seen"];
    listed.retain(|name| own.iter().any(|own| name == own));
    assert_eq!(listed, own);
    for name in ["order.a", "order.b.seen"] {
        let path = format!("/event-types/{name}");
        assert_eq!(stack.tenant().call(Method::GET, &path, None).await.0, StatusCode::NOT_FOUND);
        assert_eq!(stack.tenant().call(Method::DELETE, &path, None).await.0, StatusCode::NOT_FOUND);
        assert_eq!(tenant.call(Method::DELETE, &path, None).await.0, StatusCode::NO_CONTENT);
        assert_eq!(tenant.call(Method::DELETE, &path, None).await.0, StatusCode::NOT_FOUND);
    }
}

/// A form needs the names before anything has happened.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn what_tables_can_make_is_listed_before_it_happens() {
    let stack = Stack::connect().await;
    let (tenant, other) = (stack.tenant(), stack.tenant());
    let (table, entity) = (unique("shop"), unique("order"));
    let operator = Claims::new("", &["OPERATOR"]).with("tenant_id", Value::Null).rs256();
    let mapping =
        json!({"entity": entity, "tenant": tenant.name, "app": "crm", "id": "{id}", "collection": "orders/{o}/lines"});
    let source = json!({"table": table, "entities": [mapping]}).to_string();
    assert_eq!(stack.call(Method::POST, "/sources", Some(&operator), Some(&source)).await.0, StatusCode::CREATED);

    let types = ["created", "updated", "deleted"].map(|operation| format!("{entity}.{operation}"));
    let kind = json!({"entity": entity, "entity_key": entity, "source": table, "collection": "orders/{o}/lines", "event_types": types});
    let kinds =
        async |caller: &Tenant| caller.call(Method::GET, "/entities", None).await.1["data"].as_array().unwrap().clone();
    let crm = tenant.application("crm");
    assert!(kinds(&tenant).await.contains(&kind) && kinds(&crm).await.contains(&kind));
    assert!(!kinds(&other).await.contains(&kind) && !kinds(&tenant.application("erp")).await.contains(&kind));

    let path = format!("/event-types/{}", types[1]);
    let (status, entry) = tenant.call(Method::GET, &path, None).await;
    assert_eq!((status, &entry["operation"]), (StatusCode::OK, &json!("updated")));
    assert_eq!(
        (&entry["entity"], &entry["sources"], &entry["first_seen_at"]),
        (&json!(entity), &json!([table]), &Value::Null)
    );
    let cursor = format!("/event-types?limit=3&cursor={entity}");
    let (_, page) = crm.call(Method::GET, &cursor, None).await;
    let names: Vec<_> =
        page["data"].as_array().unwrap().iter().map(|entry| entry["event_type"].as_str().unwrap()).collect();
    assert_eq!(names, [&types[0], &types[2], &types[1]]);
    for stranger in [&other, &tenant.application("erp")] {
        assert_eq!(stranger.call(Method::GET, &path, None).await.0, StatusCode::NOT_FOUND);
    }
    // A description and the tables are in one entry.
    let (_, described) = tenant.call(Method::PUT, &path, Some(&json!({"description": "d"}))).await;
    assert_eq!((&described["sources"], &described["description"]), (&json!([table]), &json!("d")));
    let path = format!("/sources/{table}");
    assert_eq!(stack.call(Method::DELETE, &path, Some(&operator), None).await.0, StatusCode::NO_CONTENT);
}

#[rstest]
#[case::no_schema(json!({"schema": {"type": "strnig"}}), "#/schema")]
#[case::another_document(json!({"schema": {"$ref": "https://example.com/"}}), "#/schema")]
#[case::endless(json!({"schema": {"properties": {"a": {"$ref": "#"}}}}), "#/schema")]
#[case::no_object(json!({"schema": true}), "#/schema")]
#[case::another_example(json!({"schema": {"required": ["a"]}, "example": {}}), "#/example")]
#[case::unknown(json!({"colour": "red"}), "#/colour")]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_description_that_is_none_is_named(#[case] body: Value, #[case] pointer: &str) {
    let tenant = Stack::connect().await.tenant();
    let (status, problem) = tenant.call(Method::PUT, "/event-types/a.b", Some(&body)).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(pointer)));
    assert_eq!(tenant.call(Method::GET, "/event-types/a.b", None).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_webhook_explains_itself() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let more = json!({"event_types": ["order.*"], "changed": ["status"]});
    let webhook = tenant.webhook(URL, more).await;
    let explain = async |body: &Value| tenant.call(Method::POST, &path(&webhook, "/explain"), Some(body)).await;
    let event = json!({"event_type": "order.updated", "data": {"status": "paid"}, "old_data": {"status": "open"}});
    let event = publish(&tenant, &event).await;
    let (status, answer) = explain(&json!({"event_id": event["id"]})).await;
    assert_eq!(
        (status, &answer["wants"], &answer["event_type"]),
        (StatusCode::OK, &json!(true), &json!("order.updated")),
        "{answer}"
    );
    let payload: Value = serde_json::from_str(answer["payload"].as_str().unwrap()).unwrap();
    assert_eq!(payload["data"]["updateMask"], json!(["status"]));

    let sample = json!({"sample": {"event_type": "order.updated", "properties": {"n": 2}, "old_properties": {"n": 1}}});
    let (_, answer) = explain(&sample).await;
    assert_eq!(
        (&answer["wants"], &answer["payload"], &answer["event_type"]),
        (&json!(false), &Value::Null, &Value::Null)
    );
    let failed: Vec<_> =
        answer["conditions"].as_array().unwrap().iter().filter(|verdict| verdict["holds"] == false).collect();
    assert_eq!((failed.len(), &failed[0]["condition"]), (1, &json!("changed")), "{answer}");

    tenant.call(Method::POST, &path(&webhook, "/pause"), None).await;
    let (_, answer) = explain(&json!({"event_id": event["id"]})).await;
    assert_eq!((&answer["wants"], &answer["conditions"][0]["condition"]), (&json!(true), &json!("paused_at")));
    tenant.call(Method::POST, &path(&webhook, "/disable"), None).await;
    let (_, answer) = explain(&json!({"event_id": event["id"]})).await;
    assert_eq!((&answer["wants"], &answer["conditions"][0]["condition"]), (&json!(false), &json!("enabled")));

    let theirs = publish(&stack.tenant(), &json!({"event_type": "order.updated", "data": {}})).await;
    for (body, pointer) in [
        (json!({"event_id": theirs["id"]}), "#/event_id"),
        (json!({"event_id": "evt_1"}), "#/event_id"),
        (json!({}), "#"),
        (json!({"event_id": event["id"], "sample": {}}), "#"),
    ] {
        let (status, problem) = explain(&body).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(pointer)));
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_change_is_tried_on_what_there_was() {
    let tenant = Stack::connect().await.tenant();
    let webhook = tenant.webhook(URL, json!({"event_types": ["order.created", "order.paid"]})).await;
    let mut published = Vec::new();
    for event_type in ["order.created", "order.paid", "order.lost"] {
        published.push(publish(&tenant, &json!({"event_type": event_type, "data": {"n": 1}})).await);
    }
    let try_it = async |body: &Value| tenant.call(Method::POST, &path(&webhook, "/dry-run"), Some(body)).await;
    let change = json!({"event_types": ["order.paid", "order.lost"], "properties": {"region": "eu"}});
    let (status, run) = try_it(&json!({"webhook": change})).await;
    assert_eq!(status, StatusCode::OK, "{run}");
    assert_eq!((&run["looked_at"], &run["before"], &run["after"]), (&json!(3), &json!(2), &json!(2)));
    assert_eq!((&run["added"], &run["removed"]), (&json!([published[2]]), &json!([published[0]])));
    assert_eq!((&run["changed_payloads"], &run["errors"]), (&json!(1), &json!([])));
    let example = &run["examples"][0];
    assert_eq!(example["id"], published[1]["id"]);
    let after: Value = serde_json::from_str(example["after"].as_str().unwrap()).unwrap();
    assert_eq!(after["region"], "eu");

    let policy = json!({"backoff": "fixed", "maxAttempts": 3, "scheduleSeconds": [10, 60], "timeoutMs": 1000});
    let (_, run) = try_it(&json!({"webhook": {"retry_policy": policy}})).await;
    let wait = |attempt: u32, min: u32, max: u32| json!({"after_attempt": attempt, "min_ms": min, "max_ms": max});
    let waits = [wait(1, 10_000, 11_000), wait(2, 60_000, 66_000)];
    assert_eq!(run["retries"], json!({"waits": waits, "exhausted_after_ms": 80_000}));

    let (_, run) = try_it(&json!({"webhook": {"enabled": false}, "events": 2})).await;
    assert_eq!((&run["looked_at"], &run["after"]), (&json!(2), &json!(0)));
    let template = r#"{% if operationType == "created" %}x{% else %}{"n": 1}{% endif %}"#;
    let (status, run) = try_it(&json!({"webhook": {"payload_format": "template", "template": template}})).await;
    assert_eq!((status, run["errors"].as_array().map(Vec::len)), (StatusCode::OK, Some(2)), "{run}");
    for (body, pointer) in [
        (json!({"webhook": {"url": "ftp://a"}}), "#/webhook/url"),
        (json!({"webhook": {"retry_policy": {"maxAttempts": 26}}}), "#/webhook/retry_policy/maxAttempts"),
        (json!({"webhook": {}, "events": 0}), "#/events"),
        (json!({}), "#/webhook"),
    ] {
        let (status, problem) = try_it(&body).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(pointer)));
    }
    let (_, now) = tenant.call(Method::GET, &path(&webhook, ""), None).await;
    assert_eq!((&now["version"], &now["properties"]), (&json!(1), &json!({})), "nothing is written");
}
