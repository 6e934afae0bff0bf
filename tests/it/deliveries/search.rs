//! Searches over all webhooks of a tenant: by entity, by event, and the newest deliveries.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Receiver, Stack, Tenant, eventually, path};

use super::{list, publish};

async fn all(tenant: &Tenant, query: &str) -> Value {
    let (status, list) = tenant.call(Method::GET, &format!("/deliveries?{query}"), None).await;
    assert_eq!(status, StatusCode::OK, "{query}: {list}");
    list
}

fn ids<'a>(list: &'a Value, name: &str) -> Vec<&'a str> {
    list["data"].as_array().unwrap().iter().map(|delivery| delivery[name].as_str().unwrap()).collect()
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
