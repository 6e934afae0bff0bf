//! Notices: people are notified of what happens to webhooks.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Answer, Claims, Receiver, Stack, Tenant, eventually, path};

const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:notices";

async fn notice(tenant: &Tenant, body: Value) -> Value {
    let (status, notice) = tenant.call(Method::POST, "/notices", Some(&body)).await;
    assert_eq!(status, StatusCode::CREATED, "{notice}");
    notice
}

fn at(notice: &Value, rest: &str) -> String {
    format!("/notices/{}{rest}", notice["id"].as_str().unwrap())
}

/// Returns the mails to an address, oldest first: subject and text.
async fn mails(stack: &Stack, address: &str) -> Vec<(String, String)> {
    let answer = stack.to(Method::GET, "/_ministack/ses/messages").send().await.unwrap();
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let text = |mail: &Value, name: &str| mail[name].as_str().unwrap_or_default().to_owned();
    let accounts = answer["messages"].as_object().unwrap().values();
    let mails = accounts.flat_map(|mails| mails.as_array().unwrap().clone());
    let mails = mails.filter(|mail| mail["To"].as_array().unwrap().contains(&json!(address)));
    mails.map(|mail| (text(&mail, "Subject"), text(&mail, "BodyText"))).collect()
}

async fn mail(stack: &Stack, address: &str, number: usize) -> (String, String) {
    eventually(&format!("mail {number} to {address}"), async || mails(stack, address).await.into_iter().nth(number))
        .await
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_address_is_notified_after_it_was_confirmed() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let address = format!("{}@example.com", tenant.name);
    let own =
        notice(&tenant, json!({"channel": {"type": "email", "to": [address]}, "event_types": ["webhook.*"]})).await;
    assert_eq!((&own["is_active"], &own["recipients"][0]["confirmed_at"]), (&json!(false), &Value::Null));
    let (subject, text) = mail(&stack, &address, 0).await;
    assert!(subject.starts_with("Confirm this address"), "{subject}");

    // Until then it gets nothing.
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({"name": "to the ERP"})).await;
    tenant.call(Method::POST, &path(&webhook, "/pause"), None).await;
    let (status, refused) = tenant.call(Method::POST, &at(&own, "/test"), None).await;
    assert_eq!(status, StatusCode::CONFLICT, "{refused}");
    let code = text.split("\"code\": \"").nth(1).unwrap().split('"').next().unwrap();
    let (status, refused) = tenant.call(Method::POST, &at(&own, "/confirm"), Some(&json!({"code": "0123"}))).await;
    assert_eq!((status, &refused["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("#/code")));
    let (status, confirmed) = tenant.call(Method::POST, &at(&own, "/confirm"), Some(&json!({"code": code}))).await;
    assert_eq!((status, &confirmed["is_active"]), (StatusCode::OK, &json!(true)), "{confirmed}");

    tenant.call(Method::POST, &path(&webhook, "/resume"), None).await;
    let (subject, text) = mail(&stack, &address, 1).await;
    assert_eq!(subject, "Webhook \"to the ERP\" is resumed");
    assert!(text.contains(&format!("Webhook: {}", webhook["id"].as_str().unwrap())), "{text}");
    // The same happens again within the hour, and there is no second notice; other events cause one.
    tenant.call(Method::POST, &path(&webhook, "/pause"), None).await;
    assert_eq!(mail(&stack, &address, 2).await.0, "Webhook \"to the ERP\" is paused");
    tenant.call(Method::POST, &path(&webhook, "/resume"), None).await;
    tenant.call(Method::POST, &path(&webhook, "/disable"), None).await;
    assert_eq!(mail(&stack, &address, 3).await.0, "Webhook \"to the ERP\" is disabled");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn slack_and_teams_are_notified_once_what_a_webhook_did_not_get() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (on_slack, teams) = (Receiver::accepting().await, Receiver::accepting().await);
    let broken = Receiver::start(|_| Answer::Status(500)).await;
    let webhook =
        tenant.webhook(&broken.url, json!({"name": "to *the* ERP", "retry_policy": {"maxAttempts": 1}})).await;
    let other = Receiver::accepting().await;
    let another = tenant.webhook(&other.url, json!({"event_types": []})).await;
    notice(&tenant, json!({"channel": {"type": "slack", "url": on_slack.url}})).await;
    let one = json!({"channel": {"type": "teams", "url": teams.url}, "webhook_ids": [another["id"]]});
    notice(&tenant, one).await;
    for item in ["i1", "i2", "i3"] {
        tenant.put(item, &[]).await;
    }
    let message = on_slack.wait_for(1).await.remove(0);
    let text = message.json()["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("Webhook \"to *the* ERP\" did not get an event\n"), "{text}");
    assert!(text.contains("Last status: 500") && text.contains("Event type: item.created"), "{text}");
    assert_eq!((message.json()["mrkdwn"].clone(), message.header("content-type")), (json!(false), "application/json"));
    // All three are given up; there is one notice.
    eventually("three exhausted deliveries", async || {
        let deliveries = tenant.deliveries(&webhook).await;
        (deliveries.iter().filter(|delivery| delivery["state"] == "exhausted").count() == 3).then_some(())
    })
    .await;
    // The notice about the other webhook is the next that is sent, and the first to Teams.
    tenant.call(Method::POST, &path(&another, "/pause"), None).await;
    let card = teams.wait_for(1).await.remove(0).json();
    assert_eq!(card["attachments"][0]["contentType"], "application/vnd.microsoft.card.adaptive");
    let messages = on_slack.wait_for(2).await;
    assert!(messages[1].json()["text"].as_str().unwrap().contains("is paused"), "{:?}", messages[1].json());
    assert_eq!(teams.received().len(), 1);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_topic_is_notified() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let own = notice(&tenant, json!({"channel": {"type": "sns", "topic_arn": TOPIC}, "name": tenant.name})).await;
    let (status, test) = tenant.call(Method::POST, &at(&own, "/test"), None).await;
    assert!(status.is_success() && test["state"] != "failed", "{test}");
    eventually("the notice to arrive", async || {
        let (_, read) = tenant.call(Method::GET, &at(&own, ""), None).await;
        (read["last_delivery_status"] == "accepted").then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_notice_is_read_changed_and_deleted_by_its_tenant_alone() {
    let stack = Stack::connect().await;
    let (tenant, stranger) = (stack.tenant(), stack.tenant());
    let on_slack = Receiver::start(|_| Answer::Status(404)).await;
    let own = notice(&tenant, json!({"channel": {"type": "slack", "url": on_slack.url}, "name": "on-call"})).await;
    let webhook = own["id"].as_str().unwrap().replace("ntc_", "whk_");
    for (caller, path, status) in [
        (&tenant, at(&own, ""), StatusCode::OK),
        (&stranger, at(&own, ""), StatusCode::NOT_FOUND),
        (&tenant.application("crm"), at(&own, ""), StatusCode::FORBIDDEN),
        // It is stored as a webhook, and is none for callers.
        (&tenant, format!("/webhooks/{webhook}"), StatusCode::NOT_FOUND),
        (&tenant, format!("/webhooks/{webhook}/deliveries"), StatusCode::NOT_FOUND),
        (&tenant, "/notices/ntc_1".to_owned(), StatusCode::NOT_FOUND),
    ] {
        let (found, body) = caller.call(Method::GET, &path, None).await;
        assert_eq!(found, status, "{path}: {body}");
    }
    // The path of a hook is a credential.
    let viewer = Claims::new(&tenant.name, &["VIEWER"]).rs256();
    let hidden = format!("{}/***", reqwest::Url::parse(&on_slack.url).unwrap().origin().ascii_serialization());
    let (_, shown) = stack.call(Method::GET, &at(&own, ""), Some(&viewer), None).await;
    assert_eq!(shown["channel"]["url"], hidden);
    let (_, shown) = stack.call(Method::GET, "/notices", Some(&viewer), None).await;
    assert_eq!(shown["data"][0]["channel"]["url"], hidden);
    let (_, webhooks) = tenant.call(Method::GET, "/webhooks", None).await;
    assert_eq!(webhooks["data"], json!([]));
    let (_, test) = tenant.call(Method::POST, &at(&own, "/test"), None).await;
    assert_eq!(test["state"], "failed", "{test}");
    let (_, read) = tenant.call(Method::GET, &at(&own, ""), None).await;
    assert_eq!((&read["last_delivery_status"], &read["version"]), (&json!("refused"), &json!(1)), "{read}");

    let teams = json!({"channel": {"type": "teams", "url": on_slack.url}, "enabled": false});
    let (status, changed) = tenant.call(Method::PATCH, &at(&own, ""), Some(&teams)).await;
    assert_eq!(
        (status, &changed["channel"]["type"], &changed["name"]),
        (StatusCode::OK, &json!("teams"), &json!("on-call"))
    );
    assert_eq!((&changed["version"], &changed["is_active"]), (&json!(2), &json!(false)));
    let wrong =
        json!({"channel": {"type": "sns", "topic_arn": "arn:aws:sns:us-east-1:000000000000:alarms"}, "colour": 1});
    let (status, refused) = tenant.call(Method::PATCH, &at(&own, ""), Some(&wrong)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    let (status, _) = stranger.call(Method::DELETE, &at(&own, ""), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = tenant.call(Method::DELETE, &at(&own, ""), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (_, list) = tenant.call(Method::GET, "/notices", None).await;
    assert_eq!(list["data"], json!([]));
}
