//! Requests a token from a webhook's authorization server, under the same target policy as a delivery.

use std::time::Duration;

use domain::webhook::authorization::token::{Token, TokenRequest, refusal};
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use secrecy::ExposeSecret as _;
use tokio::time::{Instant, timeout_at};

use super::{Client, call, post, secret_value};
use crate::token_error::{MAX_ANSWER_BYTES, TokenError};

impl Client {
    /// Requests a token from an authorization server, within the timeout.
    ///
    /// # Errors
    ///
    /// If the server returns no usable token, or the request cannot be sent.
    pub async fn token(&self, request: &TokenRequest, timeout: Duration) -> Result<Token, TokenError> {
        #[cfg(feature = "scripted")]
        if let Some(answer) = self.script.as_ref().and_then(|script| script.token(&request.url)) {
            let late = |_| Err(TokenError::Unanswered("no complete answer within the timeout".to_owned()));
            return tokio::time::timeout(timeout, answer).await.unwrap_or_else(late);
        }
        let (status, answer) = self.ask(request, timeout).await?;
        match status {
            200..=299 => Ok(Token::read(&answer)?),
            300..=399 => Err(TokenError::Redirected(status)),
            _ => Err(TokenError::Refused { status, error: refusal(&answer) }),
        }
    }

    /// Returns the status and the whole body of the response.
    async fn ask(&self, request: &TokenRequest, timeout: Duration) -> Result<(u16, Vec<u8>), TokenError> {
        let deadline = Instant::now() + timeout;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        if let Some(authorization) = &request.authorization {
            headers.insert(AUTHORIZATION, secret_value(authorization).ok_or(TokenError::Unsendable)?);
        }
        let form = request.form.expose_secret().to_owned();
        let post = post(self.target(&request.url)?, headers, form.into());
        let response = call(&self.pool, post, deadline).await.map_err(|(_, why)| TokenError::Unanswered(why))?;
        let (head, mut answer) = response.into_parts();
        let late = |_| TokenError::Unanswered("no complete answer within the timeout".to_owned());
        let mut body = Vec::new();
        while let Some(frame) = timeout_at(deadline, answer.frame()).await.map_err(late)? {
            let frame = frame.map_err(|error| TokenError::Unanswered(error.to_string()))?;
            body.extend_from_slice(frame.data_ref().map_or(&[][..], AsRef::as_ref));
            if body.len() > MAX_ANSWER_BYTES {
                return Err(TokenError::TooLarge);
            }
        }
        Ok((head.status.as_u16(), body))
    }
}

#[cfg(test)]
mod tests {
    use domain::webhook::authorization::OAuth2;
    use rstest::rstest;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::tests::{local, receiver};
    use super::*;
    use domain::attempt::target::TargetError;

    const SECRET: &str = "s3cret-of-the-client";

    async fn ask(url: &str) -> Result<String, TokenError> {
        let text = format!(r#"{{"token_url": "{url}", "client_id": "c"}}"#);
        let client: OAuth2 = serde_json::from_str(&text).unwrap();
        let request = client.request(&SECRET.to_owned().into());
        let token = Client::new(local()).unwrap().token(&request, Duration::from_millis(500)).await;
        token.map(|token| token.text.expose_secret().to_owned())
    }

    #[rstest]
    #[case::good(b"HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n{\"access_token\":\"abc\"}", Ok("abc"))]
    #[case::fails(b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", Err("the authorization server answered 500"))]
    #[case::refuses(
        b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 26\r\n\r\n{\"error\":\"invalid_client\"}",
        Err("the authorization server answered 401 (invalid_client)")
    )]
    #[case::repeats_the_secret(
        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 35\r\n\r\n{\"error\":\"no s3cret-of-the-client\"}",
        Err("the authorization server answered 400")
    )]
    #[case::leads_elsewhere(
        b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:9/s3cret-of-the-client\r\ncontent-length: 0\r\n\r\n",
        Err("the authorization server answered 307, and redirects are not followed")
    )]
    #[case::no_json(
        b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>",
        Err("the authorization server's answer is not a JSON object")
    )]
    #[case::no_token(
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        Err("the authorization server's answer has no access_token")
    )]
    #[case::two_lines(
        b"HTTP/1.1 200 OK\r\ncontent-length: 26\r\n\r\n{\"access_token\":\"a\\r\\nb:\"}",
        Err(
            "the authorization server's answer has an access_token that no header can carry: it must be 1 to 8192 visible ASCII characters"
        )
    )]
    #[tokio::test]
    async fn says_what_the_server_did(#[case] answer: &'static [u8], #[case] expected: Result<&str, &str>) {
        let token = ask(&receiver(answer, false).await).await.map_err(|error| error.to_string());
        assert_eq!(token.as_deref().map_err(String::as_str), expected);
    }

    #[rstest]
    #[case::silence(b"")]
    #[case::half_a_token(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"access_token\":\"ab")]
    #[tokio::test]
    async fn a_slow_server_is_not_waited_for(#[case] answer: &'static [u8]) {
        let started = Instant::now();
        let error = ask(&receiver(answer, true).await).await.unwrap_err();
        assert_eq!(error.to_string(), "no token from the authorization server: no complete answer within the timeout");
        assert!(started.elapsed() < Duration::from_secs(2));
    }

    #[tokio::test]
    async fn an_endless_answer_is_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'x'; 1024]).await.is_ok() {}
        });
        assert_eq!(ask(&url).await, Err(TokenError::TooLarge));
    }

    #[tokio::test]
    async fn nobody_is_asked_whom_policy_forbids() {
        for url in ["http://10.0.0.1/token", "http://[::1]/token", "http://169.254.169.254/latest"] {
            assert_eq!(ask(url).await, Err(TokenError::Url(TargetError::Forbidden)), "{url}");
        }
        let closed = ask("http://127.0.0.1:1/").await.unwrap_err().to_string();
        assert!(closed.starts_with("no token from the authorization server: "), "{closed}");
    }
}
