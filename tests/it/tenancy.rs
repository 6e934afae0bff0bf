//! What is somebody else's does not exist: every route of the contract, with every id of somebody else.

use aws_sdk_dynamodb::types::AttributeValue;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Claims, Receiver, Stack, Tenant};

/// An id of the right form that nobody has.
const NOBODYS: [(&str, &str); 4] = [
    ("whk", "whk_01JD1KXA00SRK4CNHMSET7SYG2"),
    ("dlv", "dlv_01JD1KXA00SRK4CNHMSET7SYG2"),
    ("key", "key_01JD1KXA00SRK4CNHMSET7SYG2"),
    ("evt", "evt_01JD1KXA00SRK4CNHMSET7SYG2"),
];

/// Everything that one party has.
struct Party {
    token: String,
    webhook: String,
    delivery: String,
    api_key: String,
    event: String,
}

async fn party(stack: &Stack, tenant: &Tenant, app: Option<&str>) -> Party {
    let claims = Claims::new(&tenant.name, &["ADMIN"]);
    let token = app
        .map_or_else(|| claims.rs256(), |app| Claims::new(&tenant.name, &["ADMIN"]).with("app_id", json!(app)).rs256());
    let receiver = Receiver::accepting().await;
    let body = json!({"name": "n", "url": receiver.url, "event_types": ["item.created"]}).to_string();
    let (_, webhook) = stack.call(Method::POST, "/webhooks", Some(&token), Some(&body)).await;
    let webhook = webhook["id"].as_str().unwrap().to_owned();
    let (_, delivery) = stack.call(Method::POST, &format!("/webhooks/{webhook}/test"), Some(&token), None).await;
    let (_, key) =
        tenant.call(Method::POST, "/api-keys", Some(&json!({"name": "k", "app_id": app.unwrap_or("app")}))).await;
    let event = json!({"event_type": "item.seen", "data": {}}).to_string();
    let (_, event) = stack.call(Method::POST, "/events", Some(&token), Some(&event)).await;
    Party {
        token,
        webhook,
        delivery: delivery["id"].as_str().unwrap().to_owned(),
        api_key: key["id"].as_str().unwrap().to_owned(),
        event: event["id"].as_str().unwrap().to_owned(),
    }
}

/// Every operation of the contract that names a thing of a tenant's, with a body that would be taken.
fn operations() -> Vec<(Method, String, Option<Value>)> {
    let contract: Value = serde_json::from_str(include_str!("../../infra/openapi.json")).unwrap();
    let mut operations = Vec::new();
    for (path, item) in contract["paths"].as_object().unwrap() {
        // What has a server of its own takes no token, and a type is a name that anybody may give.
        let of_nobody = path.starts_with("/sources") || path.starts_with("/event-types");
        let named = path.contains('{') && !of_nobody && item.get("servers").is_none();
        for method in item.as_object().unwrap().keys().filter(|_| named) {
            let method: Method = method.to_uppercase().parse().unwrap();
            let body = match (&method, path.as_str()) {
                (&Method::PUT, _) => Some(json!({"name": "x", "url": "https://example.com/", "event_types": ["a.b"]})),
                (&Method::PATCH, _) => Some(json!({"name": "x"})),
                (_, "/webhooks/{id}/explain") => Some(json!({"sample": {}})),
                (_, "/webhooks/{id}/dry-run") => Some(json!({"webhook": {}})),
                (_, "/webhooks/{id}/{entity}") => Some(json!({})),
                _ => None,
            };
            operations.push((method, path.clone(), body));
        }
    }
    operations
}

/// All that a caller could tell two answers apart by.
async fn answer(
    stack: &Stack,
    token: &str,
    method: &Method,
    path: &str,
    body: Option<&Value>,
) -> (StatusCode, Vec<String>, String) {
    let request = stack.to(method.clone(), &format!("/api/v1/integration{path}")).bearer_auth(token);
    let request = request.header("if-match", "*").body(body.map(ToString::to_string).unwrap_or_default());
    let response = request.send().await.unwrap();
    let differing = ["date", "x-amzn-requestid", "apigw-requestid", "x-amz-id-2", "x-amzn-trace-id"];
    let headers = response
        .headers()
        .iter()
        .filter(|(name, _)| !differing.contains(&name.as_str()) && !name.as_str().contains("request"));
    let mut headers: Vec<_> = headers.map(|(name, value)| format!("{name}: {value:?}")).collect();
    headers.sort();
    (response.status(), headers, response.text().await.unwrap())
}

#[tokio::test]
async fn a_foreign_id_is_an_id_that_there_is_not() {
    let stack = Stack::connect().await;
    let (ours, theirs) = (stack.tenant(), stack.tenant());
    let stranger = party(&stack, &theirs, None).await;
    let owner = party(&stack, &ours, None).await;
    let app = party(&stack, &ours, Some("one")).await;
    let other_app = party(&stack, &ours, Some("two")).await;
    let (mut tried, mut operations_tried) = (0, 0);
    for (method, template, body) in operations() {
        operations_tried += 1;
        for (caller, foreign) in [
            (&stranger, &owner),
            (&stranger, &app),
            (&owner, &stranger),
            (&app, &stranger),
            (&app, &owner),
            (&app, &other_app),
            (&other_app, &app),
        ] {
            // What belongs to no application is no foreign event to an application of the tenant.
            if template.contains("{event_id}") && caller.token == app.token && foreign.token == owner.token {
                continue;
            }
            let fill = |webhook: &str, delivery: &str, key: &str, event: &str| {
                let id = if template.starts_with("/api-keys") { key } else { webhook };
                let path = template.replace("{id}", id).replace("{delivery}", delivery);
                path.replace("{event_id}", event).replace("{entity}", "1")
            };
            let [whk, dlv, key, evt] = NOBODYS.map(|(_, id)| id);
            let Party { webhook, delivery, api_key, event, .. } = foreign;
            let mut pairs = vec![(fill(webhook, delivery, api_key, event), fill(whk, dlv, key, evt))];
            if template.contains("{delivery}") {
                // Below one's own webhook too.
                pairs.push((fill(&caller.webhook, delivery, key, evt), fill(&caller.webhook, dlv, key, evt)));
            }
            for (foreign, nobodys) in pairs {
                let with_foreign = answer(&stack, &caller.token, &method, &foreign, body.as_ref()).await;
                let with_nobodys = answer(&stack, &caller.token, &method, &nobodys, body.as_ref()).await;
                // Applications have no keys of the API to themselves, foreign or not.
                let refused =
                    template.starts_with("/api-keys") && (caller.token == app.token || caller.token == other_app.token);
                let expected = if refused { StatusCode::FORBIDDEN } else { StatusCode::NOT_FOUND };
                assert_eq!(with_foreign.0, expected, "{method} {foreign}: {}", with_foreign.2);
                assert_eq!(with_foreign, with_nobodys, "{method} {foreign}");
                tried += 1;
            }
        }
    }
    assert!(operations_tried >= 15, "{operations_tried} operations");
    eprintln!("{operations_tried} operations, {tried} foreign ids, none of them there");
    // Nothing of it was touched, and nobody's lists or counts show anybody else.
    for (party, webhooks) in [(&stranger, 1), (&owner, 3), (&app, 1), (&other_app, 1)] {
        let (_, list) = stack.call(Method::GET, "/webhooks?include_deleted=true", Some(&party.token), None).await;
        let versions: Vec<_> =
            list["data"].as_array().unwrap().iter().map(|webhook| webhook["version"].clone()).collect();
        assert_eq!(versions, vec![json!(1); webhooks]);
        assert_eq!(list["next_cursor"], Value::Null);
    }
}

#[tokio::test]
async fn a_foreign_cursor_shows_nothing_foreign() {
    let stack = Stack::connect().await;
    let (ours, theirs) = (stack.tenant(), stack.tenant());
    let foreign = theirs.webhook("https://example.com/", json!({})).await;
    let own = ours.webhook("https://example.com/", json!({})).await;
    let path = format!("/webhooks?cursor={}", foreign["id"].as_str().unwrap());
    let (status, list) = ours.call(Method::GET, &path, None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(list["data"][0]["id"], own["id"]);
}

#[tokio::test]
async fn a_change_reaches_its_own_tenant_only() {
    let stack = Stack::connect().await;
    let (ours, theirs) = (stack.tenant(), stack.tenant());
    let (mine, foreign) = (Receiver::accepting().await, Receiver::accepting().await);
    ours.webhook(&mine.url, json!({})).await;
    theirs.webhook(&foreign.url, json!({"event_types": [], "operations": ["created", "updated", "deleted"]})).await;
    ours.put("i1", &[("secret plan", AttributeValue::S("ours".to_owned()))]).await;
    mine.wait_for(1).await;
    theirs.put("i1", &[]).await;
    let received = foreign.wait_for(1).await;
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].json()["organizationId"], theirs.name);
}
