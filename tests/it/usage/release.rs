//! An operator releases what waits for a tenant's budget.

use super::*;

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn deferred_deliveries_are_released_after_the_budget_was_raised() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    set(&stack, &tenant, json!({"deliveries_per_day": 3})).await;
    let [ordered, free, disabled] =
        [Receiver::accepting().await, Receiver::accepting().await, Receiver::accepting().await];
    let subscribe = async |receiver: &Receiver, ordering: &str| {
        tenant.webhook(&receiver.url, json!({"event_types": ["invoice.paid"], "ordering": ordering})).await
    };
    let webhooks =
        [subscribe(&ordered, "entity").await, subscribe(&free, "none").await, subscribe(&disabled, "none").await];
    for _ in 0..4 {
        assert_eq!(tenant.call(Method::POST, "/events", Some(&event(7))).await.0, StatusCode::ACCEPTED);
    }
    let waiting = async |webhook: &Value| {
        let deliveries = eventually("four deliveries", async || {
            let deliveries = tenant.deliveries(webhook).await;
            let is_known = |delivery: &Value| delivery["state"] == "delivered" || !delivery["deferred_until"].is_null();
            (deliveries.len() == 4 && deliveries.iter().all(is_known)).then_some(deliveries)
        });
        deliveries.await.iter().filter(|delivery| delivery["state"] != "delivered").count()
    };
    let [in_order, at_once, left] =
        [waiting(&webhooks[0]).await, waiting(&webhooks[1]).await, waiting(&webhooks[2]).await];
    assert!(in_order >= 2 && at_once >= 2 && left >= 2, "{in_order}, {at_once}, {left}");
    let id = webhooks[2]["id"].as_str().unwrap();
    let disable = tenant.call(Method::PATCH, &format!("/webhooks/{id}"), Some(&json!({"enabled": false}))).await;
    assert_eq!(disable.0, StatusCode::OK);
    set(&stack, &tenant, json!({"deliveries_per_day": 1000})).await;

    let path = format!("/tenants/{}/deferred-deliveries/release", tenant.name);
    assert_eq!(tenant.call(Method::POST, &path, None).await.0, StatusCode::FORBIDDEN);
    let operator = Claims::new("", &["OPERATOR"]).with("tenant_id", Value::Null).rs256();
    let release = async |query: &str| stack.call(Method::POST, &format!("{path}{query}"), Some(&operator), None).await;
    let (status, problem) = release("?cursor=somewhere").await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("?cursor")));
    let expected = json!({"released": in_order + at_once, "next_cursor": null});
    assert_eq!(release("").await, (StatusCode::OK, expected));
    let received = ordered.wait_for(4).await;
    free.wait_for(4).await;
    let order: Vec<&str> = received.iter().map(|request| request.header("webhook-sequence")).collect();
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!(release("").await, (StatusCode::OK, json!({"released": 0, "next_cursor": null})));
    assert_eq!((disabled.received().len(), waiting(&webhooks[2]).await), (4 - left, left), "a disabled one is left");
}
