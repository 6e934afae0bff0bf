//! Token requests and responses of an authorization server
//! ([RFC 6749](https://www.rfc-editor.org/rfc/rfc6749#section-4.4)).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::{ClientAuthentication, OAuth2, is_token};

/// The lifetime of a token whose server does not specify one.
const LIFETIME_UNLESS_SAID: Duration = Duration::from_mins(5);

/// The lifetime of a token whose server says that it has already expired. Without it, each delivery would request one.
const LIFETIME_IF_NONE: Duration = Duration::from_mins(1);

/// The shortest lifetime. A receiver that refuses the token sooner answers 401, and the next attempt requests another.
const MIN_LIFETIME: Duration = Duration::from_secs(10);

/// The longest lifetime, whatever the server says.
const MAX_LIFETIME: Duration = Duration::from_hours(24);

/// How long before its expiry a token is no longer used, at most a tenth of its lifetime.
const MARGIN: Duration = Duration::from_mins(1);

/// The longest token, in bytes, that fits into a header.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The error codes of the RFC. No other part of a response is repeated, because it might contain the request's secrets.
const ERRORS: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// A request for a token. The client's secret is in either the header or the body.
#[derive(Debug)]
pub struct TokenRequest {
    /// The URL of the request.
    pub url: String,
    /// Its `Authorization` header, if it has one.
    pub authorization: Option<SecretString>,
    /// Its body, a form.
    pub form: SecretString,
}

impl OAuth2 {
    /// Returns the request that exchanges the client's secret for a token.
    #[must_use]
    pub fn request(&self, secret: &SecretString) -> TokenRequest {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        for (name, value) in [("scope", &self.scope), ("audience", &self.audience)] {
            if let Some(value) = value {
                form.append_pair(name, value);
            }
        }
        let authorization = match self.client_authentication {
            ClientAuthentication::Basic => {
                let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
                let pair = format!("{}:{}", encoded(&self.client_id), encoded(secret.expose_secret()));
                Some(format!("Basic {}", BASE64.encode(pair)).into())
            }
            ClientAuthentication::Body => {
                form.append_pair("client_id", &self.client_id).append_pair("client_secret", secret.expose_secret());
                None
            }
        };
        TokenRequest { url: self.token_url.clone(), authorization, form: form.finish().into() }
    }
}

/// A token, and how long it may be used, counted from the request.
#[derive(Debug)]
pub struct Token {
    /// The text.
    pub text: SecretString,
    /// The lifetime: at least ten seconds.
    pub lifetime: Duration,
}

/// Why a response contains no usable token. Contains nothing from the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// The body is not a JSON object.
    #[error("is not a JSON object")]
    NoObject,
    /// The token is missing.
    #[error("has no access_token")]
    NoToken,
    /// The token does not fit into a header.
    #[error("has an access_token that no header can carry: it must be 1 to {MAX_TOKEN_BYTES} visible ASCII characters")]
    OddToken,
    /// The token is not a bearer token.
    #[error("has a token_type other than Bearer")]
    OtherType,
}

impl Token {
    /// Reads the response to a token request.
    ///
    /// # Errors
    ///
    /// If it contains no usable token.
    pub fn read(answer: &[u8]) -> Result<Self, TokenFault> {
        let Ok(Value::Object(mut answer)) = serde_json::from_slice(answer) else { return Err(TokenFault::NoObject) };
        if answer.get("token_type").is_some_and(|kind| !is_bearer(kind)) {
            return Err(TokenFault::OtherType);
        }
        let lifetime = lifetime(answer.get("expires_in"));
        match answer.remove("access_token") {
            None | Some(Value::Null) => Err(TokenFault::NoToken),
            Some(Value::String(text)) if text.len() <= MAX_TOKEN_BYTES && is_token(&text) => {
                Ok(Self { text: text.into(), lifetime })
            }
            Some(_) => Err(TokenFault::OddToken),
        }
    }
}

/// Returns whether a token is used as a bearer token. Servers also write `BearerToken` and the like, or nothing. Other
/// types, such as `DPoP`, need more than the token.
fn is_bearer(kind: &Value) -> bool {
    let starts = |kind: &str| kind.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("bearer"));
    kind.is_null() || kind.as_str().is_some_and(|kind| kind.trim().is_empty() || starts(kind.trim()))
}

/// Returns how long a token may be used. Some servers send the seconds as a string. An unreadable value counts as
/// missing.
fn lifetime(expires_in: Option<&Value>) -> Duration {
    let seconds = expires_in.and_then(|said| match said {
        Value::Number(seconds) => seconds.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    });
    let Some(seconds) = seconds.filter(|seconds| seconds.is_finite()) else { return LIFETIME_UNLESS_SAID };
    if seconds <= 0.0 {
        return LIFETIME_IF_NONE;
    }
    let said = Duration::try_from_secs_f64(seconds.min(MAX_LIFETIME.as_secs_f64())).unwrap_or_default();
    said.saturating_sub(MARGIN.min(said / 10)).max(MIN_LIFETIME)
}

/// Returns the error code of a refusal, if the RFC defines it.
#[must_use]
pub fn refusal(answer: &[u8]) -> Option<&'static str> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let error = answer.get("error")?.as_str()?;
    ERRORS.into_iter().find(|known| *known == error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use secrecy::ExposeSecret;

    use super::*;

    #[rstest]
    #[case::header(
        ClientAuthentication::Basic,
        None,
        None,
        Some("Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW"),
        "grant_type=client_credentials"
    )]
    #[case::body(
        ClientAuthentication::Body,
        Some("a b:c"),
        Some("https://b.example/?x"),
        None,
        "grant_type=client_credentials&scope=a+b%3Ac&audience=https%3A%2F%2Fb.example%2F%3Fx\
         &client_id=s6BhdRkqt3&client_secret=gX1fBat3bV"
    )]
    fn asks(
        #[case] client_authentication: ClientAuthentication,
        #[case] scope: Option<&str>,
        #[case] audience: Option<&str>,
        #[case] authorization: Option<&str>,
        #[case] form: &str,
    ) {
        let (scope, audience) = (scope.map(str::to_owned), audience.map(str::to_owned));
        let token_url = "https://a.example/token".to_owned();
        // The example from the RFC.
        let client = OAuth2 { token_url, client_id: "s6BhdRkqt3".to_owned(), scope, audience, client_authentication };
        let request = client.request(&"gX1fBat3bV".to_owned().into());
        assert_eq!(request.authorization.as_ref().map(ExposeSecret::expose_secret), authorization);
        assert_eq!(request.form.expose_secret(), form);
        assert!(!format!("{request:?}").contains("gX1fBat3bV"));
    }

    #[test]
    fn special_characters_are_encoded_before_joining() {
        let client: OAuth2 =
            serde_json::from_str(r#"{"token_url": "https://a.example/", "client_id": "a:b"}"#).unwrap();
        let header = client.request(&"p:ä +/".to_owned().into()).authorization.unwrap();
        let pair = BASE64.decode(header.expose_secret().strip_prefix("Basic ").unwrap()).unwrap();
        assert_eq!(String::from_utf8(pair).unwrap(), "a%3Ab:p%3A%C3%A4+%2B%2F");
    }

    #[rstest]
    #[case::of_the_rfc(
        r#"{"access_token":"2YotnFZFEjr1zCsicMWpAA","token_type":"example-bearer","expires_in":3600}"#,
        Err(TokenFault::OtherType)
    )]
    #[case::plain(r#"{"access_token":"abc","token_type":"Bearer","expires_in":3600}"#, Ok(("abc", 3540)))]
    #[case::lower_case(r#"{"access_token":"abc","token_type":"bearer","expires_in":60}"#, Ok(("abc", 54)))]
    #[case::of_apigee(r#"{"access_token":"t","token_type":"BearerToken","expires_in":"1799"}"#, Ok(("t", 1739)))]
    #[case::two_words(r#"{"access_token":"t","token_type":" bearer token "}"#, Ok(("t", 300)))]
    #[case::no_type(r#"{"access_token":"t","token_type":null,"expires_in":" 3600.5 "}"#, Ok(("t", 3540)))]
    #[case::empty_type(r#"{"access_token":"t","token_type":"","expires_in":3600.5}"#, Ok(("t", 3540)))]
    #[case::proof_of_possession(r#"{"access_token":"t","token_type":"DPoP"}"#, Err(TokenFault::OtherType))]
    #[case::not_ascii(r#"{"access_token":"t","token_type":"beareä"}"#, Err(TokenFault::OtherType))]
    #[case::type_is_a_number(r#"{"access_token":"t","token_type":1}"#, Err(TokenFault::OtherType))]
    #[case::in_a_text(r#"{"access_token":"abc","expires_in":"3600"}"#, Ok(("abc", 3540)))]
    #[case::not_said(r#"{"access_token":"abc","token_type":"Bearer"}"#, Ok(("abc", 300)))]
    #[case::nonsense(r#"{"access_token":"abc","expires_in":"soon"}"#, Ok(("abc", 300)))]
    #[case::at_once(r#"{"access_token":"abc","expires_in":0}"#, Ok(("abc", 60)))]
    #[case::before(r#"{"access_token":"abc","expires_in":-5}"#, Ok(("abc", 60)))]
    #[case::a_moment(r#"{"access_token":"abc","expires_in":0.5}"#, Ok(("abc", 10)))]
    #[case::half_a_minute(r#"{"access_token":"abc","expires_in":30}"#, Ok(("abc", 27)))]
    #[case::for_ever(r#"{"access_token":"abc","expires_in":1e300}"#, Ok(("abc", 86_340)))]
    #[case::odd_but_fine(r#"{"access_token":"a|b{}\"~"}"#, Ok((r#"a|b{}"~"#, 300)))]
    #[case::two_lines(r#"{"access_token":"abc\r\nX-A: b"}"#, Err(TokenFault::OddToken))]
    #[case::space(r#"{"access_token":"a c"}"#, Err(TokenFault::OddToken))]
    #[case::beyond_ascii(r#"{"access_token":"ä"}"#, Err(TokenFault::OddToken))]
    #[case::empty(r#"{"access_token":""}"#, Err(TokenFault::OddToken))]
    #[case::no_text(r#"{"access_token":{"a":1}}"#, Err(TokenFault::OddToken))]
    #[case::none(r#"{"id_token":"abc"}"#, Err(TokenFault::NoToken))]
    #[case::null(r#"{"access_token":null}"#, Err(TokenFault::NoToken))]
    #[case::no_object(r#"["abc"]"#, Err(TokenFault::NoObject))]
    #[case::form("access_token=abc&token_type=bearer", Err(TokenFault::NoObject))]
    #[case::page("<html>", Err(TokenFault::NoObject))]
    #[case::nothing("", Err(TokenFault::NoObject))]
    fn reads_an_answer(#[case] answer: &str, #[case] expected: Result<(&str, u64), TokenFault>) {
        let token = Token::read(answer.as_bytes());
        let token = token.as_ref().map(|token| (token.text.expose_secret(), token.lifetime.as_secs()));
        assert_eq!(token.map_err(|fault| *fault), expected);
    }

    #[rstest]
    #[case::known(r#"{"error":"invalid_client"}"#, Some("invalid_client"))]
    #[case::echo(r#"{"error":"wrong secret: s3cret"}"#, None)]
    #[case::no_json("s3cret", None)]
    fn repeats_nothing_but_what_the_rfc_names(#[case] answer: &str, #[case] expected: Option<&str>) {
        assert_eq!(refusal(answer.as_bytes()), expected);
    }

    proptest! {
        #[test]
        fn a_token_ends_before_its_server_says(seconds in 0_u32..100_000) {
            let answer = format!(r#"{{"access_token":"abc","expires_in":{seconds}}}"#);
            let (said, used) = (Duration::from_secs(seconds.into()), Token::read(answer.as_bytes()).unwrap().lifetime);
            prop_assert!(used < said || used == MIN_LIFETIME || (said.is_zero() && used == LIFETIME_IF_NONE));
            // The token is used for most of its lifetime.
            prop_assert!(used >= said.min(MAX_LIFETIME) / 10 * 8);
        }
    }
}
