//! The authorizer with its keys at a URL. (Keys in the configuration are what the deployed stack has: see `api`.)

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};
use tests::{Claims, Function, Stack};

/// Publishes the issuer's keys and counts how often they are fetched.
async fn issuer(keys: String) -> (String, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let fetches = Arc::clone(&count);
    let app = Router::new().route(
        "/jwks.json",
        get(async move || {
            count.fetch_add(1, Ordering::Relaxed);
            keys
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, fetches)
}

fn request(token: &str) -> Value {
    serde_json::from_str(&include_str!("../fixtures/authorizer-v2.json").replace("TOKEN", token)).unwrap()
}

#[tokio::test]
async fn keys_are_fetched_once_and_used_for_both_algorithms() {
    let stack = Stack::connect().await;
    let (url, fetches) = issuer(stack.key_set()).await;
    let mut authorizer = Function::start(&stack, "AuthorizerFunction", &[("JWKS", ""), ("JWKS_URL", &url)]).await;
    let claims = Claims::new("acme", &["ADMIN", "USER"]).with("app_id", json!("crm"));
    for token in [claims.rs256(), claims.es256()] {
        let answer = authorizer.invoke(request(&token)).await;
        assert_eq!(answer["isAuthorized"], true);
        let context = answer["context"].as_object().unwrap();
        assert_eq!(context["subject"], "test-user");
        assert_eq!(
            (&context["tenant"], &context["app"], &context["roles"]),
            (&json!("acme"), &json!("crm"), &json!("ADMIN USER"))
        );
        assert!(!context.contains_key("refusal"));
    }
    let answer = authorizer.invoke(request(&claims.hs256())).await;
    assert_eq!(answer["context"], json!({"refusal": "the token must be signed with RS256 or ES256"}));
    assert_eq!(fetches.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn claims_have_the_names_that_the_issuer_gives_them() {
    let stack = Stack::connect().await;
    let (url, _) = issuer(stack.key_set()).await;
    let names = [("JWT_TENANT_CLAIM", "org"), ("JWT_ROLES_CLAIM", "scope"), ("JWKS", ""), ("JWKS_URL", &url)];
    let mut authorizer = Function::start(&stack, "AuthorizerFunction", &names).await;
    let claims = Claims::new("ignored", &[]).with("org", json!("acme")).with("scope", json!("ADMIN openid"));
    let context = authorizer.invoke(request(&claims.rs256())).await["context"].clone();
    assert_eq!((&context["tenant"], &context["roles"]), (&json!("acme"), &json!("ADMIN openid")));
}

#[tokio::test]
async fn a_key_set_that_cannot_be_had_is_a_fault_of_ours() {
    let stack = Stack::connect().await;
    let nowhere = [("JWKS", ""), ("JWKS_URL", "http://127.0.0.1:9/jwks.json")];
    let mut authorizer = Function::start(&stack, "AuthorizerFunction", &nowhere).await;
    let token = Claims::new("acme", &["ADMIN"]).rs256();
    assert!(authorizer.try_invoke(request(&token)).await.is_err(), "no answer is neither yes nor no");
}
