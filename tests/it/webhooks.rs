//! Webhooks as a resource: every field, concurrent writers, idempotency, pausing and deleting.

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use tests::{Receiver, Stack, Tenant, path};

const URL: &str = "https://example.com/hook";

/// Everything that can be set, and not as it is by default.
fn everything() -> Value {
    json!({
        "name": "all of it", "type": "webhook", "direction": "outbound", "url": "https://example.com/all",
        "event_types": ["order.created"], "trigger_type": "Order Created", "sources": ["orders"], "collections": ["orders"], "operations": ["created"],
        "signature_scheme": "hmac-sha256", "signature_header": "X-Acme-Signature", "signature_encoding": "base64",
        "further_signatures": [{"scheme": "stripe", "header": null, "encoding": "hex"}], "content_encoding": "gzip",
        "headers": {"X-Team": "erp"}, "properties": {"region": "eu", "nested": {"n": 1}},
        "enabled": false, "retry_policy": {"maxAttempts": 3, "backoff": "fixed", "timeoutMs": 2000, "baseMs": 200, "factor": 2,
            "capMs": 5000, "scheduleSeconds": [1, 60]},
        "auto_pause": {"failures": 7, "after_seconds": 60}, "rate_limit": 5, "max_concurrency": 3,
        "success_statuses": ["2xx", "409"], "ordering": "entity", "on_exhausted": "skip",
        "connector_id": "con_1", "integration_provider": "integrationProviders/flows", "error_email": "erp@example.com", "tags": ["a", "b"],
        "source": "import", "source_type": "backend",
    })
}

async fn create(tenant: &Tenant, body: &Value) -> Value {
    let (status, webhook) = tenant.call(Method::POST, "/webhooks", Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{webhook}");
    webhook
}

async fn read(tenant: &Tenant, webhook: &Value) -> Value {
    let (status, webhook) = tenant.call(Method::GET, &path(webhook, ""), None).await;
    assert_eq!(status, StatusCode::OK, "{webhook}");
    webhook
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn every_field_is_kept_and_what_was_read_can_be_written_back() {
    let tenant = Stack::connect().await.tenant();
    let created = create(&tenant, &everything()).await;
    let read_back = read(&tenant, &created).await;
    for (name, value) in everything().as_object().unwrap() {
        assert_eq!(&read_back[name], value, "{name}");
    }
    assert_eq!((&read_back["state"], &read_back["is_active"]), (&json!(2), &json!(false)));
    assert_eq!(read_back["schema_version"], 1);
    for (alias, name) in [
        ("registered", "created_at"),
        ("registered_associate_id", "created_by"),
        ("updated", "updated_at"),
        ("updated_associate_id", "updated_by"),
        ("application_id", "app_id"),
        ("consecutive_errors", "consecutive_failures"),
        ("webhook_id", "id"),
        ("company_id", "tenant_id"),
        ("application_token", "app_id"),
        ("target_url", "url"),
    ] {
        assert_eq!(read_back[alias], read_back[name], "{alias}");
    }

    let answer = tenant.send(Method::PUT, &path(&created, ""), &[("if-match", "\"1\"")], &read_back).await;
    assert_eq!(answer.headers()["etag"], "\"2\"");
    let mut written: Value = answer.json().await.unwrap();
    assert_eq!((&written["version"], &written["updatedCount"]), (&json!(2), &json!(1)));
    assert!(written.as_object_mut().unwrap().remove("warnings").is_some_and(|warnings| warnings.is_array()));
    for name in ["version", "updatedCount", "updated_at", "updated"] {
        written[name] = read_back[name].clone();
    }
    assert_eq!(written, read_back);

    // A replacement sets back what it does not name.
    let body = json!({"name": "little", "url": URL, "event_types": ["a.b"]});
    let answer = tenant.send(Method::PUT, &path(&created, ""), &[("if-match", "*")], &body).await;
    let little: Value = answer.json().await.unwrap();
    assert_eq!((&little["tags"], &little["enabled"]), (&json!([]), &json!(true)));
    assert_eq!(little["retry_policy"]["maxAttempts"], 10);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_patch_changes_what_it_names() {
    let tenant = Stack::connect().await.tenant();
    let webhook = create(&tenant, &everything()).await;
    let patch = json!({
        "name": "patched", "headers": {"X-Team": null, "X-New": "1"}, "retry_policy": {"timeoutMs": 5000},
        "connector_id": null, "source_type": null, "state": 1,
    });
    let (status, patched) = tenant.call(Method::PATCH, &path(&webhook, ""), Some(&patch)).await;
    assert_eq!(status, StatusCode::OK, "{patched}");
    assert_eq!(patched["name"], "patched");
    assert_eq!(patched["headers"], json!({"X-New": "1"}));
    let mut policy = everything()["retry_policy"].clone();
    policy["timeoutMs"] = json!(5000);
    assert_eq!(patched["retry_policy"], policy);
    assert_eq!((&patched["connector_id"], &patched["source_type"]), (&Value::Null, &json!("api")));
    assert_eq!(
        (&patched["enabled"], &patched["state"], &patched["tags"]),
        (&json!(true), &json!(1), &json!(["a", "b"]))
    );
    assert_eq!(patched["warnings"], json!([]), "the patch names no events");
    let mut shown = patched.clone();
    shown.as_object_mut().unwrap().remove("warnings");
    assert_eq!(read(&tenant, &webhook).await, shown);
    let answer = tenant.send(Method::PUT, &path(&webhook, ""), &[("if-match", "*")], &patched).await;
    assert_eq!(answer.status(), StatusCode::OK, "warnings can be sent back");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn names_that_nothing_has_are_warned_of() {
    let tenant = Stack::connect().await.tenant();
    let body = json!({"url": URL, "event_types": ["item.created", "itme.updated"], "sources": ["item"], "collections": ["itmes"]});
    let webhook = create(&tenant, &body).await;
    let warnings = webhook["warnings"].as_array().unwrap();
    let told: Vec<_> = warnings.iter().map(|warning| (&warning["code"], &warning["pointer"])).collect();
    let expected = [
        (&json!("unknown_event_type"), &json!("#/event_types/1")),
        (&json!("unknown_source"), &json!("#/sources/0")),
        (&json!("unknown_collection"), &json!("#/collections/0")),
    ];
    assert_eq!(told, expected);
    for (warning, nearest) in warnings.iter().zip(["item.updated", "items", "items"]) {
        assert!(
            warning["detail"].as_str().unwrap().ends_with(&format!("the nearest known name is {nearest}")),
            "{warning}"
        );
    }
    let published = json!({"event_type": "itme.updated", "data": {}});
    assert_eq!(tenant.call(Method::POST, "/events", Some(&published)).await.0, StatusCode::ACCEPTED);
    let mended =
        json!({"event_types": ["item.changed", "item.status_changed"], "sources": ["items"], "collections": ["items"]});
    let (status, mended) = tenant.call(Method::PATCH, &path(&webhook, ""), Some(&mended)).await;
    assert_eq!((status, &mended["warnings"]), (StatusCode::OK, &json!([])));
}

#[rstest]
#[case::read_only(json!({"vault_path": "/elsewhere"}), "#/vault_path", "is set by Dynahook and cannot be set")]
#[case::tenant(json!({"tenant_id": "globex"}), "#/tenant_id", "is set by Dynahook and cannot be set")]
#[case::secret(json!({"secret": "12345678"}), "#/secret", "cannot be set here; use POST /webhooks/{id}/secret/rotate")]
#[case::direction(json!({"direction": "inbound", "url": null}), "#/direction", "cannot be changed; create another webhook")]
#[case::needed(json!({"url": null}), "#/url", "is required to enable an outbound webhook")]
#[case::third_state(json!({"state": 3}), "#/state", "must be 1 (active) or 2 (stopped)")]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_patch_that_cannot_be_is_named(#[case] patch: Value, #[case] pointer: &str, #[case] detail: &str) {
    let tenant = Stack::connect().await.tenant();
    let webhook = tenant.webhook(URL, json!({})).await;
    let (status, problem) = tenant.call(Method::PATCH, &path(&webhook, ""), Some(&patch)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["errors"], json!([{"pointer": pointer, "detail": detail}]));
    assert_eq!(read(&tenant, &webhook).await["version"], 1);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_stale_write_is_told_the_current_version() {
    let tenant = Stack::connect().await.tenant();
    let webhook = tenant.webhook(URL, json!({})).await;
    let body = json!({"name": "second", "url": URL, "event_types": ["a.b"]});
    tenant.call(Method::PATCH, &path(&webhook, ""), Some(&body)).await;
    // What was read before, sent back whole.
    let whole = webhook.as_object().unwrap().iter().filter(|(name, _)| *name != "secret" && *name != "warnings");
    let whole = whole.map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>().into();
    for (method, rest, body) in [
        (Method::PATCH, "", &body),
        (Method::PUT, "", &body),
        (Method::PUT, "", &whole),
        (Method::DELETE, "", &body),
        (Method::POST, "/pause", &body),
    ] {
        let answer = tenant.send(method.clone(), &path(&webhook, rest), &[("if-match", "\"1\"")], body).await;
        assert_eq!(answer.status(), StatusCode::PRECONDITION_FAILED, "{method} {rest}");
        assert_eq!(answer.headers()["etag"], "\"2\"");
        let problem: Value = answer.json().await.unwrap();
        assert!(problem["detail"].as_str().unwrap().starts_with("the current version is 2;"), "{problem}");
    }
    for (tags, status) in [
        (r#"W/"2""#, StatusCode::PRECONDITION_FAILED),
        (r#""1", "x""#, StatusCode::PRECONDITION_FAILED),
        (r#""1", "2""#, StatusCode::OK),
    ] {
        let answer = tenant.send(Method::POST, &path(&webhook, "/enable"), &[("if-match", tags)], &json!({})).await;
        assert_eq!(answer.status(), status, "{tags}");
    }
    let answer = tenant.send(Method::PUT, &path(&webhook, ""), &[], &body).await;
    assert_eq!(answer.status(), StatusCode::PRECONDITION_REQUIRED);
    let answer = tenant.send(Method::PATCH, &path(&webhook, ""), &[("if-match", "second")], &body).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(read(&tenant, &webhook).await["name"], "second");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn writers_at_the_same_time_lose_no_update() {
    let tenant = &Stack::connect().await.tenant();
    let webhook = &tenant.webhook(URL, json!({})).await;
    // Without a version: each is made to whatever is there.
    let patches = (0..20).map(|number| async move {
        let body = json!({"properties": {format!("p{number}"): number}});
        tenant.call(Method::PATCH, &path(webhook, ""), Some(&body)).await.0
    });
    let statuses = join_all(patches).await;
    assert!(statuses.iter().all(|status| *status == StatusCode::OK), "{statuses:?}");
    let now = read(tenant, webhook).await;
    let all: serde_json::Map<_, _> = (0..20).map(|number| (format!("p{number}"), json!(number))).collect();
    assert_eq!(now["properties"], Value::Object(all));
    assert_eq!(now["version"], 21);
    // With one: exactly one of them is the first.
    let version = &[("if-match", "\"21\"")][..];
    let writes = (0..4).map(|number| async move {
        tenant.send(Method::PATCH, &path(webhook, ""), version, &json!({"name": format!("n{number}")})).await.status()
    });
    let statuses = join_all(writes).await;
    assert_eq!(statuses.iter().filter(|status| **status == StatusCode::OK).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| *status == StatusCode::OK || *status == StatusCode::PRECONDITION_FAILED));
    assert_eq!(read(tenant, webhook).await["version"], 22);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_post_with_a_key_is_done_once() {
    let stack = Stack::connect().await;
    let (tenant, other) = (stack.tenant(), stack.tenant());
    let body = json!({"name": "once", "url": URL, "event_types": ["a.b"]});
    let key = &[("idempotency-key", "k 1")][..];
    let first = tenant.send(Method::POST, "/webhooks", key, &body).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let location = first.headers()["location"].clone();
    let first: Value = first.json().await.unwrap();
    let again = tenant.send(Method::POST, "/webhooks", key, &body).await;
    assert_eq!(
        (again.status(), &again.headers()["idempotent-replayed"]),
        (StatusCode::CREATED, &"true".parse().unwrap())
    );
    assert_eq!((&again.headers()["location"], &again.headers()["etag"]), (&location, &"\"1\"".parse().unwrap()));
    let again: Value = again.json().await.unwrap();
    assert_eq!((&again["id"], &again["secret"]), (&first["id"], &Value::Null), "the secret is shown once");
    assert_eq!(tenant.call(Method::GET, "/webhooks", None).await.1["data"].as_array().unwrap().len(), 1);

    let another = json!({"name": "another", "url": URL, "event_types": ["a.b"]});
    let refused = tenant.send(Method::POST, "/webhooks", key, &another).await;
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused.json::<Value>().await.unwrap()["type"], "urn:dynahook:problem:key-reused");
    // Another caller's key is another key.
    let theirs: Value = other.send(Method::POST, "/webhooks", key, &body).await.json().await.unwrap();
    assert_ne!(theirs["id"], first["id"]);
    assert!(theirs["secret"].is_string());
    // What was refused was not done, and may be sent again.
    let key = &[("idempotency-key", "k 2")][..];
    let bad = json!({"name": "x", "url": "ftp://example.com"});
    assert_eq!(tenant.send(Method::POST, "/webhooks", key, &bad).await.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(tenant.send(Method::POST, "/webhooks", key, &bad).await.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(tenant.send(Method::POST, "/webhooks", key, &body).await.status(), StatusCode::CREATED);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn the_same_key_at_the_same_time_is_one_webhook() {
    let tenant = &Stack::connect().await.tenant();
    let body = &json!({"name": "once", "url": URL, "event_types": ["a.b"]});
    let posts = (0..5).map(|_| async move {
        tenant.send(Method::POST, "/webhooks", &[("idempotency-key", "k")], body).await.status()
    });
    let statuses = join_all(posts).await;
    assert!(statuses.contains(&StatusCode::CREATED));
    assert!(statuses.iter().all(|status| [StatusCode::CREATED, StatusCode::CONFLICT].contains(status)), "{statuses:?}");
    assert_eq!(tenant.call(Method::GET, "/webhooks", None).await.1["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_list_shows_what_is_asked_for() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let all = create(&tenant, &everything()).await;
    let plain = tenant.webhook(URL, json!({"event_types": ["item.created"]})).await;
    let paused = tenant.webhook(URL, json!({})).await;
    tenant.call(Method::POST, &path(&paused, "/pause"), None).await;
    let inbound = create(&tenant, &json!({"name": "in", "direction": "inbound"})).await;
    let deleted = tenant.webhook(URL, json!({})).await;
    tenant.call(Method::DELETE, &path(&deleted, ""), None).await;
    let ids = async |query: &str| -> Vec<String> {
        let (status, list) = tenant.call(Method::GET, &format!("/webhooks?{query}"), None).await;
        assert_eq!(status, StatusCode::OK, "{list}");
        list["data"].as_array().unwrap().iter().map(|webhook| webhook["id"].as_str().unwrap().to_owned()).collect()
    };
    let expect = |webhooks: &[&Value]| {
        let mut ids: Vec<_> = webhooks.iter().map(|webhook| webhook["id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids("").await, expect(&[&all, &plain, &paused, &inbound]));
    assert_eq!(ids("include_deleted=true").await, expect(&[&all, &plain, &paused, &inbound, &deleted]));
    assert_eq!(ids("tag=a").await, expect(&[&all]));
    assert_eq!(ids("connector_id=con_1").await, expect(&[&all]));
    assert_eq!(ids("event_type=item.created").await, expect(&[&plain, &paused]));
    assert_eq!(ids("enabled=false").await, expect(&[&all]));
    assert_eq!(ids("state=2").await, expect(&[&all, &paused]));
    assert_eq!(ids("state=1&direction=outbound").await, expect(&[&plain]));
    assert_eq!(ids("direction=inbound").await, expect(&[&inbound]));
    assert_eq!(ids("source=import").await, expect(&[&all]));
    assert_eq!(ids("app_id=nobody").await, [] as [&str; 0]);
    assert_eq!(ids("target_url=https://example.com/all").await, expect(&[&all]));
    assert_eq!(ids("trigger_type=Order%20Created").await, expect(&[&all]));
    assert_eq!(
        ids(&format!("webhook_id={}&company_id={}", plain["id"].as_str().unwrap(), tenant.name)).await,
        expect(&[&plain])
    );
    assert_eq!(ids("company_id=globex").await, [] as [&str; 0]);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_webhook_without_a_url_is_a_draft() {
    let tenant = Stack::connect().await.tenant();
    let draft = create(&tenant, &json!({"tags": {"team": "sales", "tier": 1}})).await;
    assert_eq!((&draft["name"], &draft["enabled"], &draft["url"]), (&json!("webhook"), &json!(false), &json!("")));
    for action in ["/enable", "/test"] {
        let (status, problem) = tenant.call(Method::POST, &path(&draft, action), Some(&json!({}))).await;
        assert_eq!(status, StatusCode::CONFLICT, "{action}: {problem}");
    }
    let (_, list) = tenant.call(Method::GET, "/webhooks?tag=team:sales", None).await;
    assert_eq!(list["data"][0]["tags"], json!({"team": "sales", "tier": 1}));
    let (status, ready) =
        tenant.call(Method::PATCH, &path(&draft, ""), Some(&json!({"target_url": URL, "enabled": true}))).await;
    assert_eq!((status, &ready["is_active"], &ready["url"]), (StatusCode::OK, &json!(true), &json!(URL)));
    tenant.call(Method::POST, &path(&draft, "/pause"), None).await;
    assert_eq!(read(&tenant, &draft).await["pause_reason"], "manual");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_deleted_webhook_comes_back_with_its_secret() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({})).await;
    tenant.call(Method::DELETE, &path(&webhook, ""), None).await;
    assert_eq!(tenant.call(Method::GET, &path(&webhook, ""), None).await.0, StatusCode::NOT_FOUND);
    let (status, restored) = tenant.call(Method::POST, &path(&webhook, "/restore"), None).await;
    assert_eq!(status, StatusCode::OK, "{restored}");
    assert_eq!((&restored["is_deleted"], &restored["deleted_at"]), (&json!(false), &Value::Null));
    assert_eq!(restored["secret_fingerprint"], webhook["secret_fingerprint"]);
    assert_eq!(restored["version"], 3);
    let (status, again) = tenant.call(Method::POST, &path(&webhook, "/restore"), None).await;
    assert_eq!((status, &again["version"]), (StatusCode::OK, &json!(3)), "what is not deleted stays as it is");
    tenant.put("i1", &[]).await;
    receiver.wait_for(1).await[0].verify(webhook["secret"].as_str().unwrap());
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn actions_are_done_once() {
    let tenant = Stack::connect().await.tenant();
    let webhook = tenant.webhook(URL, json!({})).await;
    for (action, version, state) in [
        ("pause", 2, 2),
        ("pause", 2, 2),
        ("resume", 3, 1),
        ("resume", 3, 1),
        ("disable", 4, 2),
        ("disable", 4, 2),
        ("enable", 5, 1),
        ("enable", 5, 1),
    ] {
        let (status, now) = tenant.call(Method::POST, &path(&webhook, &format!("/{action}")), None).await;
        assert_eq!(
            (status, &now["version"], &now["state"]),
            (StatusCode::OK, &json!(version), &json!(state)),
            "{action}"
        );
        assert_eq!(now["paused_at"].is_string(), action == "pause");
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn state_1_is_enabled_and_resumed() {
    let tenant = Stack::connect().await.tenant();
    let webhook = tenant.webhook(URL, json!({})).await;
    tenant.call(Method::POST, &path(&webhook, "/pause"), None).await;
    tenant.call(Method::POST, &path(&webhook, "/disable"), None).await;
    let (_, active) = tenant.call(Method::PATCH, &path(&webhook, ""), Some(&json!({"state": 1}))).await;
    assert_eq!((&active["state"], &active["is_active"], &active["paused_at"]), (&json!(1), &json!(true), &Value::Null));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn statistics_stand_beside_the_webhook() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::start(|number| tests::Answer::Status(if number == 0 { 204 } else { 500 })).await;
    let policy = json!({"retry_policy": {"maxAttempts": 1, "timeoutMs": 1000}});
    let webhook = tenant.webhook(&receiver.url, policy).await;
    tenant.put("i1", &[]).await;
    receiver.wait_for(1).await;
    tenant.put("i2", &[]).await;
    receiver.wait_for(2).await;
    let counted = tests::eventually("two counted attempts", async || {
        Some(read(&tenant, &webhook).await).filter(|webhook| webhook["total_calls"] == 2)
    })
    .await;
    assert_eq!((&counted["total_errors"], &counted["consecutive_failures"]), (&json!(1), &json!(1)));
    assert_eq!(counted["last_error"], "the receiver answered 500");
    assert_eq!(counted["last_delivery_status"], "server_failed");
    assert!(counted["last_delivery_at"].is_string());
    assert_eq!(counted["version"], 1, "counting is no write");
    let (_, list) = tenant.call(Method::GET, "/webhooks", None).await;
    assert_eq!(list["data"], json!([counted]));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn headers_and_properties_arrive() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::accepting().await;
    let more = json!({"headers": {"X-Team": "erp"}, "properties": {"region": "eu"}});
    tenant.webhook(&receiver.url, more).await;
    tenant.put("i1", &[]).await;
    let request = receiver.wait_for(1).await.remove(0);
    assert_eq!(request.header("x-team"), "erp");
    assert_eq!(request.json()["region"], "eu");
    assert_eq!(request.json()["entityId"], "i1");
}

#[rstest]
#[case::of_the_table(json!({"event_types": [], "sources": ["items"]}), 3)]
#[case::in_the_collection(json!({"event_types": [], "collections": ["items"], "operations": ["deleted"]}), 1)]
#[case::of_another_table(json!({"event_types": [], "sources": ["others"]}), 0)]
#[case::operations(json!({"event_types": [], "operations": ["created", "deleted"]}), 2)]
#[case::all_conditions(json!({"event_types": ["item.created"], "sources": ["items"], "operations": ["deleted"]}), 0)]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_webhook_listens_to_what_it_names(#[case] more: Value, #[case] count: usize) {
    let tenant = Stack::connect().await.tenant();
    let (receiver, everything) = (Receiver::accepting().await, Receiver::accepting().await);
    tenant.webhook(&receiver.url, more).await;
    tenant.webhook(&everything.url, json!({})).await;
    tenant.put("i1", &[]).await;
    everything.wait_for(1).await;
    tenant.put("i1", &[("a", aws_sdk_dynamodb::types::AttributeValue::Bool(true))]).await;
    everything.wait_for(2).await;
    tenant.remove("i1").await;
    everything.wait_for(3).await;
    // Both are sent in one batch.
    receiver.wait_for(count).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(receiver.received().len(), count);
}

/// What JSON allows, and DynamoDB's numbers and names do not.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn settings_are_kept_to_the_letter() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::accepting().await;
    let properties = json!({"tiny": 1e-300, "huge": 1e300, "": {"": [null, "\u{0}"]}});
    let filter = json!({"value": {"": [{"anything-but": [1.7e308, 5e-324]}], "title": ["first"]}});
    let more = json!({"properties": properties, "filter": filter, "transitions": [{"field": "n", "to": 1e-300}, {"field": "title"}]});
    let webhook = tenant.webhook(&receiver.url, more).await;
    let (_, now) = tenant.call(Method::GET, &path(&webhook, ""), None).await;
    assert_eq!((&now["properties"], &now["filter"]), (&properties, &filter));
    let (status, _) = tenant.call(Method::PATCH, &path(&webhook, ""), Some(&json!({"filter": null}))).await;
    assert_eq!(status, StatusCode::OK);
    tenant.put("i1", &[("title", aws_sdk_dynamodb::types::AttributeValue::S("first".to_owned()))]).await;
    let body = receiver.wait_for(1).await[0].json();
    assert_eq!((&body["tiny"], &body["huge"]), (&properties["tiny"], &properties["huge"]));
}
