//! Settings: every field is stored as it was sent, and replacements, patches and unknown names are checked.

use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use tests::{Receiver, Stack, path};

use super::{URL, create, everything, read};

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
