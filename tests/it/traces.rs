//! Trace contexts of publishers: from `POST /events` to the receiver, with the deployed functions, which export nothing,
//! and with an API that does.

use axum::http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Collector, Function, Receiver, Stack, Tenant};

const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn publish(tenant: &Tenant, traceparent: &str) {
    let event = json!({"event_type": "invoice.paid", "data": {"n": 1}});
    let answer = tenant.send(Method::POST, "/events", &[("traceparent", traceparent)], &event).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_publishers_trace_reaches_the_receiver_unchanged_without_a_collector() {
    let (stack, receiver) = (Stack::connect().await, Receiver::accepting().await);
    let tenant = stack.tenant();
    let webhook = tenant.webhook(&receiver.url, json!({"event_types": ["invoice.paid"]})).await;
    publish(&tenant, GIVEN).await;
    let [request] = &receiver.wait_for(1).await[..] else { panic!("one request") };
    assert_eq!(request.header("traceparent"), GIVEN);
    request.verify(webhook["secret"].as_str().unwrap());
    // The log of attempts shows it, so that a delivery can be found by its trace and the other way round.
    let delivery = tenant.delivery(&webhook, "delivered").await;
    assert_eq!(delivery["attempts"][0]["request_headers"]["traceparent"], GIVEN);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_invalid_trace_is_ignored_and_a_change_has_none_without_a_collector() {
    let (stack, receiver) = (Stack::connect().await, Receiver::accepting().await);
    let tenant = stack.tenant();
    tenant.webhook(&receiver.url, json!({"event_types": ["invoice.paid", "item.created"]})).await;
    publish(&tenant, "00-00000000000000000000000000000000-00f067aa0ba902b7-01").await;
    tenant.put("i1", &[]).await;
    for request in receiver.wait_for(2).await {
        assert!(request.headers.get("traceparent").is_none(), "{:?}", request.headers);
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_owner_cannot_set_the_header() {
    let (stack, receiver) = (Stack::connect().await, Receiver::accepting().await);
    let settings = json!({"name": "w", "url": receiver.url, "headers": {"Traceparent": GIVEN}});
    let (status, problem) = stack.tenant().call(Method::POST, "/webhooks", Some(&settings)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["errors"][0]["pointer"], "#/headers/Traceparent");
}

/// Publishes through a function with a collector.
async fn publish_at(api: &mut Function, tenant: &str, traceparent: Option<&str>) {
    let mut event: Value = serde_json::from_str(include_str!("../fixtures/api-v2.json")).unwrap();
    let path = "/api/v1/integration/events";
    event["requestContext"]["authorizer"]["lambda"]["tenant"] = json!(tenant);
    event["requestContext"]["http"]["method"] = json!("POST");
    event["requestContext"]["http"]["path"] = json!(path);
    event["rawPath"] = json!(path);
    event["headers"]["content-type"] = json!("application/json");
    event["headers"]["traceparent"] = traceparent.map_or(Value::Null, |text| json!(text));
    event["headers"].as_object_mut().unwrap().retain(|_, value| !value.is_null());
    event["body"] = json!(json!({"event_type": "invoice.paid", "data": {"n": "canary-of-the-data"}}).to_string());
    event["isBase64Encoded"] = json!(false);
    let answer = api.invoke(event).await;
    assert_eq!(answer["statusCode"], 202, "{answer}");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn the_api_exports_a_span_that_events_continue() {
    let (stack, receiver) = (Stack::connect().await, Receiver::accepting().await);
    let (tenant, collector) = (stack.tenant(), Collector::start(StatusCode::OK).await);
    tenant.webhook(&receiver.url, json!({"event_types": ["invoice.paid", "item.created"]})).await;
    let traces = [("TRACES_ENDPOINT", collector.url.as_str()), ("TRACES_SAMPLING", "1"), ("TRACES_SIGNED", "true")];
    let mut api = Function::start(&stack, "ApiFunction", &traces).await;
    publish_at(&mut api, &tenant.name, Some(GIVEN)).await;
    let first = receiver.wait_for(1).await[0].header("traceparent").to_owned();
    publish_at(&mut api, &tenant.name, None).await;
    let second = receiver.wait_for(2).await[1].header("traceparent").to_owned();
    let spans = tests::eventually("two spans", async || Some(collector.spans()).filter(|spans| spans.len() == 2)).await;
    let [continued, started] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!((continued.trace.as_str(), continued.parent.as_str()), (&GIVEN[3..35], &GIVEN[36..52]));
    assert_eq!(first, format!("00-{}-{}-01", continued.trace, continued.id), "events continue the API's span");
    assert_eq!((started.parent.as_str(), second), ("", format!("00-{}-{}-01", started.trace, started.id)));
    for span in &spans {
        assert_eq!((span.service.as_str(), span.name.as_str()), ("api", "POST /api/v1/integration/events"));
        assert_eq!((span.kind, span.failed), (2, false));
        assert_eq!(span.attribute("http.response.status_code"), "202");
        assert_eq!(span.attribute("dynahook.tenant.id"), tenant.name);
    }
    let bodies: Vec<_> =
        collector.exports().iter().map(|export| String::from_utf8_lossy(&export.body).into_owned()).collect();
    assert!(bodies.iter().all(|body| !body.contains("canary-of-the-data")));
}

/// A response is posted before the collector is called, so a collector that hangs delays no caller.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_collector_that_hangs_delays_no_response() {
    let (stack, collector) = (Stack::connect().await, Collector::hanging().await);
    let traces = [("TRACES_ENDPOINT", collector.url.as_str()), ("TRACES_SAMPLING", "1")];
    let mut api = Function::start(&stack, "ApiFunction", &traces).await;
    let tenant = stack.tenant();
    publish_at(&mut api, &tenant.name, None).await;
    // The response is there, and the export is still under way or has not begun.
    tests::eventually("the export", async || Some(()).filter(|()| collector.exports().len() == 1)).await;
    publish_at(&mut api, &tenant.name, None).await;
    publish_at(&mut api, &tenant.name, None).await;
    assert_eq!(collector.exports().len(), 1, "after a failure nothing is exported for a while");
}
