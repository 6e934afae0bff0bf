//! The contract and its page, which need no token.

use reqwest::Method;
use serde_json::Value;
use tests::Stack;

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn the_contract_is_shown_to_everybody() {
    let stack = Stack::connect().await;
    let get = async |path: &str| stack.to(Method::GET, path).send().await.unwrap();
    let contract: Value = get("/openapi.json").await.json().await.unwrap();
    let written: Value = serde_json::from_str(include_str!("../../../infra/openapi.json")).unwrap();
    assert_eq!(contract, written);
    let page = get("/docs").await.text().await.unwrap();
    let files = ["vendor/swagger-ui.css", "vendor/swagger-ui-bundle.js", "reference.js"];
    for (file, kind) in files.into_iter().zip(["text/css", "text/javascript", "text/javascript"]) {
        assert!(page.contains(&format!("\"console/{file}?v=")), "{page}");
        let answer = get(&format!("/console/{file}")).await;
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with(kind), "{file}");
        assert!(answer.text().await.unwrap().len() > 100, "{file}");
    }
}
