//! The health of the deployment: which version it is, and whether its tables can be read.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Cut, Function, Proxy, Stack};

/// Asks as API Gateway does, without an authorizer; returns the status, the headers and the body.
async fn ask(api: &mut Function) -> (u64, Value, Value) {
    let mut event: Value = serde_json::from_str(include_str!("../fixtures/api-v2.json")).unwrap();
    event["requestContext"]["authorizer"] = json!({});
    event["requestContext"]["http"]["method"] = json!("GET");
    event["requestContext"]["http"]["path"] = json!("/health");
    event["rawPath"] = json!("/health");
    let answer = api.invoke(event).await;
    let body = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    (answer["statusCode"].as_u64().unwrap(), answer["headers"].clone(), body)
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_deployment_says_that_it_works_and_which_version_it_is() {
    let stack = Stack::connect().await;
    let answer = stack.to(Method::GET, "/health").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["cache-control"]), (200, &"no-store".parse().unwrap()));
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["status"], "ok", "{body}");
    assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
    let commit = body["commit"].as_str().unwrap().trim_end_matches("-modified");
    assert!(commit == "unknown" || commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{body}");
    assert_eq!(body.as_object().unwrap().len(), 3, "{body}");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_table_that_cannot_be_read_is_named() {
    let stack = Stack::connect().await;
    let mut api = Function::start(&stack, "ApiFunction", &[("EVENTS_TABLE", "no-such-table")]).await;
    let (status, headers, problem) = ask(&mut api).await;
    assert_eq!((status, &problem["type"]), (503, &json!("urn:dynahook:problem:unavailable")));
    assert_eq!((&headers["retry-after"], &headers["cache-control"]), (&json!("5"), &json!("no-store")));
    assert_eq!(problem["version"], env!("CARGO_PKG_VERSION"), "{problem}");
    assert!(problem["commit"].is_string(), "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("Events"), "{detail}");
    assert!(!detail.contains("Registry") && !detail.contains("Deliveries"), "{detail}");
    assert!(!problem.to_string().contains("no-such-table"), "a name on AWS is for the log: {problem}");
}

/// Requests within five seconds cost one check, also while a table does not answer.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_flood_of_requests_costs_one_check() {
    let (stack, proxy) = (Stack::connect().await, Proxy::start().await);
    let mut api = Function::start(&stack, "ApiFunction", &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    let reads = || proxy.calls().iter().filter(|call| *call == "GetItem").count();
    for _ in 0..20 {
        assert_eq!(ask(&mut api).await.0, 200);
    }
    assert_eq!(reads(), 3, "one for each table");
    proxy.cut("GetItem", Cut::Throttle);
    assert_eq!(ask(&mut api).await.0, 200, "the last check is still fresh");
    tests::eventually("the next check", async || (ask(&mut api).await.0 == 503).then_some(())).await;
    proxy.mend();
    assert!(reads() > 0);
    assert_eq!(ask(&mut api).await.0, 503, "a failed check is fresh as long");
    assert_eq!(reads(), 0);
    tests::eventually("a check that succeeds", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        (ask(&mut api).await.0 == 200).then_some(())
    })
    .await;
}
