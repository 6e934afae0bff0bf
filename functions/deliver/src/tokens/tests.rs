//! Tests against an authorization server on loopback.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::attempt::target::TargetPolicy;
use futures::future::join_all;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use domain::webhook::authorization::Method;

/// An authorization server that issues `token-0`, `token-1` … and counts them.
struct Server {
    url: String,
    asked: Arc<AtomicUsize>,
}

impl Server {
    /// Starts a server that answers with this status and issues tokens that are valid for `expires_in` seconds.
    async fn start(status: u16, expires_in: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                // So slow that all concurrent requests arrive before the answer.
                tokio::time::sleep(Duration::from_millis(50)).await;
                let number = count.fetch_add(1, Ordering::Relaxed);
                let body = json!({"access_token": format!("token-{number}"), "expires_in": expires_in}).to_string();
                let head =
                    format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn authorization(&self, more: &Value) -> Authorization {
        let mut all = json!({
            "type": "oauth2", "token_url": self.url, "client_id": "c", "fingerprint": "f", "vault_path": "/w/authorization",
        });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }
}

thread_local! {
    /// Created once per test thread, as it is once per process, because it reads all certificates.
    static CLIENT: outbound::Client = {
        let (allowed, ports) = (vec!["127.0.0.0/8".parse().unwrap()], vec!["1-65535".parse().unwrap()]);
        outbound::Client::new(TargetPolicy { allowed, allow_http: true, ports, own: Vec::new() }).unwrap()
    };
}

/// Returns the header that a delivery gets at this second.
async fn header(tokens: &Tokens, authorization: &Authorization, second: i64) -> Result<String, String> {
    let client = CLIENT.with(Clone::clone);
    let Method::OAuth2(oauth2) = &authorization.method else { panic!("client credentials") };
    let request = oauth2.request(&"s3cret".to_owned().into());
    let fetch = async || Ok(client.token(&request, Duration::from_secs(1)).await);
    let now = Timestamp::from_second(second).unwrap();
    if let Some(kept) = tokens.kept(authorization, now) {
        return kept.map(|header| header.expose_secret().to_owned()).map_err(|error| error.to_string());
    }
    let header = tokens.header(authorization, now, fetch).await.unwrap();
    header.map(|header| header.expose_secret().to_owned()).map_err(|error| error.to_string())
}

fn bearer_of(number: usize) -> String {
    format!("Bearer token-{number}")
}

#[tokio::test]
async fn deliveries_at_once_share_a_fetch_and_later_ones_its_token() {
    let (server, tokens) = (Server::start(200, json!(600)).await, Tokens::default());
    let authorization = server.authorization(&json!({}));
    let at_once = join_all((0..20).map(|_| header(&tokens, &authorization, 0))).await;
    assert!(at_once.iter().all(|header| *header == Ok(bearer_of(0))), "{at_once:?}");
    assert_eq!(header(&tokens, &authorization, 539).await, Ok(bearer_of(0)));
    assert_eq!(header(&tokens, &authorization, 540).await, Ok(bearer_of(1)), "a minute before it ends");
    assert_eq!(server.asked(), 2);
}

#[rstest]
#[case::not_said(Value::Null, 299, 1)]
#[case::not_said_and_old(Value::Null, 300, 2)]
#[case::good_for_no_time(json!(0), 59, 1)]
#[case::good_for_no_time_and_a_minute_old(json!(0), 60, 2)]
#[case::in_a_text(json!("600"), 539, 1)]
#[tokio::test]
async fn a_token_ends(#[case] expires_in: Value, #[case] second: i64, #[case] asked: usize) {
    let (server, tokens) = (Server::start(200, expires_in).await, Tokens::default());
    let authorization = server.authorization(&json!({}));
    header(&tokens, &authorization, 0).await.unwrap();
    assert_eq!(header(&tokens, &authorization, second).await, Ok(bearer_of(asked - 1)));
    assert_eq!(server.asked(), asked);
}

#[tokio::test]
async fn a_failure_is_shared_too_and_not_kept() {
    let (server, tokens) = (Server::start(503, json!(600)).await, Tokens::default());
    let authorization = server.authorization(&json!({}));
    let at_once = join_all((0..20).map(|_| header(&tokens, &authorization, 0))).await;
    let expected = Err("the authorization server answered 503".to_owned());
    assert!(at_once.iter().all(|header| *header == expected), "{at_once:?}");
    assert_eq!(server.asked(), 1);
    assert_eq!(header(&tokens, &authorization, 0).await, expected);
    assert_eq!(server.asked(), 2);
}

#[rstest]
#[case::refused(401, json!(600), "the authorization server answered 401")]
#[case::too_many_requests(429, json!(600), "the authorization server answered 429")]
#[case::redirected(302, json!(600), "the authorization server answered 302, and redirects are not followed")]
#[tokio::test]
async fn a_server_that_refuses_is_left_alone_for_a_while(
    #[case] status: u16,
    #[case] expires_in: Value,
    #[case] error: &str,
) {
    let (server, tokens) = (Server::start(status, expires_in).await, Tokens::default());
    let authorization = server.authorization(&json!({}));
    for (refusals, (second, until)) in
        [(0, 30), (30, 90), (90, 210), (210, 450), (450, 750), (750, 1050)].into_iter().enumerate()
    {
        let at_once = join_all((0..5).map(|_| header(&tokens, &authorization, second))).await;
        assert!(at_once.iter().all(|header| *header == Err(error.to_owned())), "{at_once:?}");
        let at = Timestamp::from_second(until).unwrap();
        let expected = Err(format!("{error}, and is not asked again before {at}"));
        assert_eq!(header(&tokens, &authorization, until - 1).await, expected);
        assert_eq!(server.asked(), refusals + 1);
    }
    // Another credential may be a good one.
    assert_eq!(header(&tokens, &server.authorization(&json!({"fingerprint": "g"})), 751).await, Err(error.to_owned()));
}

#[rstest]
#[case::secret(json!({"fingerprint": "g"}))]
#[case::path(json!({"vault_path": "/v/authorization"}))]
#[case::client(json!({"client_id": "d"}))]
#[case::scope(json!({"scope": "a"}))]
#[case::audience(json!({"audience": "a"}))]
#[tokio::test]
async fn whoever_asks_otherwise_gets_another_token(#[case] other: Value) {
    let (server, tokens) = (Server::start(200, json!(600)).await, Tokens::default());
    header(&tokens, &server.authorization(&json!({})), 0).await.unwrap();
    assert_eq!(header(&tokens, &server.authorization(&other), 0).await, Ok(bearer_of(1)));
}

#[tokio::test]
async fn a_token_that_is_refused_is_forgotten_and_its_successor_is_not() {
    let (server, tokens) = (Server::start(200, json!(600)).await, Tokens::default());
    let authorization = server.authorization(&json!({}));
    let first: SecretString = header(&tokens, &authorization, 0).await.unwrap().into();
    tokens.forget(&authorization, &first);
    assert_eq!(header(&tokens, &authorization, 0).await, Ok(bearer_of(1)));
    // Another delivery that was sent with the first is refused only now.
    tokens.forget(&authorization, &first);
    assert_eq!(header(&tokens, &authorization, 0).await, Ok(bearer_of(1)));
}

#[tokio::test]
async fn a_fault_of_ours_is_no_failure_of_the_server() {
    let (server, tokens) = (Server::start(200, json!(600)).await, Tokens::default());
    let authorization = server.authorization(&json!({}));
    let throttled = async || Err(StoreError::Unavailable("throttled".to_owned()));
    assert!(tokens.header(&authorization, Timestamp::UNIX_EPOCH, throttled).await.is_err());
    assert_eq!(header(&tokens, &authorization, 0).await, Ok(bearer_of(0)));
    // While there is a token, the secret is not read.
    let throttled = async || Err(StoreError::Unavailable("throttled".to_owned()));
    assert!(tokens.header(&authorization, Timestamp::UNIX_EPOCH, throttled).await.is_ok());
}
