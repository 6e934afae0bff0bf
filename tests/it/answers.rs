//! What receivers answer, and what webhooks make of it, through the deployed stack.

use reqwest::{Method, StatusCode};
use serde_json::json;
use tests::{Answer, Receiver, Stack};

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_webhook_says_which_answers_are_success() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|_| Answer::Status(409)).await;
    let webhook = tenant.webhook(&receiver.url, json!({"success_statuses": ["2xx", "409", "2xx"]})).await;
    assert_eq!(webhook["success_statuses"], json!(["2xx", "409"]));
    tenant.put("i1", &[]).await;
    let delivery = tenant.delivery(&webhook, "delivered").await;
    assert_eq!(delivery["attempts"][0]["verdict"], "accepted");
    assert_eq!(delivery["attempts"][0]["status"], 409);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn what_cannot_be_success_is_named_with_the_remedy() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    for (status, remedy) in [("3xx", "such as 304"), ("100", "code from 200"), ("ok", "such as 409")] {
        let webhook = json!({"name": "n", "url": "https://example.com/", "success_statuses": [status]});
        let (answered, problem) = tenant.call(Method::POST, "/webhooks", Some(&webhook)).await;
        assert!(answered == StatusCode::BAD_REQUEST || answered == StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert!(problem.to_string().contains(remedy), "{problem}");
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_url_that_deliveries_may_not_go_to_is_refused_when_it_is_written() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    for url in [
        "http://10.0.0.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://169.254.169.254/",
        "http://0xA9FEA9FE/",
        "http://a\\@b/",
    ] {
        let webhook = json!({"name": "n", "url": url});
        let (answered, problem) = tenant.call(Method::POST, "/webhooks", Some(&webhook)).await;
        assert!(answered.is_client_error(), "{url}: {problem}");
        assert!(problem.to_string().contains("/url"), "{problem}");
    }
}
