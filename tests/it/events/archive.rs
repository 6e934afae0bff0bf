//! The archive: lists of events with their filters and pages, events of one batch, and which application sees which
//! events.

use std::time::Duration;

use aws::events::Archiving;
use domain::event::Event;
use domain::id::EventId;
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Claims, Function, Receiver, Stack, now, path};

use super::{ids, list, publish};

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
