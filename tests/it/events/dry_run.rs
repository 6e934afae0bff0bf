//! Dry runs: a change of a webhook, tried on events of the past.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Stack, eventually, path};

use super::{URL, publish};

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_change_is_tried_on_what_there_was() {
    let tenant = Stack::connect().await.tenant();
    let webhook = tenant.webhook(URL, json!({"event_types": ["order.created", "order.paid"]})).await;
    let mut published = Vec::new();
    for event_type in ["order.created", "order.paid", "order.lost"] {
        published.push(publish(&tenant, &json!({"event_type": event_type, "data": {"n": 1}})).await);
    }
    // On a busy machine the time for a dry run may be over before it has looked at all events.
    let try_it = async |body: &Value| {
        eventually("a complete dry run", async || {
            let (status, run) = tenant.call(Method::POST, &path(&webhook, "/dry-run"), Some(body)).await;
            (run["complete"] != json!(false)).then_some((status, run))
        })
        .await
    };
    let change = json!({"event_types": ["order.paid", "order.lost"], "properties": {"region": "eu"}});
    let (status, run) = try_it(&json!({"webhook": change})).await;
    assert_eq!(status, StatusCode::OK, "{run}");
    assert_eq!((&run["looked_at"], &run["before"], &run["after"]), (&json!(3), &json!(2), &json!(2)));
    assert_eq!((&run["added"], &run["removed"]), (&json!([published[2]]), &json!([published[0]])));
    assert_eq!((&run["changed_payloads"], &run["errors"]), (&json!(1), &json!([])));
    let example = &run["examples"][0];
    assert_eq!(example["id"], published[1]["id"]);
    let after: Value = serde_json::from_str(example["after"].as_str().unwrap()).unwrap();
    assert_eq!(after["region"], "eu");

    let policy = json!({"backoff": "fixed", "maxAttempts": 3, "scheduleSeconds": [10, 60], "timeoutMs": 1000});
    let (_, run) = try_it(&json!({"webhook": {"retry_policy": policy}})).await;
    let wait = |attempt: u32, min: u32, max: u32| json!({"after_attempt": attempt, "min_ms": min, "max_ms": max});
    let waits = [wait(1, 10_000, 11_000), wait(2, 60_000, 66_000)];
    assert_eq!(run["retries"], json!({"waits": waits, "exhausted_after_ms": 80_000}));

    let (_, run) = try_it(&json!({"webhook": {"enabled": false}, "events": 2})).await;
    assert_eq!((&run["looked_at"], &run["after"]), (&json!(2), &json!(0)));
    let template = r#"{% if operationType == "created" %}x{% else %}{"n": 1}{% endif %}"#;
    let (status, run) = try_it(&json!({"webhook": {"payload_format": "template", "template": template}})).await;
    assert_eq!((status, run["errors"].as_array().map(Vec::len)), (StatusCode::OK, Some(2)), "{run}");
    for (body, pointer) in [
        (json!({"webhook": {"url": "ftp://a"}}), "#/webhook/url"),
        (json!({"webhook": {"retry_policy": {"maxAttempts": 26}}}), "#/webhook/retry_policy/maxAttempts"),
        (json!({"webhook": {}, "events": 0}), "#/events"),
        (json!({}), "#/webhook"),
    ] {
        let (status, problem) = try_it(&body).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(pointer)));
    }
    let (_, now) = tenant.call(Method::GET, &path(&webhook, ""), None).await;
    assert_eq!((&now["version"], &now["properties"]), (&json!(1), &json!({})), "nothing is written");
}
