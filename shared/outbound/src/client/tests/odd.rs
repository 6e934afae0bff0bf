//! Answers that no standard allows and every browser understands. What matters in a head is the status and three headers.

use super::*;

/// An answer with this status and these lines in its head.
fn answer(status: &str, lines: &str) -> &'static [u8] {
    format!("HTTP/1.1 {status}\r\n{lines}content-length: 0\r\n\r\n").leak().as_bytes()
}

#[rstest]
#[case::stray_line("PHP Warning: Unable to load x\r\n")]
#[case::stray_line_without_a_colon("Unable to load x\r\n")]
#[case::stray_line_of_a_page("<br />\r\n<b>Warning</b>:  mkdir(): Permission denied\r\n")]
#[case::space_before_the_colon("x-a : b\r\n")]
#[case::folded("x-a: b\r\n c\r\n")]
#[case::folded_first("\t: b\r\n")]
#[case::no_name(": b\r\n")]
#[case::name_beyond_ascii("x-\u{fc}: b\r\n")]
#[case::control_character("x-a: b\u{1}c\r\n")]
#[case::latin_1("x-a: \u{fc}\r\n")]
#[case::no_carriage_return("x-a: b\n")]
#[case::many("a: b\r\n".repeat(110).leak())]
#[case::as_many_as_fit(&"a:\r\n".repeat(16_000).leak()[..])]
#[case::a_long_one(&format!("x-a: {}\r\n", "b".repeat(65_000)).leak()[..])]
#[tokio::test]
async fn an_odd_head_is_a_head(#[case] lines: &'static str) {
    let outcome = post(local(), &receiver(answer("200 OK", lines), false).await).await;
    assert_eq!((outcome.verdict, outcome.status), (Verdict::Accepted, Some(200)), "{:?}", outcome.error);
    // What follows an odd line is read.
    let lines = format!("{lines}Retry-After: 7\r\nwebhook-delivery: abort-message\r\n").leak();
    let outcome = post(local(), &receiver(answer("503 Busy", lines), false).await).await;
    assert_eq!((outcome.verdict, outcome.retry_after_s), (Verdict::Aborted, Some(7)), "{:?}", outcome.error);
}

#[rstest]
#[case::no_reason(b"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n")]
#[case::reason_in_latin_1(b"HTTP/1.1 200 \xfcber\r\ncontent-length: 0\r\n\r\n")]
#[case::old(b"HTTP/1.0 200 OK\r\n\r\n")]
#[case::empty_lines_first(b"\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")]
#[case::length_twice(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nContent-Length: 0\r\n\r\n")]
#[case::no_content_with_a_length(b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello")]
#[case::ended_by_nothing(b"HTTP/1.1 200 OK\r\n\r\nhello")]
#[case::length_and_chunks(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")]
#[case::chunks_that_are_none(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nhello")]
#[tokio::test]
async fn an_odd_answer_is_an_answer(#[case] answer: &'static [u8]) {
    let outcome = post(local(), &receiver(answer, false).await).await;
    assert_eq!(outcome.verdict, Verdict::Accepted, "{:?}", outcome.error);
}

#[tokio::test]
async fn a_head_has_an_end() {
    let lines = format!("x-a: {}\r\n", "b".repeat(200_000)).leak();
    let outcome = post(local(), &receiver(answer("200 OK", lines), false).await).await;
    assert_eq!(outcome.verdict, Verdict::ProtocolFailed);
    assert_eq!(outcome.error.as_deref(), Some("message head is too large"));
}
