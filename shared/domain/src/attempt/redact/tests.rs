use jiff::Timestamp;
use proptest::prelude::*;
use rstest::rstest;
use secrecy::ExposeSecret as _;

use super::*;
use crate::attempt::outcome::Verdict;
use crate::signing::secret::WebhookSecret;
use crate::signing::sign::{Keys, Signed, sign};
use crate::signing::signature::SignatureScheme;

fn masked(headers: &[(&str, &str)], owners: &[(&str, &str)]) -> Masked {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Masked::of(&headers.iter().map(own).collect::<Vec<_>>(), &owners.iter().map(own).collect())
}

#[rstest]
#[case::id("webhook-id", "evt_01JD3V7Q5N8Z4T6W9X2Y1R0PMK", "evt_01JD3V7Q5N8Z4T6W9X2Y1R0PMK")]
#[case::content_type("Content-Type", "application/json", "application/json")]
#[case::the_owners("X-Team", "erp", "erp")]
#[case::no_longer_the_owners("X-Key", "another", "***")]
#[case::standard("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "v1,***")]
#[case::two_sign("webhook-signature", "v1,abc= v1a,def=", "v1,*** v1a,***")]
#[case::stripe("stripe-signature", "t=1614265330,v1=5257a869,v1=6ffbb59b", "t=1614265330,v1=***,v1=***")]
#[case::github("x-hub-signature-256", "sha256=757107ea", "sha256=***")]
#[case::plain("x-signature-256", "757107ea0eb2509f", "***")]
#[case::base64("x-superoffice-signature", "g0hM9SsEOTPJTGt=", "***")]
#[case::no_time("stripe-signature", "t=secret,v1=5257a869", "***")]
#[case::bearer("authorization", "Bearer a-token", "***")]
#[case::basic("Authorization", "Basic dXNlcjpwYXNz", "***")]
#[case::unknown("x-new", "who knows", "***")]
fn shows_only_what_is_not_secret(#[case] name: &str, #[case] value: &str, #[case] kept: &str) {
    let masked = masked(&[(name, value)], &[("X-Team", "erp"), ("X-Key", "one")]);
    assert_eq!(masked.headers.iter().collect::<Vec<_>>(), [(name, kept)]);
}

#[test]
fn values_that_a_row_has_are_replaced_by_their_keys() {
    let headers = masked(
        &[("webhook-id", "evt_1"), ("svix-id", "evt_1"), ("X-A", "1=e")],
        &[("svix-id", "evt_1"), ("X-A", "1=e")],
    )
    .headers;
    let stored = String::from(headers.clone().without(&[('e', "evt_1"), ('s', "7")]));
    assert_eq!(stored, "webhook-id=e\nsvix-id=e\nX-A: 1=e");
    let read = SentHeaders::from(stored);
    assert_eq!(read.iter().collect::<Vec<_>>(), [("X-A", "1=e")], "without the row's values");
    assert_eq!(read.with(&[('e', "evt_1")]), headers);
}

#[test]
fn the_kept_text_is_read_as_it_was_written() {
    let headers = masked(&[("webhook-id", "evt_1"), ("X-A", ""), ("X-B", "a: b")], &[("X-A", ""), ("X-B", "a: b")])
        .and_authorization(&"Bearer sesame".to_owned().into())
        .headers;
    let text = serde_json::to_string(&headers).unwrap();
    assert_eq!(text, r#""webhook-id: evt_1\nX-A: \nX-B: a: b\nauthorization: ***""#);
    assert_eq!(serde_json::from_str::<SentHeaders>(&text).unwrap(), headers);
    assert!(serde_json::from_str::<SentHeaders>("\"\"").unwrap().is_empty());
}

#[rstest]
#[case::as_it_was("got Bearer sesame-opens", "got ***")]
#[case::the_token_alone(r#"{"token":"sesame-opens"}"#, r#"{"token":"***"}"#)]
#[case::cut_off("you sent sesame-op", "you sent ***")]
#[case::too_little_to_tell("you sent sesame", "you sent sesame")]
#[case::nothing_of_it("no", "no")]
fn what_comes_back_is_masked_too(#[case] excerpt: &str, #[case] kept: &str) {
    let masked = masked(&[("authorization", "Bearer sesame-opens"), ("x-short", "no")], &[]);
    let outcome = Outcome {
        response_excerpt: Some(excerpt.to_owned()),
        ..Outcome::unanswered(Verdict::Redirected, format!("to {excerpt}"))
    };
    let outcome = masked.conceal(outcome);
    assert_eq!(outcome.response_excerpt.as_deref(), Some(kept));
    assert_eq!(outcome.error, Some(format!("to {kept}")));
}

#[test]
fn a_password_is_masked_when_it_comes_back_unpacked() {
    let masked = masked(&[("authorization", "Basic dXNlcjpsZXQgbWUgaW4=")], &[]);
    let outcome = masked.conceal(Outcome::unanswered(Verdict::Refused, "user:let me in? let me in is wrong"));
    assert_eq!(outcome.error.as_deref(), Some("***? *** is wrong"));
}

#[rstest]
#[case::plain("https://other.example/hook", "https://other.example/hook")]
#[case::query("https://other.example/hook?token=abc#top", "https://other.example/hook?***")]
#[case::credentials("https://user:pass@other.example", "https://other.example")]
#[case::at_in_the_path("https://other.example/@team", "https://other.example/@team")]
#[case::relative("/login?next=%2Fhook", "/login?***")]
#[case::without_scheme("//user@other.example/a", "//other.example/a")]
#[case::fragment("#access_token=abc", "?***")]
#[case::nothing("", "")]
fn a_redirect_shows_where_it_leads(#[case] location: &str, #[case] shown: &str) {
    assert_eq!(redirect(location), shown);
}

fn any_scheme() -> impl Strategy<Value = SignatureScheme> {
    use SignatureScheme::{Github, HmacSha256, Shopify, StandardWebhooks, Stripe, SuperOffice};
    prop::sample::select(vec![StandardWebhooks, HmacSha256, Github, Stripe, SuperOffice, Shopify])
}

proptest! {
    #[test]
    fn no_secret_of_a_webhook_is_logged(
        texts in proptest::collection::vec("[!-~]{16,64}", 1..3),
        token in "[!-+--~]{16,64}",
        scheme in any_scheme(),
        body in ".{0,20}",
    ) {
        let secrets: Vec<_> = texts.iter().map(|text| WebhookSecret::parse(text).unwrap()).collect();
        let secrets_in_use: Vec<_> = secrets.iter().collect();
        let keys = Keys { secrets: &secrets_in_use, signing_keys: &[] };
        let (at, body) = (Timestamp::UNIX_EPOCH, body.as_bytes());
        let request = Signed { id: "evt_1", event_type: "a.b", attempt: 1, at, body };
        let mut headers = sign(&[scheme.into()], keys, &request);
        let authorization = ("authorization".to_owned(), format!("Bearer {token}"));
        let masked = Masked::of(&headers, &BTreeMap::new()).and_authorization(&authorization.1.clone().into());
        headers.push(authorization);
        // A receiver that echoes the request.
        let echo: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let outcome = masked.conceal(Outcome::unanswered(Verdict::Refused, echo.join("\n")));
        for kept in [String::from(masked.headers.clone()), outcome.error.unwrap()] {
            for secret in &secrets {
                prop_assert!(!kept.contains(secret.to_text().expose_secret()));
            }
            prop_assert!(!kept.contains(&token), "{kept}");
            for (name, value) in &headers[2..] {
                let signatures = value.split([' ', ',', '=']).filter(|part| part.len() >= 20);
                for signature in signatures {
                    prop_assert!(!kept.contains(signature), "{name}: {kept}");
                }
            }
        }
    }
}
