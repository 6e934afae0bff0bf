//! Receivers whose responses never end. The attempt always ends with its timeout, and often earlier.

use super::*;

/// Starts a receiver that writes `first`, and then `again` over and over with a pause in between.
async fn endless(first: &'static str, again: &'static str, pause: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(first.as_bytes()).await;
        while stream.write_all(again.as_bytes()).await.is_ok() {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    });
    url
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

#[rstest]
#[case::headers("HTTP/1.1 200 OK\r\n", "x-more: and more\r\n", Verdict::ProtocolFailed)]
#[case::one_header("HTTP/1.1 200 OK\r\nx-long: ", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Verdict::ProtocolFailed)]
#[case::status_line("HTTP/1.1 200 ", "OKOKOKOKOKOKOKOKOKOKOKOKOKOKOKOK", Verdict::ProtocolFailed)]
#[case::body("HTTP/1.1 200 OK\r\n\r\n", "more and more", Verdict::Accepted)]
#[case::chunks(CHUNKED, "25\r\nmore and more and more and more and m\r\n", Verdict::Accepted)]
#[case::chunk_extension("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4;", "aaaaaaaa", Verdict::Accepted)]
#[case::trailers(
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
    "x-more: and more\r\n",
    Verdict::Accepted
)]
#[tokio::test]
async fn a_flood_ends_at_a_limit(#[case] first: &'static str, #[case] again: &'static str, #[case] verdict: Verdict) {
    let outcome = post(local(), &endless(first, again, Duration::ZERO).await).await;
    assert_eq!(outcome.verdict, verdict, "{:?}", outcome.error);
    assert!(outcome.duration_ms < TIMEOUT, "{} ms", outcome.duration_ms);
    assert!(outcome.response_excerpt.is_none_or(|excerpt| excerpt.len() <= EXCERPT_BYTES));
}

#[rstest]
#[case::go_on("", "HTTP/1.1 100 Continue\r\n\r\n", 0, Verdict::TimedOut)]
#[case::early_hints("", "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n", 0, Verdict::TimedOut)]
#[case::go_on_slowly("", "HTTP/1.1 100 Continue\r\n\r\n", 20, Verdict::TimedOut)]
#[case::head("HTTP/1.1 200 OK\r\nx-slow: ", "a", 20, Verdict::TimedOut)]
#[case::body("HTTP/1.1 200 OK\r\n\r\n", "a", 20, Verdict::Accepted)]
#[case::chunks(CHUNKED, "1\r\na\r\n", 20, Verdict::Accepted)]
#[tokio::test]
async fn a_drip_ends_with_the_timeout(
    #[case] first: &'static str,
    #[case] again: &'static str,
    #[case] pause_ms: u64,
    #[case] verdict: Verdict,
) {
    let outcome = post(local(), &endless(first, again, Duration::from_millis(pause_ms)).await).await;
    assert_eq!(outcome.verdict, verdict, "{:?}", outcome.error);
    assert!((TIMEOUT..2 * TIMEOUT).contains(&outcome.duration_ms), "{} ms", outcome.duration_ms);
}

#[tokio::test]
async fn what_is_packed_is_not_unpacked() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nPACK";
    let outcome = post(local(), &receiver(answer, false).await).await;
    assert_eq!(outcome.response_excerpt.as_deref(), Some("PACK"));
}
