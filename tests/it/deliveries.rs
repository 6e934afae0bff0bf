//! The log of attempts, its filters, and the sums of a webhook.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::attempt::outcome::Verdict;
use domain::id::WebhookId;
use domain::webhook::hours::Hour;
use domain::webhook::statistics::Tally;
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Answer, Receiver, Stack, Tenant, eventually, path, unique};

use crate::breaker::time_passes;

/// Nothing is attempted twice.
fn once() -> Value {
    json!({"headers": {"X-Team": "erp"}, "retry_policy": {"maxAttempts": 1, "timeoutMs": 1000}})
}

async fn list(tenant: &Tenant, webhook: &Value, query: &str) -> Value {
    let (status, list) = tenant.call(Method::GET, &path(webhook, &format!("/deliveries?{query}")), None).await;
    assert_eq!(status, StatusCode::OK, "{query}: {list}");
    list
}

/// One delivery that arrived, one that got 500, and one that was led elsewhere.
async fn three(tenant: &Tenant) -> (Value, Vec<Value>) {
    let receiver = Receiver::start(|number| match number {
        0 => Answer::Status(204),
        1 => Answer::Status(500),
        _ => Answer::Redirect("https://user:pass@other.example/login?token=sesame"),
    })
    .await;
    let webhook = tenant.webhook(&receiver.url, once()).await;
    tenant.put("i1", &[]).await;
    receiver.wait_for(1).await;
    tenant.put("i1", &[("a", AttributeValue::Bool(true))]).await;
    receiver.wait_for(2).await;
    tenant.remove("i1").await;
    receiver.wait_for(3).await;
    let mut deliveries = eventually("three deliveries", async || {
        Some(tenant.deliveries(&webhook).await).filter(|deliveries| deliveries.len() == 3)
    })
    .await;
    // A stream tells times by the second: which of them is the newest is not certain.
    deliveries
        .sort_by_key(|delivery| [204, 500, 302].iter().position(|status| delivery["attempts"][0]["status"] == *status));
    (webhook, deliveries)
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_attempt_shows_what_was_sent_and_no_secret() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, once()).await;
    tenant.put("i1", &[]).await;
    let request = receiver.wait_for(1).await.remove(0);
    let delivery = tenant.delivery(&webhook, "delivered").await;
    let attempt = &delivery["attempts"][0];
    let headers = &attempt["request_headers"];
    for name in ["webhook-id", "webhook-timestamp"] {
        assert_eq!(headers[name], request.header(name));
    }
    assert_eq!((&headers["X-Team"], &headers["webhook-signature"]), (&json!("erp"), &json!("v1,***")));
    assert_eq!(headers["webhook-id"], delivery["event_id"]);
    assert!(attempt["timing"].is_object() && attempt["retry_after_s"].is_null());
    let signature = request.header("webhook-signature").strip_prefix("v1,").unwrap();
    let secret = webhook["secret"].as_str().unwrap();
    assert!(![signature, secret].iter().any(|hidden| delivery.to_string().contains(hidden)));
}

/// A delivery that arrived at once has no body in its row.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_delivery_shows_the_body_that_was_sent_and_the_whole_of_a_bad_answer() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let long: &'static str = "no column total ".repeat(900).leak();
    let receiver =
        Receiver::start(move |number| if number == 0 { Answer::Status(204) } else { Answer::Text(500, long) }).await;
    let settings = json!({"event_types": ["invoice.paid"], "retry_policy": {"maxAttempts": 1}});
    let webhook = tenant.webhook(&receiver.url, settings).await;
    let event = json!({"event_type": "invoice.paid", "data": {"amount": 12_345_678_901_234_567_890_u64}});
    tenant.call(Method::POST, "/events", Some(&event)).await;
    let delivered = tenant.delivery(&webhook, "delivered").await;
    let one = |delivery: &Value| path(&webhook, &format!("/deliveries/{}", delivery["id"].as_str().unwrap()));
    let sent = receiver.wait_for(1).await.remove(0);
    let shown = tenant.call(Method::GET, &one(&delivered), None).await.1;
    assert_eq!(shown["request_body"], String::from_utf8(sent.body.to_vec()).unwrap());
    assert_eq!(delivered.get("request_body"), None, "a list has no bodies");

    tenant.call(Method::POST, "/events", Some(&event)).await;
    let exhausted = tenant.delivery(&webhook, "exhausted").await;
    let failed = receiver.wait_for(2).await.remove(1);
    // What arrived is rendered again, with its state.
    tenant.call(Method::POST, &format!("{}/redeliver", one(&delivered)), None).await;
    assert_eq!(receiver.wait_for(3).await.remove(2).body, sent.body);
    let change = json!({"properties": {"region": "eu"}});
    tenant.call(Method::PATCH, &path(&webhook, ""), Some(&change)).await;
    let shown = tenant.call(Method::GET, &one(&exhausted), None).await.1;
    assert_eq!(shown["request_body"], String::from_utf8(failed.body.to_vec()).unwrap(), "what failed is kept");
    assert_eq!(shown["attempts"][0]["response_excerpt"], long);
    // With other settings an event gives another body, which was not sent.
    let other =
        tenant.webhook(&receiver.url, json!({"event_types": ["invoice.sent"], "success_statuses": ["500"]})).await;
    let event = json!({"event_type": "invoice.sent", "data": {}});
    tenant.call(Method::POST, "/events", Some(&event)).await;
    let arrived = tenant.delivery(&other, "delivered").await;
    let arrived = path(&other, &format!("/deliveries/{}", arrived["id"].as_str().unwrap()));
    assert!(tenant.call(Method::GET, &arrived, None).await.1["request_body"].is_string());
    tenant.call(Method::PATCH, &path(&other, ""), Some(&change)).await;
    assert_eq!(tenant.call(Method::GET, &arrived, None).await.1["request_body"], Value::Null);

    let key = json!({"name": "log", "scopes": ["deliveries:read"]});
    let key = tenant.call(Method::POST, "/api-keys", Some(&key)).await.1["key"].as_str().unwrap().to_owned();
    let (status, shown) = stack.call(Method::GET, &one(&exhausted), Some(&key), None).await;
    assert_eq!((status, shown.get("request_body")), (StatusCode::OK, None));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_delivery_shows_its_entity_its_lateness_and_the_url_of_each_attempt() {
    let tenant = Stack::connect().await.tenant();
    let (failing, accepting) = (Receiver::start(|_| Answer::Status(500)).await, Receiver::accepting().await);
    let webhook = tenant.webhook(&failing.url, once()).await;
    tenant.put("i1", &[]).await;
    let exhausted = tenant.delivery(&webhook, "exhausted").await;
    assert_eq!((&exhausted["entity"], &exhausted["lateness_ms"]), (&json!("items/i1"), &Value::Null));
    assert_eq!((&exhausted["attempts"][0]["url"], &exhausted["test"]), (&json!(failing.url), &json!(false)));
    // The receiver moves, and the delivery is sent again.
    let moved = json!({"url": accepting.url});
    let (status, _) = tenant.call(Method::PATCH, &path(&webhook, ""), Some(&moved)).await;
    assert_eq!(status, StatusCode::OK);
    let redeliver = path(&webhook, &format!("/deliveries/{}/redeliver", exhausted["id"].as_str().unwrap()));
    tenant.call(Method::POST, &redeliver, None).await;
    let delivered = tenant.delivery(&webhook, "delivered").await;
    let time = |value: &Value| value.as_str().unwrap().parse::<Timestamp>().unwrap().as_millisecond();
    let attempt = &delivered["attempts"][1];
    let end = time(&attempt["at"]) + attempt["duration_ms"].as_i64().unwrap();
    assert_eq!(delivered["lateness_ms"], json!((end - time(&delivered["event_time"])).max(0)));
    let urls: Vec<_> = delivered["attempts"].as_array().unwrap().iter().map(|attempt| attempt["url"].clone()).collect();
    assert_eq!(urls, [json!(failing.url), json!(accepting.url)]);
    let (_, event) =
        tenant.call(Method::GET, &format!("/events/{}", delivered["event_id"].as_str().unwrap()), None).await;
    assert_eq!((&delivered["entity"], time(&delivered["event_time"])), (&event["entity"]["path"], time(&event["at"])));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_redirect_shows_where_it_leads_without_what_may_be_secret() {
    let tenant = Stack::connect().await.tenant();
    let (_, deliveries) = three(&tenant).await;
    let attempt = &deliveries[2]["attempts"][0];
    assert_eq!(attempt["verdict"], "redirected");
    assert_eq!(attempt["error"], "redirects are not followed; this one leads to https://other.example/login?***");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_list_has_what_is_asked_for() {
    let tenant = Stack::connect().await.tenant();
    let (webhook, deliveries) = three(&tenant).await;
    let event = |number: usize| format!("event_id={}", deliveries[number]["event_id"].as_str().unwrap());
    // The numbers of those that are listed.
    let queries: [(&str, &[usize]); 17] = [
        ("", &[0, 1, 2]),
        ("state=delivered", &[0]),
        ("state=exhausted,delivered", &[0, 1, 2]),
        ("state=retrying", &[]),
        ("verdict=redirected,server_failed", &[1, 2]),
        ("status=500", &[1]),
        ("status=5xx,204", &[0, 1]),
        ("status=4xx", &[]),
        ("event_type=item.*", &[0, 1, 2]),
        ("event_type=*.deleted", &[2]),
        (&event(1), &[1]),
        ("event_id=evt_01JD3V7Q5N8Z4T6W9X2Y1R0PMK", &[]),
        ("from=2026-01-01T00:00:00Z&to=9000-01-01T00:00:00Z", &[0, 1, 2]),
        ("from=9000-01-01T00:00:00Z", &[]),
        ("to=2026-01-01T00:00:00Z", &[]),
        ("from=9000-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", &[]),
        ("state=exhausted&event_type=item.updated", &[1]),
    ];
    for (query, numbers) in queries {
        let found = list(&tenant, &webhook, query).await;
        let number = |found: &Value| deliveries.iter().position(|delivery| delivery["id"] == found["id"]).unwrap();
        let mut listed: Vec<_> = found["data"].as_array().unwrap().iter().map(number).collect();
        listed.sort_unstable();
        assert_eq!(listed, numbers, "{query}");
        assert_eq!(found["next_cursor"], Value::Null, "{query}");
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn pages_show_every_delivery_once() {
    let tenant = Stack::connect().await.tenant();
    let (webhook, _) = three(&tenant).await;
    let (mut shown, mut query) = (Vec::new(), "limit=1".to_owned());
    loop {
        let page = list(&tenant, &webhook, &query).await;
        shown.extend(page["data"].as_array().unwrap().iter().map(|delivery| delivery["id"].clone()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        query = format!("limit=1&cursor={next}");
    }
    let all: Vec<_> = tenant.deliveries(&webhook).await.iter().map(|delivery| delivery["id"].clone()).collect();
    assert_eq!(shown, all);
    assert!(all.is_sorted_by(|one, next| one.as_str() > next.as_str()), "newest first");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_filter_that_is_none_is_named() {
    let tenant = Stack::connect().await.tenant();
    let webhook = tenant.webhook("https://receiver.example/", json!({})).await;
    for (query, pointer) in [
        ("state=lost", "?state"),
        ("verdict=", "?verdict"),
        ("status=5x", "?status"),
        ("event_id=1", "?event_id"),
        ("from=now", "?from"),
        ("limit=0", "?limit"),
        ("cursor=1", "?cursor"),
    ] {
        let (status, problem) = tenant.call(Method::GET, &path(&webhook, &format!("/deliveries?{query}")), None).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(pointer)));
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn statistics_add_up_hour_by_hour() {
    let tenant = Stack::connect().await.tenant();
    let (webhook, deliveries) = three(&tenant).await;
    let sums = eventually("three counted attempts", async || {
        let (status, sums) = tenant.call(Method::GET, &path(&webhook, "/statistics"), None).await;
        assert_eq!(status, StatusCode::OK, "{sums}");
        Some(sums).filter(|sums| sums["total_calls"] == 3)
    })
    .await;
    assert_eq!((&sums["total_errors"], &sums["consecutive_failures"]), (&json!(2), &json!(2)));
    assert_eq!((&sums["webhook_id"], &sums["consecutive_timeouts"]), (&webhook["id"], &json!(0)));
    let failed_at: Timestamp = deliveries[1]["attempts"][0]["at"].as_str().unwrap().parse().unwrap();
    let failing_since: Timestamp = sums["failing_since"].as_str().unwrap().parse().unwrap();
    assert_eq!(failing_since.as_millisecond(), failed_at.as_millisecond());
    let hours = sums["hours"].as_array().unwrap();
    assert_eq!(hours.len(), 48);
    // The test may see an hour end.
    let sum = |name: &str| hours[..2].iter().map(|hour| hour[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("calls"), sum("errors"), sum("delivered")), (3, 2, 1));
    assert!(hours.iter().any(|hour| hour["mean_duration_ms"].is_u64()));
    assert_eq!(
        hours[2],
        json!({"hour": hours[2]["hour"], "calls": 0, "errors": 0, "delivered": 0, "mean_duration_ms": null})
    );
}

fn tally(hour: i64, calls: u64, last_status: Verdict) -> Tally {
    let last_at = Hour::from_number(hour).start();
    let failed = last_status != Verdict::Accepted;
    let failures = if failed { calls } else { 0 };
    let timeouts = if last_status == Verdict::TimedOut { calls } else { 0 };
    Tally {
        calls,
        errors: failures,
        ignored: 0,
        duration_ms: 10 * calls,
        failures,
        succeeded: !failed,
        failing_since: failed.then_some(last_at),
        timeouts,
        ended_otherwise: timeouts == 0,
        last_error: failed.then(|| "it failed".to_owned()),
        last_at,
        last_status,
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn counts_of_any_order_stand_in_their_hours() {
    let stack = Stack::connect().await;
    let registry = stack.aws.registry(stack.output("RegistryTable").to_owned());
    let tenant = stack.tenant();
    let webhook = tenant.webhook("https://receiver.example/", once()).await;
    let id: WebhookId = webhook["id"].as_str().unwrap().parse().unwrap();
    let start = 490_000;
    let mut statistics = Vec::new();
    for (hour, calls) in [(0, 1), (0, 2), (3, 4), (1, 8), (47, 16), (2, 32), (50, 64), (2, 128)] {
        let sums = registry.count(id, &tally(start + hour, calls, Verdict::Accepted)).await.unwrap();
        let read = registry.webhook(&tenant.name.parse().unwrap(), id).await.unwrap().unwrap().statistics;
        assert_eq!(sums.total_calls, read.total_calls);
        statistics.push(read);
    }
    let shown = |number: usize, now: i64| -> Vec<(i64, u64)> {
        let hours = statistics[number].hours.until(Hour::from_number(start + now).start());
        hours.filter(|(_, sums)| sums.calls > 0).map(|(hour, sums)| (hour.number() - start, sums.calls)).collect()
    };
    assert_eq!(shown(1, 0), [(0, 3)]);
    assert_eq!(shown(3, 3), [(3, 4), (1, 8), (0, 3)]);
    assert_eq!(shown(5, 47), [(47, 16), (3, 4), (2, 32), (1, 8), (0, 3)]);
    // The first hours are over, and what comes too late for them is in none.
    assert_eq!(shown(7, 50), [(50, 64), (47, 16), (3, 4)]);
    assert_eq!(statistics[7].total_calls, 255);
    assert_eq!(shown(7, 150), []);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn failures_in_a_row_end_with_a_success() {
    let stack = Stack::connect().await;
    let registry = stack.aws.registry(stack.output("RegistryTable").to_owned());
    let webhook = WebhookId::derive(Timestamp::UNIX_EPOCH, &[&unique("statistics")]);
    let mut found = Vec::new();
    for (hour, verdict) in [
        (490_000, Verdict::TimedOut),
        (490_001, Verdict::TimedOut),
        (490_002, Verdict::Refused),
        (490_003, Verdict::Accepted),
        (490_004, Verdict::TimedOut),
    ] {
        let sums = registry.count(webhook, &tally(hour, 2, verdict)).await.unwrap();
        let since = sums.failing_since.map(|since| Hour::of(since).number());
        found.push((sums.consecutive_failures, sums.consecutive_timeouts, since));
    }
    let since = |hour: i64| Some(490_000 + hour);
    assert_eq!(found, [(2, 2, since(0)), (4, 4, since(0)), (6, 0, since(0)), (0, 0, None), (2, 2, since(4))]);
}

async fn all(tenant: &Tenant, query: &str) -> Value {
    let (status, list) = tenant.call(Method::GET, &format!("/deliveries?{query}"), None).await;
    assert_eq!(status, StatusCode::OK, "{query}: {list}");
    list
}

fn ids<'a>(list: &'a Value, name: &str) -> Vec<&'a str> {
    list["data"].as_array().unwrap().iter().map(|delivery| delivery[name].as_str().unwrap()).collect()
}

/// Publishes an event about an order, and returns its id.
async fn publish(tenant: &Tenant, event_type: &str, order: &str) -> String {
    let event = json!({"event_type": event_type, "entity_id": order, "data": {"total": 1}});
    let (status, published) = tenant.call(Method::POST, "/events", Some(&event)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{published}");
    published["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn deliveries_are_found_by_entity_and_by_event_over_all_webhooks() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::accepting().await;
    let of = |types: Value| json!({"event_types": types, "retry_policy": {"maxAttempts": 1}});
    let paid = tenant.webhook(&receiver.url, of(json!(["order.paid"]))).await;
    let both = tenant.webhook(&receiver.url, of(json!(["order.paid", "order.sent"]))).await;
    let first = publish(&tenant, "order.paid", "3").await;
    let second = publish(&tenant, "order.sent", "3").await;
    let unwanted = publish(&tenant, "order.lost", "3").await;
    publish(&tenant, "order.paid", "4").await;
    let entity = eventually("three deliveries of order 3", async || {
        Some(all(&tenant, "entity=orders/3").await).filter(|list| list["data"].as_array().unwrap().len() == 3)
    })
    .await;
    assert_eq!(ids(&entity, "event_id"), [&second, &first, &first], "newest first");
    assert_eq!(entity["warnings"], json!([]));
    assert_eq!(all(&tenant, "entity=orders/999").await["warnings"], json!([]), "the collection is known");
    let warning = json!({
        "code": "unknown_collection",
        "pointer": "?entity",
        "detail": "no source has the collection order; the nearest known name is orders",
        "help": "/docs/use/warnings#unknown_collection",
    });
    assert_eq!(all(&tenant, "entity=order/3").await["warnings"], json!([warning]));
    assert!(ids(&entity, "entity").iter().all(|entity| *entity == "orders/3"));
    assert_eq!(entity["without_delivery"].as_array().unwrap().len(), 1);
    let without = &entity["without_delivery"][0];
    assert_eq!((&without["event_id"], &without["entity"]), (&json!(unwanted), &json!("orders/3")));
    assert_eq!((&without["event_type"], &entity["next_cursor"]), (&json!("order.lost"), &Value::Null));
    // The same, delivery by delivery.
    let (mut shown, mut lost, mut query) = (Vec::new(), 0, "limit=1".to_owned());
    loop {
        let page = all(&tenant, &format!("entity=orders/3&{query}")).await;
        assert!(page["data"].as_array().unwrap().len() <= 1);
        shown.extend(ids(&page, "id").into_iter().map(str::to_owned));
        lost += page["without_delivery"].as_array().unwrap().len();
        let Some(next) = page["next_cursor"].as_str() else { break };
        query = format!("limit=1&cursor={next}");
    }
    assert_eq!((shown, lost), (ids(&entity, "id").into_iter().map(str::to_owned).collect(), 1));
    // By event.
    let event = all(&tenant, &format!("event_id={first}")).await;
    assert_eq!(ids(&event, "event_id"), [&first, &first]);
    assert_eq!(event["without_delivery"], json!([]));
    let mut webhooks = ids(&event, "webhook_id");
    webhooks.sort_unstable();
    let mut expected = [&paid, &both].map(|webhook| webhook["id"].as_str().unwrap());
    expected.sort_unstable();
    assert_eq!(webhooks, expected);
    let event = all(&tenant, &format!("event_id={unwanted}")).await;
    assert_eq!((&event["data"], &event["without_delivery"][0]["event_id"]), (&json!([]), &json!(unwanted)));
    // Filters narrow it.
    let of_paid = format!("webhook_id={}", paid["id"].as_str().unwrap());
    assert_eq!(ids(&all(&tenant, &format!("entity=orders/3&{of_paid}")).await, "event_id"), [&first]);
    assert_eq!(all(&tenant, "entity=orders/3&state=exhausted").await["data"], json!([]));
    assert_eq!(ids(&all(&tenant, "entity=orders/3&event_type=order.sent").await, "event_id"), [&second]);
    assert_eq!(all(&tenant, "entity=orders/3&to=2026-01-01T00:00:00Z").await["data"], json!([]));
    assert_eq!(list(&tenant, &both, "entity=orders/3").await["data"].as_array().unwrap().len(), 2);
    let (_, events) = tenant.call(Method::GET, "/events?entity=orders/3", None).await;
    assert_eq!(ids(&events, "id"), [&unwanted, &second, &first]);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_replayed_delivery_is_found_by_its_event() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({"event_types": ["order.paid"]})).await;
    let event = publish(&tenant, "order.paid", "3").await;
    receiver.wait_for(1).await;
    let replay = json!({"from": "2026-01-01T00:00:00Z"});
    let (status, job) = tenant.call(Method::POST, &path(&webhook, "/replay"), Some(&replay)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{job}");
    let found = eventually("two deliveries of the event", async || {
        Some(all(&tenant, &format!("event_id={event}")).await)
            .filter(|list| list["data"].as_array().unwrap().len() == 2)
    })
    .await;
    let [one, other] = ids(&found, "id")[..] else { panic!("{found}") };
    assert!(one > other, "newest first");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn the_newest_deliveries_of_all_webhooks_are_merged() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::accepting().await;
    for _ in 0..3 {
        tenant.webhook(&receiver.url, json!({"event_types": ["order.*"]})).await;
    }
    let mut events = Vec::new();
    for order in ["1", "2", "3"] {
        events.insert(0, publish(&tenant, "order.paid", order).await);
    }
    let merged = eventually("nine deliveries", async || {
        Some(all(&tenant, "state=delivered").await).filter(|list| list["data"].as_array().unwrap().len() == 9)
    })
    .await;
    let expected: Vec<_> = events.iter().flat_map(|event| [event.as_str(); 3]).collect();
    assert_eq!(ids(&merged, "event_id"), expected);
    assert_eq!((&merged["without_delivery"], &merged["next_cursor"]), (&json!([]), &Value::Null));
    let (mut shown, mut query) = (Vec::new(), "limit=4".to_owned());
    loop {
        let page = all(&tenant, &query).await;
        shown.extend(ids(&page, "id").into_iter().map(str::to_owned));
        let Some(next) = page["next_cursor"].as_str() else { break };
        query = format!("limit=4&cursor={next}");
    }
    assert_eq!(shown, ids(&merged, "id"));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn no_delivery_of_another_tenant_or_application_is_found() {
    let stack = Stack::connect().await;
    let (tenant, stranger) = (stack.tenant(), stack.tenant());
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({"event_types": ["raffle.*"]})).await;
    let event = publish(&tenant, "raffle.drawn", "3").await;
    tenant.delivery(&webhook, "delivered").await;
    let app = tests::Claims::new(&tenant.name, &["ADMIN"]).with("app_id", json!("crm")).rs256();
    let webhook = format!("webhook_id={}", webhook["id"].as_str().unwrap());
    let nothing = json!({"data": [], "without_delivery": [], "next_cursor": null, "warnings": []});
    for query in
        ["", &webhook, "entity=raffles/3", &format!("event_id={event}"), "event_id=evt_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"]
    {
        let mut found = all(&stranger, query).await;
        // No other test has this collection, so that of another tenant is unknown, and no name that is near is one of it.
        assert_eq!(found["warnings"].as_array().unwrap().len(), usize::from(query.starts_with("entity=")), "{found}");
        found["warnings"] = json!([]);
        assert_eq!(found, nothing, "{query}");
        let (_, of_app) = stack.call(Method::GET, &format!("/deliveries?{query}"), Some(&app), None).await;
        assert_eq!(of_app["data"], json!([]), "{query}");
        // The event belongs to the tenant's admin, and to no application, so an application sees that there is one.
        let events = of_app["without_delivery"].as_array().unwrap();
        assert!(events.iter().all(|shown| shown["event_id"] == json!(event)), "{query}");
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_wrong_filter_of_all_deliveries_is_named() {
    let tenant = Stack::connect().await.tenant();
    for (query, pointer) in [
        ("entity=orders", "?entity"),
        ("webhook_id=whk_1", "?webhook_id"),
        ("colour=red", "?colour"),
        ("cursor=whk_01JD1KXA00SRK4CNHMSET7SYG2", "?cursor"),
        ("cursor=evt_01JD1KXA00SRK4CNHMSET7SYG2", "?cursor"),
        ("entity=orders/3&cursor=dlv_01JD1KXA00SRK4CNHMSET7SYG2", "?cursor"),
    ] {
        let (status, problem) = tenant.call(Method::GET, &format!("/deliveries?{query}"), None).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(pointer)));
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn statistics_count_the_deliveries_that_have_not_arrived() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let failing = Receiver::start(|_| Answer::Status(500)).await;
    let twice = json!({"maxAttempts": 2, "backoff": "fixed", "scheduleSeconds": [8]});
    let webhook = tenant.webhook(&failing.url, json!({"retry_policy": twice, "event_types": ["order.*"]})).await;
    publish(&tenant, "order.paid", "1").await;
    tenant.delivery(&webhook, "retrying").await;
    let states = async || {
        let (_, statistics) = tenant.call(Method::GET, &path(&webhook, "/statistics"), None).await;
        statistics["states"].clone()
    };
    let none = json!({"parked": 0, "waiting": 0, "exhausted": 0, "retrying": 0, "held": 0, "is_complete": true});
    let with = |name: &str| {
        let mut states = none.clone();
        states[name] = json!(1);
        states
    };
    assert_eq!(states().await, with("retrying"));
    tenant.call(Method::POST, &path(&webhook, "/pause"), None).await;
    // The retry is parked when it is due.
    tenant.delivery(&webhook, "parked").await;
    assert_eq!(states().await, with("parked"));
    tenant.call(Method::POST, &path(&webhook, "/resume"), None).await;
    time_passes(&stack, &webhook).await;
    tenant.delivery(&webhook, "exhausted").await;
    let exhausted = with("exhausted");
    eventually("a dead letter", async || (states().await == exhausted).then_some(())).await;
}
