//! How many calls to AWS each route makes, and which.

use reqwest::Method;
use serde_json::json;
use tests::{Proxy, Stack, path};

use super::{Api, webhook};

/// The second secret is a key pair of its own, which a webhook may have had. The last call finds out whether another
/// request has restored the webhook in the meantime.
const DELETED: &[&str] =
    &["BatchGetItem", "BatchGetItem", "TransactWriteItems", "DeleteSecret", "DeleteSecret", "BatchGetItem"];

/// The last two are for secrets that another request has deleted in the meantime.
const RESTORED: &[&str] = &[
    "BatchGetItem",
    "BatchGetItem",
    "RestoreSecret",
    "BatchGetItem",
    "TransactWriteItems",
    "RestoreSecret",
    "BatchGetItem",
];

/// Returns whether a request was counted. Its first call raises the counter of the tenant's requests, unless such a call
/// has taken too long in the last second, as one may on a busy machine. The others are `calls`.
fn is_counted(made: &[String], calls: &[&str], route: &str) -> bool {
    if made == calls {
        return false;
    }
    let counted: Vec<_> = ["UpdateItem"].iter().chain(calls).copied().collect();
    assert_eq!(made, counted, "{route}");
    true
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn every_route_makes_as_few_calls_as_there_can_be() {
    let stack = Stack::connect().await;
    let proxy = Proxy::start().await;
    let mut api = Api::start(&stack, &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    // The fingerprint key is read once in the life of a process, and what the tenant uses once a minute.
    let (status, _, first) = api.call(Method::POST, "/webhooks", &webhook()).await;
    assert_eq!(status, 201, "{first}");
    let _ = proxy.calls();
    let path = |rest: &str| format!("/webhooks/{}{rest}", first["id"].as_str().unwrap());
    let channel = json!({"channel": {"type": "slack", "url": "https://example.com/"}});
    let (status, _, notice) = api.call(Method::POST, "/notices", &channel).await;
    assert_eq!(status, 201, "{notice}");
    // The rates of requests and of new notices.
    assert_eq!(proxy.calls(), ["UpdateItem", "UpdateItem", "BatchGetItem", "TransactWriteItems"]);
    let notice = format!("/notices/{}", notice["id"].as_str().unwrap());
    let write: &[&str] = &["BatchGetItem", "BatchGetItem", "TransactWriteItems"];
    let lanes: &[&str] = &["Query"; 4];
    let mut uncounted = 0;
    for (method, path, body, calls) in [
        (
            Method::POST,
            "/webhooks".to_owned(),
            webhook(),
            // The last two for the names that it wants: sources, and the catalog of types.
            &["UpdateItem", "CreateSecret", "BatchGetItem", "TransactWriteItems", "Query", "Query"][..],
        ),
        (Method::GET, path(""), json!({}), &["BatchGetItem"]),
        // One call for the webhooks, one for their statistics and breakers.
        (Method::GET, "/webhooks".to_owned(), json!({}), &["Query", "BatchGetItem"]),
        (Method::PATCH, path(""), json!({"name": "m"}), write),
        // One for each lane of parked deliveries, which only a webhook has that may have some.
        (Method::POST, path("/pause"), json!({}), &[write, lanes].concat()),
        (Method::POST, path("/pause"), json!({}), &["BatchGetItem", "Query", "Query", "Query", "Query"]),
        // One for the sources, one for the example in the catalog.
        (Method::POST, "/webhooks/preview".to_owned(), json!({"webhook": webhook()}), &["Query", "GetItem"]),
        (Method::POST, path("/preview"), json!({}), &["BatchGetItem", "Query", "GetItem"]),
        (Method::POST, path("/preview"), json!({"properties": {}}), &["BatchGetItem", "Query"]),
        (
            Method::POST,
            path("/secret/rotate"),
            json!({}),
            &[
                "BatchGetItem",
                "UpdateItem",
                "DescribeSecret",
                "PutSecretValue",
                "BatchGetItem",
                "BatchGetItem",
                "TransactWriteItems",
                "UpdateSecretVersionStage",
                "Query",
                "Query",
                "Query",
                "Query",
            ],
        ),
        // The webhook; its lanes of parked, waiting and dead deliveries; its partitions.
        (Method::GET, path("/statistics"), json!({}), &[&["BatchGetItem"][..], &["Query"; 4 + 4 + 4 + 8]].concat()),
        // The tenant's webhooks with their statistics, and the hours of its percentiles, at the same time.
        (Method::GET, "/statistics".to_owned(), json!({}), &["Query", "Query", "BatchGetItem"]),
        // The tenant's webhooks, and the partitions of each of the two.
        (Method::GET, "/deliveries".to_owned(), json!({}), &["Query"; 1 + 2 * 8]),
        // The tenant's webhooks, the replays, the rows, and the event: as a row, and in the packs of eight shards.
        (
            Method::GET,
            "/deliveries?event_id=evt_01JD3V7Q5N8Z4T6W9X2Y1R0PMK".to_owned(),
            json!({}),
            &[&["Query", "Query", "BatchGetItem", "GetItem"][..], &["Query"; 8]].concat(),
        ),
        (Method::POST, path("/explain"), json!({"sample": {}}), &["BatchGetItem", "Query", "GetItem"]),
        // One for the schemas of the types, one to count.
        (
            Method::POST,
            "/events".to_owned(),
            json!({"event_type": "a.b", "data": {}}),
            &["BatchGetItem", "UpdateItem", "BatchWriteItem"],
        ),
        (
            Method::POST,
            "/events".to_owned(),
            json!({"event_type": "a.b", "data": {}, "id": "1"}),
            // And one to see whether it was published before.
            &["BatchGetItem", "BatchGetItem", "UpdateItem", "TransactWriteItems"],
        ),
        (Method::GET, "/notices".to_owned(), json!({}), &["Query", "BatchGetItem"]),
        (Method::GET, notice.clone(), json!({}), &["BatchGetItem"]),
        (Method::PATCH, notice.clone(), json!({"name": "m"}), write),
        (Method::DELETE, notice, json!({}), write),
        // The last query is for the types that tables make.
        (Method::PUT, "/event-types/a.b".to_owned(), json!({}), &["UpdateItem", "TransactWriteItems", "Query"]),
        (Method::PUT, "/event-types/a.b".to_owned(), json!({}), &["UpdateItem", "Query"]),
        (Method::GET, "/event-types/a.b".to_owned(), json!({}), &["GetItem", "Query"]),
        (Method::GET, "/event-types".to_owned(), json!({}), &["Query", "Query"]),
        (Method::GET, "/entities".to_owned(), json!({}), &["Query"]),
        // One for each outcome.
        (Method::GET, path("/calls"), json!({}), &["BatchGetItem", "Query", "Query", "Query"]),
        (Method::DELETE, "/event-types/a.b".to_owned(), json!({}), &["TransactWriteItems"]),
        (Method::DELETE, path(""), json!({}), DELETED),
        (Method::POST, path("/restore"), json!({}), &[RESTORED, lanes].concat()),
    ] {
        let (status, _, answer) = api.call(method.clone(), &path, &body).await;
        assert!(status < 300, "{method} {path}: {answer}");
        uncounted += usize::from(!is_counted(&proxy.calls(), calls, &format!("{method} {path}")));
    }
    assert!(uncounted < 10, "{uncounted} requests were not counted");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn portal_links_make_as_few_calls_as_there_can_be() {
    let stack = Stack::connect().await;
    let proxy = Proxy::start().await;
    let mut api = Api::start(&stack, &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    let (_, _, webhook) = api.call(Method::POST, "/webhooks", &webhook()).await;
    let (status, _, link) = api.call(Method::POST, "/portal-links", &json!({})).await;
    assert_eq!(status, 201, "{link}");
    let id = link["id"].as_str().unwrap();
    let links = "/portal-links";
    // The link itself reads its row, and so does each of its writes.
    let of_link = json!({"subject": id, "api_key": id.replace("lnk_", "key_")});
    let write: &[&str] = &["GetItem", "BatchGetItem", "BatchGetItem", "TransactWriteItems"];
    for (context, method, path, calls) in [
        // The first call counts the tenant's links of the day.
        (json!({}), Method::POST, links.to_owned(), &["UpdateItem", "TransactWriteItems"][..]),
        (json!({}), Method::GET, links.to_owned(), &["Query"]),
        (json!({}), Method::GET, format!("{links}/{id}"), &["GetItem"]),
        (of_link.clone(), Method::GET, format!("{links}/current"), &["GetItem"]),
        (of_link, Method::PATCH, path(&webhook, ""), write),
        (json!({}), Method::DELETE, format!("{links}/{id}"), &["GetItem", "TransactWriteItems"]),
    ] {
        let _ = proxy.calls();
        api.context = context;
        let body = if method == Method::PATCH { json!({"name": "m"}) } else { json!({}) };
        let (status, _, answer) = api.call(method.clone(), &path, &body).await;
        assert!(status < 300, "{method} {path}: {answer}");
        let expected: Vec<_> = ["UpdateItem"].iter().chain(calls).copied().collect();
        assert_eq!(proxy.calls(), expected, "{method} {path}");
    }
}
