//! The list of one webhook's deliveries: its filters and its pages.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Stack, path};

use super::{list, three};

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
