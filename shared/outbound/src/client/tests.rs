mod addresses;
pub(crate) mod dns;
mod header_case;
mod hostile;
mod kept;
mod odd;
mod proxy;
mod rebinding;
mod resend;
mod tls;

use domain::attempt::outcome::Verdict;
use rstest::rstest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A policy that allows loopback and plain HTTP, like a local deployment.
pub(super) fn local() -> TargetPolicy {
    let ports = vec!["1-65535".parse().unwrap()];
    TargetPolicy { allowed: vec!["127.0.0.0/8".parse().unwrap()], allow_http: true, ports, own: Vec::new() }
}

/// Starts a receiver that answers each connection with these bytes, and then keeps it open or closes it.
pub(super) async fn receiver(answer: &'static [u8], hold: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer).await;
            if hold {
                open.push(stream);
            }
        }
    });
    url
}

async fn post(policy: TargetPolicy, url: &str) -> Outcome {
    send(&Client::new(policy).unwrap(), url).await
}

async fn send(client: &Client, url: &str) -> Outcome {
    client.post(request(url), client.place(url).await).await
}

/// The timeout of a request, in milliseconds: long enough for what should take no time on a machine that is busy.
const TIMEOUT: u32 = 1_500;

fn request(url: &str) -> Request {
    Request {
        url: url.to_owned(),
        headers: vec![("webhook-id".to_owned(), "evt_1".to_owned())],
        authorization: None,
        body: b"{}".to_vec(),
        timeout: Duration::from_millis(TIMEOUT.into()),
        success: Vec::new(),
        at: "2026-11-28T12:00:00Z".parse().unwrap(),
    }
}

#[rstest]
#[case::taken(b"HTTP/1.1 204 No Content\r\n\r\n", Verdict::Accepted, Some(204), None)]
#[case::with_a_body(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", Verdict::Accepted, Some(200), Some("hello"))]
#[case::refused(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", Verdict::Refused, Some(400), None)]
#[case::gone(b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", Verdict::Gone, Some(410), None)]
#[case::wants_no_more(b"HTTP/1.1 200 OK\r\nwebhook-delivery: disable\r\n\r\n", Verdict::Gone, Some(200), None)]
#[case::redirected(
    b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
    Verdict::Redirected,
    Some(307),
    None
)]
#[case::broken_off(
    b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nonly this",
    Verdict::Accepted,
    Some(200),
    Some("only this")
)]
#[case::no_http(b"220 mail.example.com ESMTP\r\n", Verdict::ProtocolFailed, None, None)]
#[case::nothing(b"", Verdict::ProtocolFailed, None, None)]
#[tokio::test]
async fn sorts_what_a_receiver_does(
    #[case] answer: &'static [u8],
    #[case] verdict: Verdict,
    #[case] status: Option<u16>,
    #[case] excerpt: Option<&str>,
) {
    let outcome = post(local(), &receiver(answer, false).await).await;
    assert_eq!((outcome.verdict, outcome.status, outcome.response_excerpt.as_deref()), (verdict, status, excerpt));
}

#[rstest]
#[case::silence(b"", Verdict::TimedOut)]
#[case::half_a_head(b"HTTP/1.1 200 OK\r\ncontent-", Verdict::TimedOut)]
// The status has arrived: a body that never follows changes nothing, and is waited for no longer than the timeout.
#[case::half_a_body(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nhalf", Verdict::Accepted)]
#[tokio::test]
async fn waits_no_longer_than_the_timeout(#[case] answer: &'static [u8], #[case] verdict: Verdict) {
    let outcome = post(local(), &receiver(answer, true).await).await;
    assert_eq!(outcome.verdict, verdict);
    assert!((TIMEOUT..2 * TIMEOUT).contains(&outcome.duration_ms), "{} ms", outcome.duration_ms);
}

#[rstest]
#[case::text(200, b'x', EXCERPT_BYTES, None)]
// Each of these bytes is replaced by a character of three bytes.
#[case::no_text(200, 0xff, EXCERPT_BYTES / 3 * 3, None)]
#[case::failure(500, b'x', EXCERPT_BYTES, Some(MAX_RESPONSE_BYTES))]
#[case::failure_without_text(500, 0xff, EXCERPT_BYTES / 3 * 3, Some(MAX_RESPONSE_BYTES / 3 * 3))]
#[tokio::test]
async fn reads_no_more_of_an_answer_than_it_needs(
    #[case] status: u16,
    #[case] byte: u8,
    #[case] kept: usize,
    #[case] body: Option<usize>,
) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let endless = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(format!("HTTP/1.1 {status} It\r\n\r\n").as_bytes()).await;
        while stream.write_all(&[byte; 1024]).await.is_ok() {}
    });
    let outcome = post(local(), &url).await;
    assert_eq!(outcome.status, Some(status));
    assert_eq!(outcome.response_excerpt.map(|excerpt| excerpt.len()), Some(kept));
    assert_eq!(outcome.response_body.map(|body| body.len()), body);
    assert!(outcome.duration_ms < TIMEOUT, "{} ms", outcome.duration_ms);
    endless.await.unwrap();
}

#[rstest]
#[case::literal("http://127.0.0.1:PORT/", "the URL must not name a private, local or reserved address")]
#[case::literal_v6("http://[::ffff:127.0.0.1]:PORT/", "the URL must not name a private, local or reserved address")]
#[case::decimal("http://2130706433:PORT/", "the URL must not name a private, local or reserved address")]
#[case::name(
    "http://localhost:PORT/",
    "the URL must not name a host of a private network (localhost): use a name of the public internet"
)]
#[tokio::test]
async fn nobody_is_called_whom_policy_forbids(#[case] url: &str, #[case] why: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url.replace("PORT", &listener.local_addr().unwrap().port().to_string());
    let policy = TargetPolicy { allowed: Vec::new(), ..local() };
    let outcome = post(policy, &url).await;
    assert_eq!((outcome.verdict, outcome.error.as_deref()), (Verdict::Forbidden, Some(why)));
    let nobody = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(nobody.is_err(), "a connection was made");
}

#[tokio::test]
async fn a_name_that_is_none_and_a_port_that_is_closed() {
    assert_eq!(post(local(), "http://nowhere.invalid/").await.verdict, Verdict::DnsFailed);
    assert_eq!(post(local(), "http://127.0.0.1:1/").await.verdict, Verdict::ConnectFailed);
    let plain = receiver(b"HTTP/1.1 200 OK\r\n\r\n", false).await.replace("http:", "https:");
    assert_eq!(post(local(), &plain).await.verdict, Verdict::TlsFailed);
}

#[tokio::test]
async fn a_wait_that_the_receiver_asks_for_is_told() {
    let answer =
        b"HTTP/1.1 503 Service Unavailable\r\nretry-after: Sat, 28 Nov 2026 12:01:00 GMT\r\ncontent-length: 0\r\n\r\n";
    let outcome = post(local(), &receiver(answer, false).await).await;
    assert_eq!((outcome.verdict, outcome.status), (Verdict::Unavailable, Some(503)));
    // Relative to the time of the response, which came at once, and never too short.
    assert_eq!(outcome.retry_after_s, Some(60));
}

#[tokio::test]
async fn a_webhook_may_count_other_answers_as_success() {
    let url = receiver(b"HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n", false).await;
    let client = Client::new(local()).unwrap();
    let request = Request { success: vec!["409".parse().unwrap()], ..request(&url) };
    let outcome = client.post(request, client.place(&url).await).await;
    assert_eq!((outcome.verdict, outcome.status), (Verdict::Accepted, Some(409)));
}

#[tokio::test]
async fn a_port_that_is_not_allowed_is_not_called() {
    let policy = TargetPolicy { ports: Vec::new(), ..local() };
    let outcome = post(policy, "http://127.0.0.1:22/").await;
    assert_eq!(outcome.verdict, Verdict::Forbidden);
}

#[tokio::test]
async fn a_header_that_cannot_be_sent_is_named_without_its_value() {
    let client = Client::new(local()).unwrap();
    let headers = vec![("x-token".to_owned(), "canary\r\nhost: evil".to_owned())];
    let url = "http://127.0.0.1:1/";
    let outcome = client.post(Request { headers, ..request(url) }, client.place(url).await).await;
    assert_eq!(outcome.error.as_deref(), Some("the header \"x-token\" cannot be sent"));
}

/// The host does not cause the wait for a slot, so a request has the whole timeout afterwards.
#[tokio::test]
async fn the_wait_for_a_place_is_no_part_of_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let at_once = Arc::new(std::sync::Mutex::new((0, 0)));
    let counts = Arc::clone(&at_once);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counts = Arc::clone(&counts);
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                {
                    let mut counts = counts.lock().unwrap();
                    counts.0 += 1;
                    counts.1 = counts.1.max(counts.0);
                }
                // The last requests wait twice as long for a place, and so longer than the timeout.
                tokio::time::sleep(Duration::from_millis(900)).await;
                counts.lock().unwrap().0 -= 1;
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
            });
        }
    });
    let client = Client::new(local()).unwrap();
    let mut sent = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (client, url) = (client.clone(), url.clone());
        sent.spawn(async move { send(&client, &url).await });
    }
    for outcome in sent.join_all().await {
        assert_eq!(outcome.verdict, Verdict::Accepted, "{:?}", outcome.error);
    }
    assert_eq!(*at_once.lock().unwrap(), (0, 20));
}
