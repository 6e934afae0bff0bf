//! The authorizer with its keys at a URL. (Keys in the configuration are what the deployed stack has: see `api`.)

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use rstest::rstest;
use serde_json::{Value, json};
use tests::{Claims, Function, Stack};

/// Publishes the issuer's keys so many times, then answers 503; counts how often it is asked.
async fn failing_issuer(keys: String, times: usize) -> (String, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let fetches = Arc::clone(&count);
    let app = Router::new().route(
        "/jwks.json",
        get(async move || match count.fetch_add(1, Ordering::Relaxed) {
            before if before < times => Ok(keys),
            _ => Err(StatusCode::SERVICE_UNAVAILABLE),
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, fetches)
}

/// Publishes the issuer's keys and counts how often they are fetched.
async fn issuer(keys: String) -> (String, Arc<AtomicUsize>) {
    failing_issuer(keys, usize::MAX).await
}

/// Returns the issuer's keys among others that are malformed, or for another use.
fn among_malformed(keys: &str) -> String {
    let keys: Value = serde_json::from_str(keys).unwrap();
    let good = keys["keys"].as_array().unwrap();
    let mut twin = good[0].clone();
    twin["use"] = json!("enc");
    let mut all = vec![
        json!({"kty": "RSA", "kid": 7, "n": good[0]["n"], "e": "AQAB"}),
        json!({"kty": "AKP", "kid": "ml-dsa", "alg": "ML-DSA-44", "pub": "…"}),
        json!({"kty": "RSA", "kid": "no-modulus", "e": "AQAB"}),
        json!("not a key"),
        twin,
    ];
    all.extend(good.iter().cloned());
    json!({"keys": all}).to_string()
}

fn request(token: &str) -> Value {
    serde_json::from_str(&include_str!("../fixtures/authorizer-v2.json").replace("TOKEN", token)).unwrap()
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
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
            (&context["tenant"], &context["app"], &context["role_list"]),
            (&json!("acme"), &json!("crm"), &json!(r#"["ADMIN","USER"]"#))
        );
        assert!(!context.contains_key("refusal"));
    }
    let answer = authorizer.invoke(request(&claims.hs256())).await;
    assert_eq!(answer["context"], json!({"refusal": "the token must be signed with RS256 or ES256"}));
    assert_eq!(fetches.load(Ordering::Relaxed), 1);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn claims_have_the_names_that_the_issuer_gives_them() {
    let stack = Stack::connect().await;
    let (url, _) = issuer(stack.key_set()).await;
    let names = [("JWT_TENANT_CLAIM", "org"), ("JWT_ROLES_CLAIM", "scope"), ("JWKS", ""), ("JWKS_URL", &url)];
    let mut authorizer = Function::start(&stack, "AuthorizerFunction", &names).await;
    let claims = Claims::new("ignored", &[]).with("org", json!("acme")).with("scope", json!("ADMIN openid"));
    let context = authorizer.invoke(request(&claims.rs256())).await["context"].clone();
    assert_eq!((&context["tenant"], &context["role_list"]), (&json!("acme"), &json!(r#"["ADMIN","openid"]"#)));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_token_waits_while_keys_were_never_fetched() {
    let stack = Stack::connect().await;
    let (url, fetches) = failing_issuer(stack.key_set(), 0).await;
    let mut authorizer = Function::start(&stack, "AuthorizerFunction", &[("JWKS", ""), ("JWKS_URL", &url)]).await;
    let token = Claims::new("acme", &["ADMIN"]).rs256();
    for _ in 0..3 {
        let answer = authorizer.invoke(request(&token)).await;
        assert_eq!(answer["isAuthorized"], true, "the api answers 503");
        let refusal = "the keys of the tokens' issuer cannot be fetched now";
        assert_eq!(answer["context"], json!({"refusal": refusal, "retry_after": 60}));
    }
    assert_eq!(fetches.load(Ordering::Relaxed), 1, "an outage is not asked about for every token");
}

/// What needs no key to be refused costs no fetch and no fault, whether the issuer is there or not.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_forged_token_makes_neither_a_fetch_nor_a_fault() {
    let stack = Stack::connect().await;
    let (url, fetches) = failing_issuer(stack.key_set(), 0).await;
    let mut authorizer = Function::start(&stack, "AuthorizerFunction", &[("JWKS", ""), ("JWKS_URL", &url)]).await;
    let claims = || Claims::new("acme", &["ADMIN"]);
    for (token, refusal) in [
        (claims().hs256(), "the token must be signed with RS256 or ES256"),
        (claims().with("exp", json!(1_700_000_000)).rs256(), "the token has expired"),
        (claims().with("iss", json!("https://elsewhere.example")).rs256(), "the token is from a different issuer"),
        (claims().with("aud", json!(["elsewhere"])).rs256(), "the token is for a different audience"),
        (claims().with("token_use", json!("id")).rs256(), "the token is not an access token"),
        ("e30.e30.e30".to_owned(), "the token is neither a JWT nor an API key"),
    ] {
        assert_eq!(authorizer.invoke(request(&token)).await["context"], json!({"refusal": refusal}));
    }
    assert_eq!(fetches.load(Ordering::Relaxed), 0);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_unknown_key_is_refused_while_the_issuer_is_down() {
    let stack = Stack::connect().await;
    let (url, fetches) = failing_issuer(stack.key_set(), 1).await;
    let mut authorizer = Function::start(&stack, "AuthorizerFunction", &[("JWKS", ""), ("JWKS_URL", &url)]).await;
    let claims = Claims::new("acme", &["ADMIN"]);
    assert_eq!(authorizer.invoke(request(&claims.rs256())).await["context"]["tenant"], "acme");
    for _ in 0..3 {
        let answer = authorizer.invoke(request(&claims.rs256_by("another key"))).await;
        assert_eq!(answer["context"], json!({"refusal": "the token is not signed by a key of the issuer"}));
    }
    assert_eq!(authorizer.invoke(request(&claims.es256())).await["context"]["tenant"], "acme");
    assert_eq!(fetches.load(Ordering::Relaxed), 1, "there is a minute between two fetches");
}

#[rstest]
#[case::from_a_url(true)]
#[case::in_the_configuration(false)]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn one_malformed_key_does_not_make_the_others_unusable(#[case] fetched: bool) {
    let stack = Stack::connect().await;
    let keys = among_malformed(&stack.key_set());
    let (url, _) = issuer(keys.clone()).await;
    let source =
        if fetched { [("JWKS", ""), ("JWKS_URL", url.as_str())] } else { [("JWKS", keys.as_str()), ("JWKS_URL", "")] };
    let mut authorizer = Function::start(&stack, "AuthorizerFunction", &source).await;
    let claims = Claims::new("acme", &["ADMIN"]);
    for token in [claims.rs256(), claims.es256()] {
        assert_eq!(authorizer.invoke(request(&token)).await["context"]["tenant"], "acme");
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn times_may_have_fractions() {
    let stack = Stack::connect().await;
    let keys = stack.key_set();
    let mut authorizer = Function::start(&stack, "AuthorizerFunction", &[("JWKS", &keys)]).await;
    let exp = tests::now().as_second() + 600;
    let half_past = |second: i64| json!(format!("{second}.5").parse::<f64>().unwrap());
    let claims = Claims::new("acme", &["ADMIN"]).with("exp", half_past(exp)).with("nbf", half_past(exp - 1200));
    let context = authorizer.invoke(request(&claims.rs256())).await["context"].clone();
    assert_eq!((&context["tenant"], &context["expires_at"]), (&json!("acme"), &json!(exp + 30)), "with the leeway");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn what_the_access_log_shows_cannot_break_it() {
    let stack = Stack::connect().await;
    let keys = stack.key_set();
    let mut authorizer = Function::start(&stack, "AuthorizerFunction", &[("JWKS", &keys)]).await;
    let claims = Claims::new("acme", &["ADMIN"]).with("sub", json!("anna\",\"status\":\"200"));
    let context = authorizer.invoke(request(&claims.rs256())).await["context"].clone();
    assert_eq!(context["subject"], "anna\",\"status\":\"200");
    assert_eq!((&context["log_subject"], &context["log_tenant"]), (&json!("anna???status?:?200"), &json!("acme")));
}
