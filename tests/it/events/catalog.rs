//! The catalog of event types: descriptions and schemas, when a type was first seen, and the types that tables make.

use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use tests::{Claims, Stack, Tenant, now, unique};

use super::publish;

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_type_is_described_and_its_events_are_checked() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let described = json!({
        "description": "an invoice is paid", "deprecated": false, "example": {"total": 1.5},
        "schema": {"type": "object", "required": ["total"], "properties": {"total": {"type": "number"}}},
    });
    let (status, created) = tenant.call(Method::PUT, "/event-types/invoice.paid", Some(&described)).await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
    assert_eq!(
        (&created["event_type"], &created["updated_by"], &created["first_seen_at"]),
        (&json!("invoice.paid"), &json!("test-user"), &Value::Null)
    );
    for (name, value) in described.as_object().unwrap() {
        assert_eq!(&created[name], value, "{name}");
    }
    let (status, read) = tenant.call(Method::GET, "/event-types/invoice.paid", None).await;
    assert_eq!((status, &read), (StatusCode::OK, &created));

    let bad = json!({"event_type": "invoice.paid", "data": {"total": "secret"}});
    let (status, problem) = tenant.call(Method::POST, "/events", Some(&bad)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["errors"], json!([{"pointer": "#/data/total", "detail": "value is not of type \"number\""}]));
    publish(&tenant, &json!({"event_type": "invoice.paid", "data": {"total": 2}})).await;
    publish(&tenant, &json!({"event_type": "invoice.sent", "data": {}})).await;
    // What is replaced is gone.
    let (status, replaced) = tenant.call(Method::PUT, "/event-types/invoice.paid", Some(&json!({}))).await;
    assert_eq!((status, &replaced["schema"], &replaced["description"]), (StatusCode::OK, &Value::Null, &Value::Null));
    publish(&tenant, &bad).await;
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn when_a_type_was_first_seen_stays() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let registry = stack.aws.registry(stack.output("RegistryTable").to_owned());
    let seen = [(tenant.name.parse().unwrap(), "order.seen".parse().unwrap())];
    let at = now();
    registry.record_types(&seen, at).await.unwrap();
    let (_, entry) = tenant.call(Method::GET, "/event-types/order.seen", None).await;
    assert_eq!((&entry["first_seen_at"], &entry["updated_at"]), (&json!(at.to_string()), &Value::Null));
    let body = json!({"description": "d", "schema": {"type": "object"}});
    let (status, described) = tenant.call(Method::PUT, "/event-types/order.seen", Some(&body)).await;
    assert_eq!((status, &described["first_seen_at"]), (StatusCode::OK, &json!(at.to_string())), "it was known");
    registry.record_types(&seen, now()).await.unwrap();
    let (_, entry) = tenant.call(Method::GET, "/event-types/order.seen", None).await;
    assert_eq!(entry, described);

    for name in ["order.a", "order.b"] {
        tenant.call(Method::PUT, &format!("/event-types/{name}"), Some(&json!({}))).await;
    }
    let seen = [(tenant.name.parse().unwrap(), "order.b.seen".parse().unwrap())];
    registry.record_types(&seen, at).await.unwrap();
    let (mut listed, mut next) = (Vec::new(), "/event-types?limit=1".to_owned());
    loop {
        let (status, page) = tenant.call(Method::GET, &next, None).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        listed.extend(page["data"].as_array().unwrap().iter().map(|entry| entry["event_type"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        next = format!("/event-types?limit=1&cursor={cursor}");
    }
    // The types that tables make are listed too.
    let own = ["order.a", "order.b", "order.b.seen", "order.seen"];
    listed.retain(|name| own.iter().any(|own| name == own));
    assert_eq!(listed, own);
    for name in ["order.a", "order.b.seen"] {
        let path = format!("/event-types/{name}");
        assert_eq!(stack.tenant().call(Method::GET, &path, None).await.0, StatusCode::NOT_FOUND);
        assert_eq!(stack.tenant().call(Method::DELETE, &path, None).await.0, StatusCode::NOT_FOUND);
        assert_eq!(tenant.call(Method::DELETE, &path, None).await.0, StatusCode::NO_CONTENT);
        assert_eq!(tenant.call(Method::DELETE, &path, None).await.0, StatusCode::NOT_FOUND);
    }
}

/// A form needs the names before anything has happened.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn what_tables_can_make_is_listed_before_it_happens() {
    let stack = Stack::connect().await;
    let (tenant, other) = (stack.tenant(), stack.tenant());
    let (table, entity) = (unique("shop"), unique("order"));
    let operator = Claims::new("", &["OPERATOR"]).with("tenant_id", Value::Null).rs256();
    let mapping =
        json!({"entity": entity, "tenant": tenant.name, "app": "crm", "id": "{id}", "collection": "orders/{o}/lines"});
    let source = json!({"table": table, "entities": [mapping]}).to_string();
    assert_eq!(stack.call(Method::POST, "/sources", Some(&operator), Some(&source)).await.0, StatusCode::CREATED);

    let types = ["created", "updated", "deleted"].map(|operation| format!("{entity}.{operation}"));
    let kind = json!({"entity": entity, "entity_key": entity, "source": table, "collection": "orders/{o}/lines", "event_types": types});
    let kinds =
        async |caller: &Tenant| caller.call(Method::GET, "/entities", None).await.1["data"].as_array().unwrap().clone();
    let crm = tenant.application("crm");
    assert!(kinds(&tenant).await.contains(&kind) && kinds(&crm).await.contains(&kind));
    assert!(!kinds(&other).await.contains(&kind) && !kinds(&tenant.application("erp")).await.contains(&kind));

    let path = format!("/event-types/{}", types[1]);
    let (status, entry) = tenant.call(Method::GET, &path, None).await;
    assert_eq!((status, &entry["operation"]), (StatusCode::OK, &json!("updated")));
    assert_eq!(
        (&entry["entity"], &entry["sources"], &entry["first_seen_at"]),
        (&json!(entity), &json!([table]), &Value::Null)
    );
    let cursor = format!("/event-types?limit=3&cursor={entity}");
    let (_, page) = crm.call(Method::GET, &cursor, None).await;
    let names: Vec<_> =
        page["data"].as_array().unwrap().iter().map(|entry| entry["event_type"].as_str().unwrap()).collect();
    assert_eq!(names, [&types[0], &types[2], &types[1]]);
    for stranger in [&other, &tenant.application("erp")] {
        assert_eq!(stranger.call(Method::GET, &path, None).await.0, StatusCode::NOT_FOUND);
    }
    // A description and the tables are in one entry.
    let (_, described) = tenant.call(Method::PUT, &path, Some(&json!({"description": "d"}))).await;
    assert_eq!((&described["sources"], &described["description"]), (&json!([table]), &json!("d")));
    let path = format!("/sources/{table}");
    assert_eq!(stack.call(Method::DELETE, &path, Some(&operator), None).await.0, StatusCode::NO_CONTENT);
}

#[rstest]
#[case::no_schema(json!({"schema": {"type": "strnig"}}), "#/schema")]
#[case::another_document(json!({"schema": {"$ref": "https://example.com/"}}), "#/schema")]
#[case::endless(json!({"schema": {"properties": {"a": {"$ref": "#"}}}}), "#/schema")]
#[case::no_object(json!({"schema": true}), "#/schema")]
#[case::another_example(json!({"schema": {"required": ["a"]}, "example": {}}), "#/example")]
#[case::unknown(json!({"colour": "red"}), "#/colour")]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_description_that_is_none_is_named(#[case] body: Value, #[case] pointer: &str) {
    let tenant = Stack::connect().await.tenant();
    let (status, problem) = tenant.call(Method::PUT, "/event-types/a.b", Some(&body)).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(pointer)));
    assert_eq!(tenant.call(Method::GET, "/event-types/a.b", None).await.0, StatusCode::NOT_FOUND);
}
