//! Other tenants' resources do not exist: every route of the contract, with every foreign id.

use aws_sdk_dynamodb::types::AttributeValue;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Claims, Receiver, Stack, Tenant, ask};

/// Ids of the right form that do not exist.
const NOBODYS: [(&str, &str); 7] = [
    ("whk", "whk_01JD1KXA00SRK4CNHMSET7SYG2"),
    ("dlv", "dlv_01JD1KXA00SRK4CNHMSET7SYG2"),
    ("key", "key_01JD1KXA00SRK4CNHMSET7SYG2"),
    ("evt", "evt_01JD1KXA00SRK4CNHMSET7SYG2"),
    ("job", "job_01JD1KXA00SRK4CNHMSET7SYG2"),
    ("ntc", "ntc_01JD1KXA00SRK4CNHMSET7SYG2"),
    ("lnk", "lnk_01JD1KXA00SRK4CNHMSET7SYG2"),
];

/// Everything that one party has.
struct Party {
    token: String,
    webhook: String,
    delivery: String,
    api_key: String,
    event: String,
    job: String,
    notice: String,
    link: String,
}

impl Party {
    /// In the order of [`NOBODYS`].
    fn ids(&self) -> [&str; 7] {
        let Self { webhook, delivery, api_key, event, job, notice, link, .. } = self;
        [webhook, delivery, api_key, event, job, notice, link]
    }
}

/// Returns a path of the contract with ids in the order of [`NOBODYS`].
fn fill(template: &str, [webhook, delivery, key, event, job, notice, link]: [&str; 7]) -> String {
    let id = match template.split('/').nth(1) {
        Some("api-keys") => key,
        Some("jobs") => job,
        Some("notices") => notice,
        Some("portal-links") => link,
        _ => webhook,
    };
    let path = template.replace("{id}", id).replace("{delivery}", delivery);
    path.replace("{event_id}", event).replace("{entity}", "1")
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
    let (_, job) = stack.call(Method::POST, "/dead-letters/redrive", Some(&token), None).await;
    let notice = json!({"channel": {"type": "slack", "url": receiver.url}});
    let (_, notice) = tenant.call(Method::POST, "/notices", Some(&notice)).await;
    let (_, link) = tenant.call(Method::POST, "/portal-links", Some(&json!({"app_id": app}))).await;
    Party {
        token,
        webhook,
        delivery: delivery["id"].as_str().unwrap().to_owned(),
        api_key: key["id"].as_str().unwrap().to_owned(),
        event: event["id"].as_str().unwrap().to_owned(),
        job: job["id"].as_str().unwrap().to_owned(),
        notice: notice["id"].as_str().unwrap().to_owned(),
        link: link["id"].as_str().unwrap().to_owned(),
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
                (_, "/webhooks/{id}/recover") => Some(json!({"since": "2026-01-01T00:00:00Z"})),
                (_, "/webhooks/{id}/replay") => Some(json!({"from": "2026-01-01T00:00:00Z"})),
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
    let response = ask(request).await;
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
#[ignore = "needs the stack of `make test`"]
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
            let nobodys = NOBODYS.map(|(_, id)| id);
            let mut pairs = vec![(fill(&template, foreign.ids()), fill(&template, nobodys))];
            if template.contains("{delivery}") {
                // Below one's own webhook too.
                let [_, no_delivery, rest @ ..] = nobodys;
                let own = |delivery| {
                    let [key, event, job, notice, link] = rest;
                    fill(&template, [caller.webhook.as_str(), delivery, key, event, job, notice, link])
                };
                pairs.push((own(&foreign.delivery), own(no_delivery)));
            }
            for (foreign, nobodys) in pairs {
                let with_foreign = answer(&stack, &caller.token, &method, &foreign, body.as_ref()).await;
                let with_nobodys = answer(&stack, &caller.token, &method, &nobodys, body.as_ref()).await;
                // Applications may not manage API keys, notices and portal links, foreign or not, and routes below a
                // tenant's name are for operators.
                let is_app = caller.token == app.token || caller.token == other_app.token;
                let of_the_tenant =
                    ["/api-keys", "/notices", "/portal-links"].iter().any(|one| template.starts_with(one));
                let refused = template.starts_with("/tenants/") || (of_the_tenant && is_app);
                let expected = if refused { StatusCode::FORBIDDEN } else { StatusCode::NOT_FOUND };
                assert_eq!(with_foreign.0, expected, "{method} {foreign}: {}", with_foreign.2);
                assert_eq!(with_foreign, with_nobodys, "{method} {foreign}");
                tried += 1;
            }
        }
    }
    assert!(operations_tried >= 15, "{operations_tried} operations");
    eprintln!("{operations_tried} operations, {tried} foreign ids, none of them there");
    // Nothing of it was touched, and no list or count shows other tenants.
    for (party, webhooks) in [(&stranger, 1), (&owner, 3), (&app, 1), (&other_app, 1)] {
        let (_, list) = stack.call(Method::GET, "/webhooks?include_deleted=true", Some(&party.token), None).await;
        let versions: Vec<_> =
            list["data"].as_array().unwrap().iter().map(|webhook| webhook["version"].clone()).collect();
        assert_eq!(versions, vec![json!(1); webhooks]);
        assert_eq!(list["next_cursor"], Value::Null);
    }
    for (party, jobs) in [(&stranger, 1), (&owner, 3), (&app, 1), (&other_app, 1)] {
        let (_, list) = stack.call(Method::GET, "/jobs", Some(&party.token), None).await;
        assert_eq!(list["data"].as_array().unwrap().len(), jobs, "{list}");
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_dead_letter_is_seen_and_redriven_by_whose_it_is() {
    let stack = Stack::connect().await;
    let (ours, theirs) = (stack.tenant(), stack.tenant());
    let of = |app: &str| Claims::new(&ours.name, &["ADMIN"]).with("app_id", json!(app)).rs256();
    let (one, two) = (of("one"), of("two"));
    let receiver = Receiver::start(|_| tests::Answer::Status(404)).await;
    let body = json!({
        "name": "n", "url": receiver.url, "event_types": ["item.created"],
        "retry_policy": {"maxAttempts": 1, "backoff": "exponential", "timeoutMs": 1000},
    });
    let (_, webhook) = stack.call(Method::POST, "/webhooks", Some(&one), Some(&body.to_string())).await;
    ours.put("i1", &[]).await;
    let letters = async |token: &str| {
        let (status, list) = stack.call(Method::GET, "/dead-letters", Some(token), None).await;
        assert_eq!(status, StatusCode::OK, "{list}");
        list["data"].as_array().unwrap().clone()
    };
    tests::eventually("the dead letter", async || Some(letters(&one).await).filter(|letters| letters.len() == 1)).await;
    assert_eq!(letters(&ours.token).await.len(), 1, "the tenant sees all of its applications");
    assert_eq!((letters(&two).await.len(), letters(&theirs.token).await.len()), (0, 0));
    let filter = json!({"webhook_id": webhook["id"]}).to_string();
    for stranger in [&two, &theirs.token] {
        let redrive = stack.call(Method::POST, "/dead-letters/redrive", Some(stranger), Some(&filter)).await;
        assert_eq!(redrive.0, StatusCode::NOT_FOUND, "{}", redrive.1);
        // All of its own, and there are no such rows.
        let (_, job) = stack.call(Method::POST, "/dead-letters/redrive", Some(stranger), None).await;
        let path = format!("/jobs/{}", job["id"].as_str().unwrap());
        let mut sweep = tests::Function::start(&stack, "SweepFunction", &[]).await;
        sweep.invoke(json!({})).await;
        let done = tests::eventually("the end of the job", async || {
            let (_, job) = stack.call(Method::GET, &path, Some(stranger), None).await;
            Some(job).filter(|job| job["state"] == "done")
        });
        assert_eq!(done.await["counts"]["sent"], 0);
    }
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
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
#[ignore = "needs the stack of `make test`"]
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

/// Every `GET` of a tenant's resources, with an operator's token and the tenant's name in `Dynahook-Tenant`.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_operator_reads_what_a_tenant_has_and_changes_nothing() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let party = party(&stack, &tenant, None).await;
    let operator = Claims::new("operations", &["OPERATOR"]).rs256();
    let mut read = 0;
    // Operators manage these without the header.
    let own = |path: &str| path.starts_with("/tenants/") || path.starts_with("/portal-links");
    for (method, path, body) in operations().into_iter().filter(|(_, path, _)| !own(path)) {
        let path = fill(&path, party.ids());
        let request = || {
            let request = stack.to(method.clone(), &format!("/api/v1/integration{path}"));
            body.iter().fold(request, |request, body| request.body(body.to_string()))
        };
        let of_tenant = ask(request().bearer_auth(&operator).header("dynahook-tenant", &tenant.name)).await;
        if method == Method::GET {
            let as_admin = ask(request().bearer_auth(&party.token)).await;
            assert_eq!(of_tenant.status(), as_admin.status(), "{path}");
            read += usize::from(of_tenant.status() == 200);
        } else {
            assert_eq!(of_tenant.status(), StatusCode::FORBIDDEN, "{method} {path}");
        }
        let unnamed = ask(request().bearer_auth(&operator)).await;
        assert_eq!(unnamed.status(), StatusCode::FORBIDDEN, "{method} {path}");
        let not_operator = ask(request().bearer_auth(&party.token).header("dynahook-tenant", &tenant.name)).await;
        assert_eq!(not_operator.status(), StatusCode::FORBIDDEN, "{method} {path}");
    }
    assert!(read > 5, "{read}");
}
