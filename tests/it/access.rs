//! Who may make a request is decided before anything else: roles, scopes and rates, and only then what is kept of it.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Function, Proxy, Stack, keep, unique};

/// An api function, and what the authorizer says of its caller.
struct Caller {
    function: Function,
    context: Value,
    idempotency_key: Option<String>,
}

impl Caller {
    async fn start(stack: &Stack, environment: &[(&str, &str)], context: Value) -> Self {
        let function = Function::start(stack, "ApiFunction", environment).await;
        Self { function, context, idempotency_key: None }
    }

    /// Sends a request as API Gateway does; returns the status, the headers and the body.
    async fn call(&mut self, method: Method, path: &str, body: &Value) -> (u64, Value, Value) {
        let mut event: Value = serde_json::from_str(include_str!("../fixtures/api-v2.json")).unwrap();
        let path = format!("/api/v1/integration{path}");
        event["requestContext"]["authorizer"]["lambda"] = self.context.clone();
        event["requestContext"]["http"]["method"] = json!(method.as_str());
        event["requestContext"]["http"]["path"] = json!(path);
        event["rawPath"] = json!(path);
        event["body"] = json!(body.to_string());
        if let Some(key) = &self.idempotency_key {
            event["headers"]["idempotency-key"] = json!(key);
        }
        let answer = self.function.invoke(event).await;
        keep(method.as_str(), &path, &answer["headers"].to_string(), answer["body"].as_str().unwrap_or_default());
        let body = serde_json::from_str(answer["body"].as_str().unwrap_or_default()).unwrap_or(Value::Null);
        (answer["statusCode"].as_u64().unwrap(), answer["headers"].clone(), body)
    }
}

fn admin(tenant: &str) -> Value {
    json!({"subject": "anna", "tenant": tenant, "role_list": r#"["ADMIN"]"#, "scope_list": "[]", "expires_at": 4_102_444_800_i64})
}

fn with(mut context: Value, more: &[(&str, Value)]) -> Value {
    for (name, value) in more {
        context[name] = value.clone();
    }
    context
}

/// Every POST of the contract, with ids of a webhook and a delivery in its path.
fn posts(webhook: &str, delivery: &str) -> Vec<String> {
    let contract: Value = serde_json::from_str(include_str!("../../infra/openapi.json")).unwrap();
    let paths = contract["paths"].as_object().unwrap().iter();
    let posts = paths.filter(|(_, item)| item.get("post").is_some() && item.get("servers").is_none());
    let fill = |path: &String| path.replace("{delivery}", delivery).replace("{entity}", "1").replace("{id}", webhook);
    posts.map(|(path, _)| fill(path)).collect()
}

/// A viewer may make every request with GET that an admin may make, and no other.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_viewer_reads_and_changes_nothing() {
    let stack = Stack::connect().await;
    let tenant = unique("tenant");
    let mut caller = Caller::start(&stack, &[("TENANT_RATE_LIMIT", "500")], admin(&tenant)).await;
    let webhook = json!({"name": "n", "url": "https://example.com/", "event_types": ["a.b"]});
    let (_, _, webhook) = caller.call(Method::POST, "/webhooks", &webhook).await;
    let viewer = with(admin(&tenant), &[("role_list", json!(r#"["VIEWER"]"#))]);
    let contract: Value = serde_json::from_str(include_str!("../../infra/openapi.json")).unwrap();
    let paths = contract["paths"].as_object().unwrap().iter().filter(|(_, item)| item.get("servers").is_none());
    let mut read = 0;
    for (template, item) in paths {
        let path = template.replace("{delivery}", "dlv_01JD1KXA00SRK4CNHMSET7SYG2").replace("{entity}", "1");
        let path = path.replace("{id}", webhook["id"].as_str().unwrap());
        for method in item.as_object().unwrap().keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            caller.context = viewer.clone();
            let (status, _, body) = caller.call(method.clone(), &path, &json!({})).await;
            if method == Method::GET {
                caller.context = admin(&tenant);
                let (expected, ..) = caller.call(method, &path, &json!({})).await;
                assert_eq!(status, expected, "GET {path}: {body}");
                read += usize::from(status == 200);
            } else {
                let role = match template.split('/').nth(1) {
                    Some("sources" | "tenants") => "OPERATOR",
                    Some("portal-links") => "ADMIN or OPERATOR",
                    _ => "ADMIN",
                };
                assert_eq!(status, 403, "{method} {path}: {body}");
                assert_eq!(body["detail"], format!("this needs the role {role}"), "{method} {path}");
            }
        }
    }
    assert!(read > 7, "{read} requests read something");
}

/// The row of an idempotency key that was answered, for the caller `anna` of a tenant.
async fn answered(stack: &Stack, tenant: &str, path: &str, key: &str) {
    let scope = domain::joined::digest(&[tenant, "", "anna"]);
    let sk = domain::joined::digest(&[path, key]);
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let number = |number: i64| AttributeValue::N(number.to_string());
    let now = tests::now();
    let answer = [
        ("status", number(201)),
        ("headers", AttributeValue::L(Vec::new())),
        ("body", text(r#"{"secret": "of another role"}"#)),
    ];
    let put = stack.dynamodb.put_item().table_name(stack.output("RegistryTable"));
    let put = put.item("pk", text(&format!("I#{scope}"))).item("sk", text(&sk)).item("v", number(1));
    let put = put.item("request_hash", text("any")).item("claimed_at", number(now.as_millisecond()));
    let put =
        put.item("first_claimed_at", number(now.as_millisecond())).item("expires_at", number(now.as_second() + 600));
    let answer = answer.map(|(name, value)| (name.to_owned(), value)).into();
    put.item("answer", AttributeValue::M(answer)).send().await.unwrap();
}

/// A caller with the same subject, and without the role or the scopes, learns nothing of what is kept for an idempotency key: neither
/// the answer, nor that there is one. The same for a caller who has made too many requests.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_answer_is_kept_for_those_who_may_make_the_request() {
    let (stack, proxy) = (Stack::connect().await, Proxy::start().await);
    let tenant = unique("tenant");
    let limits = [("TENANT_RATE_LIMIT", "500"), ("AWS_ENDPOINT_URL", proxy.url.as_str())];
    let mut caller = Caller::start(&stack, &limits, admin(&tenant)).await;
    let webhook = json!({"name": "n", "url": "https://example.com/", "event_types": ["a.b"]});
    let (_, _, webhook) = caller.call(Method::POST, "/webhooks", &webhook).await;
    let posts = posts(webhook["id"].as_str().unwrap(), "dlv_01JD1KXA00SRK4CNHMSET7SYG2");
    assert!(posts.len() > 15, "{posts:?}");
    caller.idempotency_key = Some("k".to_owned());
    let strangers = [
        with(admin(&tenant), &[("role_list", json!(r#"["USER"]"#))]),
        with(admin(&tenant), &[("role_list", json!("[]"))]),
        with(admin(&tenant), &[("role_list", json!(r#"["not ADMIN"]"#))]),
        with(admin(&tenant), &[("scope_list", json!(r#"["deliveries:read"]"#))]),
    ];
    let mut statuses = BTreeSet::new();
    for path in &posts {
        answered(&stack, &tenant, path, "k").await;
        for stranger in &strangers {
            caller.context = stranger.clone();
            let _ = proxy.calls();
            let (status, headers, problem) = caller.call(Method::POST, path, &json!({})).await;
            // A route for operators is closed to an admin too.
            assert_eq!(status, 403, "{path}: {problem}");
            assert_eq!(headers["idempotent-replayed"], Value::Null);
            assert_eq!(proxy.calls(), [""; 0], "{path}: a refusal looks nothing up");
        }
        caller.context = admin(&tenant);
        let (status, _, problem) = caller.call(Method::POST, path, &json!({})).await;
        statuses.insert((status, problem["type"].as_str().map(str::to_owned)));
        let is_for_operators = ["/sources", "/tenants/"].iter().any(|start| path.starts_with(start));
        if !is_for_operators && !["preview", "explain", "dry-run"].iter().any(|look| path.ends_with(look)) {
            assert_eq!(problem["type"], "urn:dynahook:problem:key-reused", "{path}: the key is one that is known");
        }
    }
    eprintln!("{} routes: {statuses:?}", posts.len());
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_rate_comes_before_an_answer_that_is_kept() {
    let stack = Stack::connect().await;
    let mut caller = Caller::start(&stack, &[("TENANT_RATE_LIMIT", "1")], admin(&unique("tenant"))).await;
    caller.idempotency_key = Some("k".to_owned());
    let event = json!({"event_type": "a.b", "data": {}});
    let (status, _, published) = caller.call(Method::POST, "/events", &event).await;
    assert_eq!(status, 202, "{published}");
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(caller.call(Method::POST, "/events", &event).await.0);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_tenant_that_asks_too_often_is_told_when_to_come_back() {
    let (stack, proxy) = (Stack::connect().await, Proxy::start().await);
    let tenant = unique("tenant");
    let environment = [("TENANT_RATE_LIMIT", "1"), ("AWS_ENDPOINT_URL", proxy.url.as_str())];
    // Processes that know nothing of each other.
    let mut processes = [
        Caller::start(&stack, &environment, admin(&tenant)).await,
        Caller::start(&stack, &environment, admin(&tenant)).await,
        Caller::start(&stack, &environment, admin(&tenant)).await,
    ];
    // From the start of a window on, so that all of it is in one.
    let window = |at: i64| at / 2;
    let before = window(tests::now().as_second());
    tests::eventually("the next window", async || (window(tests::now().as_second()) > before).then_some(())).await;
    let _ = proxy.calls();
    let mut answers = Vec::new();
    for _ in 0..4 {
        for process in &mut processes {
            answers.push(process.call(Method::GET, "/webhooks", &json!({})).await);
        }
    }
    let allowed = answers.iter().filter(|(status, _, _)| *status == 200).count();
    assert!((2..=4).contains(&allowed), "{allowed} of 12: two in a window, which may have ended meanwhile");
    let (_, headers, problem) = answers.iter().find(|(status, _, _)| *status == 429).unwrap();
    assert_eq!(problem["type"], "urn:dynahook:problem:too-many-requests");
    assert!(["1", "2"].contains(&headers["retry-after"].as_str().unwrap()), "{headers}");
    let calls = proxy.calls();
    let counted = calls.iter().filter(|call| *call == "UpdateItem").count();
    assert!(counted < 12, "most refusals cost no call: {calls:?}");
    // Others have a rate of their own: another tenant, and an operator of the same one.
    processes[0].context = admin(&unique("tenant"));
    assert_eq!(processes[0].call(Method::GET, "/webhooks", &json!({})).await.0, 200);
    processes[0].context =
        with(admin(&tenant), &[("role_list", json!(r#"["OPERATOR"]"#)), ("subject", json!(unique("ops")))]);
    assert_eq!(processes[0].call(Method::GET, "/sources", &json!({})).await.0, 200);
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(processes[0].call(Method::GET, "/sources", &json!({})).await.0);
    }
    assert!(statuses.contains(&429), "an operator has a rate too: {statuses:?}");
}

/// What API Gateway keeps of the version before, for a minute after an update.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn roles_that_are_joined_are_not_believed() {
    let stack = Stack::connect().await;
    let old = json!({"subject": "anna", "tenant": unique("tenant"), "roles": "ADMIN", "expires_at": 4_102_444_800_i64});
    let mut caller = Caller::start(&stack, &[], old).await;
    for (method, path) in [(Method::GET, "/webhooks"), (Method::GET, "/egress-addresses"), (Method::POST, "/events")] {
        let (status, headers, problem) = caller.call(method, path, &json!({})).await;
        assert_eq!((status, &headers["retry-after"]), (503, &json!("60")), "{problem}");
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn every_answer_tells_browsers_what_they_must_not_do() {
    let stack = Stack::connect().await;
    let token = stack.tenant().token;
    for (method, path, page) in [
        (Method::GET, "/docs", true),
        (Method::GET, "/console", true),
        (Method::GET, "/console/main.js", false),
        (Method::GET, "/openapi.json", false),
        (Method::GET, "/api/v1/integration/webhooks", false),
        (Method::POST, "/api/v1/inbound/acme/whk_01JD1KXA00SRK4CNHMSET7SYG2", false),
        (Method::GET, "/.well-known/webhooks/acme/keys.json", false),
    ] {
        let answer = stack.to(method, path).bearer_auth(&token).body("{}").send().await.unwrap();
        let header = |name: &str| answer.headers().get(name).map_or("", |value| value.to_str().unwrap());
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            // The local stack names an origin whose pages may show the console in a frame.
            ("x-frame-options", if path == "/console" { "" } else { "DENY" }),
            ("strict-transport-security", "max-age=63072000"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(header(name), value, "{path}: {name}");
        }
        let policy = header("content-security-policy");
        assert_eq!(policy.contains("frame-ancestors 'none'"), path != "/console", "{path}: {policy}");
        assert_eq!(policy.contains("script-src 'self'"), page, "{path}: {policy}");
    }
}

/// The authorizer has no keys, because the issuer's key server is down: the token may be good, so the answer is no 401.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_token_that_could_not_be_checked_is_worth_another_try() {
    let stack = Stack::connect().await;
    let context = json!({"refusal": "the keys of the tokens' issuer cannot be fetched now", "retry_after": 60});
    let mut caller = Caller::start(&stack, &[], context).await;
    let (status, headers, problem) = caller.call(Method::GET, "/webhooks", &json!({})).await;
    assert_eq!((status, &headers["retry-after"]), (503, &json!("60")), "{problem}");
    assert_eq!(problem["type"], "urn:dynahook:problem:unavailable");
}
