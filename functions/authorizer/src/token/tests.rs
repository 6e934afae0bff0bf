use std::sync::Arc;

use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::config::{ClaimNames, KeySource};

const NOW: i64 = 1_795_888_486;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn config() -> Config {
    Config {
        registry_table: "registry".to_owned(),
        issuer: "https://issuer.example".to_owned(),
        audience: "dynahook".to_owned(),
        keys: KeySource::Inline(Arc::new(JwkSet { keys: Vec::new() })),
        max_stale: SignedDuration::from_hours(24),
        claims: ClaimNames::default(),
    }
}

fn token(header: &str, claims: &str) -> String {
    format!("{}.{}.c2lnbmF0dXJl", BASE64.encode(header), BASE64.encode(claims))
}

const HEADER: &str = r#"{"alg": "RS256", "kid": "rsa", "typ": "JWT"}"#;

fn good() -> Value {
    json!({
        "iss": "https://issuer.example", "aud": "dynahook", "sub": "anna", "exp": NOW + 600, "tenant_id": "acme",
        "roles": ["ADMIN"],
    })
}

/// Valid claims with some of them replaced. The value `"absent"` removes one.
fn with(more: &Value) -> String {
    let mut claims = good();
    let claims = claims.as_object_mut().unwrap();
    claims.extend(more.as_object().unwrap().clone());
    claims.retain(|_, value| value != "absent");
    Value::Object(claims.clone()).to_string()
}

/// Reads a token of an issuer that calls its claims otherwise.
fn read_with(claims: ClaimNames, token: &str) -> Result<Identity, TokenError> {
    Unverified::read(token, &Config { claims, ..config() }, now()).map(|unverified| unverified.identity)
}

/// Signs these claims, and reads and verifies the token.
fn verify(claims: &Value) -> Result<Identity, TokenError> {
    let pair = rcgen::KeyPair::generate().unwrap();
    let point = pair.public_key_raw();
    let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
    let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "x": x, "y": y}]});
    let keys: JwkSet = serde_json::from_value(keys).unwrap();
    let key = jsonwebtoken::EncodingKey::from_ec_der(&pair.serialize_der());
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::new(Algorithm::ES256), claims, &key).unwrap();
    Unverified::read(&token, &config(), now())?.verify(&keys, &config())
}

fn read(token: &str) -> Result<Identity, TokenError> {
    Unverified::read(token, &config(), now()).map(|unverified| unverified.identity)
}

fn claim(name: &str) -> TokenError {
    TokenError::Claim(name.to_owned())
}

#[rstest]
#[case::expired(json!({"exp": NOW - 30}), TokenError::Expired)]
#[case::expired_long_ago(json!({"exp": -1}), TokenError::Expired)]
#[case::no_end(json!({"exp": "absent"}), claim("exp"))]
#[case::end_is_a_text(json!({"exp": "2147483647"}), claim("exp"))]
#[case::end_beyond_all_times(json!({"exp": 1e300}), claim("exp"))]
#[case::not_yet(json!({"nbf": NOW + 31}), TokenError::NotYet)]
#[case::begin_is_a_text(json!({"nbf": "0"}), claim("nbf"))]
#[case::other_issuer(json!({"iss": "https://elsewhere.example"}), TokenError::Issuer)]
#[case::issuer_with_a_slash(json!({"iss": "https://issuer.example/"}), TokenError::Issuer)]
#[case::issuers(json!({"iss": ["https://issuer.example"]}), claim("iss"))]
#[case::issuers_with_others(json!({"iss": ["https://elsewhere.example", "https://issuer.example"]}), claim("iss"))]
#[case::not_yet_by_a_fraction(json!({"nbf": 1_795_888_516.25}), TokenError::NotYet)]
#[case::no_issuer(json!({"iss": null}), claim("iss"))]
#[case::another_client_of_cognito(json!({"aud": "absent", "token_use": "access", "client_id": "other"}), TokenError::Audience)]
#[case::clients_of_cognito(json!({"aud": "absent", "token_use": "access", "client_id": ["dynahook"]}), claim("client_id"))]
#[case::no_client_of_cognito(json!({"aud": "absent", "token_use": "access"}), claim("client_id"))]
#[case::client_id_token_of_cognito(json!({"aud": "absent", "token_use": "id", "client_id": "dynahook"}), claim("aud"))]
#[case::client_without_a_use(json!({"aud": "absent", "client_id": "dynahook"}), claim("aud"))]
#[case::client_next_to_another_audience(
    json!({"aud": "elsewhere", "token_use": "access", "client_id": "dynahook"}), TokenError::Audience)]
#[case::client_next_to_null(json!({"aud": null, "token_use": "access", "client_id": "dynahook"}), claim("aud"))]
#[case::other_audience(json!({"aud": "elsewhere"}), TokenError::Audience)]
#[case::other_audiences(json!({"aud": ["elsewhere", "dynahook2"]}), TokenError::Audience)]
#[case::no_audiences(json!({"aud": []}), TokenError::Audience)]
#[case::no_audience(json!({"aud": "absent"}), claim("aud"))]
#[case::no_subject(json!({"sub": "absent"}), claim("sub"))]
#[case::empty_subject(json!({"sub": ""}), claim("sub"))]
#[case::subjects(json!({"sub": ["anna"]}), claim("sub"))]
#[case::tenants(json!({"tenant_id": ["acme", "globex"]}), claim("tenant_id"))]
#[case::empty_app(json!({"app_id": ""}), claim("app_id"))]
#[case::id_token_of_cognito(json!({"token_use": "id"}), TokenError::Kind)]
#[case::id_token_of_keycloak(json!({"typ": "ID"}), TokenError::Kind)]
#[case::refresh_token_of_keycloak(json!({"typ": "Refresh"}), TokenError::Kind)]
#[case::roles_are_a_number(json!({"roles": 7}), claim("roles"))]
#[case::a_role_is_a_list(json!({"roles": [["ADMIN"]]}), claim("roles"))]
#[case::a_role_within_a_member(json!({"roles": ["not ADMIN"]}), TokenError::Role("roles".to_owned()))]
#[case::a_role_among_words(json!({"roles": ["No OPERATOR rights"]}), TokenError::Role("roles".to_owned()))]
#[case::a_line_break(json!({"roles": ["x\nADMIN"]}), TokenError::Role("roles".to_owned()))]
#[case::a_space_that_is_not_ascii(json!({"roles": ["x\u{a0}ADMIN"]}), TokenError::Role("roles".to_owned()))]
#[case::a_tab_in_a_text(json!({"roles": "USER\tADMIN"}), TokenError::Role("roles".to_owned()))]
#[case::an_empty_member(json!({"roles": ["ADMIN", ""]}), TokenError::Role("roles".to_owned()))]
fn claims_that_are_not_good_are_refused(#[case] claims: Value, #[case] error: TokenError) {
    assert_eq!(read(&token(HEADER, &with(&claims))), Err(error));
}

#[rstest]
#[case::ended_within_the_leeway(json!({"exp": NOW - 29}), NOW + 1)]
#[case::begins_within_the_leeway(json!({"nbf": NOW + 30}), NOW + 630)]
#[case::no_begin(json!({"nbf": null}), NOW + 630)]
#[case::fraction(json!({"exp": 1_795_889_086.5}), NOW + 630)]
#[case::one_of_the_audiences(json!({"aud": ["elsewhere", "dynahook"]}), NOW + 630)]
#[case::for_ever(json!({"exp": i64::MAX}), NOW + 24 * 3600)]
#[case::access_token_of_cognito(json!({"token_use": "access"}), NOW + 630)]
#[case::access_token_of_keycloak(json!({"typ": "Bearer"}), NOW + 630)]
fn the_identity_ends_with_the_token_and_the_leeway(#[case] claims: Value, #[case] ends: i64) {
    assert_eq!(read(&token(HEADER, &with(&claims))).unwrap().expires_at, ends);
}

#[rstest]
#[case::list(json!(["ADMIN", "USER"]), &["ADMIN", "USER"])]
#[case::twice(json!(["USER", "ADMIN", "USER"]), &["ADMIN", "USER"])]
#[case::text(json!("openid ADMIN"), &["ADMIN", "openid"])]
#[case::text_with_commas(json!("ADMIN,USER"), &["ADMIN", "USER"])]
#[case::text_with_commas_and_spaces(json!(" ADMIN, USER,"), &["ADMIN", "USER"])]
#[case::a_comma_in_a_member(json!(["x,ADMIN"]), &["x,ADMIN"])]
#[case::text_with_more_spaces(json!("  ADMIN   USER "), &["ADMIN", "USER"])]
#[case::another_role(json!(["ADMIN2", "admin", "NOT-ADMIN"]), &["ADMIN2", "NOT-ADMIN", "admin"])]
#[case::none(json!([]), &[])]
#[case::null(json!(null), &[])]
#[case::empty_text(json!(""), &[])]
fn roles_are_a_list_or_one_text(#[case] claim: Value, #[case] expected: &[&str]) {
    assert_eq!(read(&token(HEADER, &with(&json!({"roles": claim})))).unwrap().roles, expected);
}

#[rstest]
#[case::keycloak("realm_access.roles", json!({"realm_access": {"roles": ["ADMIN"]}}), &["ADMIN"])]
#[case::client_of_keycloak("resource_access.my.app.roles", json!({"resource_access": {"my.app": {"roles": "ADMIN"}}}), &["ADMIN"])]
#[case::cognito("cognito:groups", json!({"cognito:groups": ["ADMIN"]}), &["ADMIN"])]
#[case::auth0("https://example.com/roles", json!({"https://example.com/roles": ["ADMIN"]}), &["ADMIN"])]
#[case::the_name_comes_first("a.b", json!({"a.b": ["USER"], "a": {"b": ["ADMIN"]}}), &["USER"])]
#[case::on_each_level("a.b.c", json!({"a": {"b.c": ["USER"], "b": {"c": ["ADMIN"]}}}), &["USER"])]
#[case::no_such_path("a.b", json!({"a": {"c": ["ADMIN"]}}), &[])]
#[case::no_object_on_the_path("a.b", json!({"a": "b"}), &[])]
fn a_claim_is_found_by_its_name_or_path(#[case] name: &str, #[case] claims: Value, #[case] expected: &[&str]) {
    let names = ClaimNames { roles: name.to_owned(), ..ClaimNames::default() };
    assert_eq!(read_with(names, &token(HEADER, &with(&claims))).unwrap().roles, expected);
}

#[test]
fn an_object_on_the_path_to_roles_is_no_list() {
    let names = ClaimNames { roles: "realm_access".to_owned(), ..ClaimNames::default() };
    let claims = with(&json!({"realm_access": {"roles": ["ADMIN"]}}));
    assert_eq!(read_with(names, &token(HEADER, &claims)), Err(claim("realm_access")));
}

#[test]
fn every_claim_may_have_a_path() {
    let names = ClaimNames { tenant: "org.id".to_owned(), app: "org.app".to_owned(), ..ClaimNames::default() };
    let identity = read_with(names, &token(HEADER, &with(&json!({"org": {"id": "acme", "app": "erp"}})))).unwrap();
    assert_eq!((identity.tenant.as_deref(), identity.app.as_deref()), (Some("acme"), Some("erp")));
}

#[rstest]
#[case::plain(json!({}))]
#[case::fractions(json!({"exp": 1_795_889_086.5, "nbf": 1_795_888_000.25, "iat": 1_795_888_000.25}))]
#[case::cognito(json!({"aud": "absent", "token_use": "access", "client_id": "dynahook", "version": 2, "scope": "a b"}))]
fn a_signed_token_is_good(#[case] claims: Value) {
    let claims: Value = serde_json::from_str(&with(&claims)).unwrap();
    assert_eq!(verify(&claims).map(|identity| identity.subject), Ok("anna".to_owned()));
}

#[test]
fn a_token_of_cognito_must_be_signed() {
    let claims = with(&json!({"aud": "absent", "token_use": "access", "client_id": "dynahook"}));
    let forged = token(r#"{"alg": "ES256"}"#, &claims);
    let unverified = Unverified::read(&forged, &config(), now()).unwrap();
    assert_eq!(unverified.verify(&JwkSet { keys: Vec::new() }, &config()), Err(TokenError::Signature));
}

#[rstest]
#[case::no_type(r#"{"alg": "RS256"}"#)]
#[case::lower_case(r#"{"alg": "ES256", "typ": "jwt"}"#)]
#[case::access_token(r#"{"alg": "RS256", "typ": "at+jwt"}"#)]
#[case::access_token_in_full(r#"{"alg": "RS256", "typ": "application/at+JWT"}"#)]
#[case::other_members(r#"{"alg": "RS256", "typ": "JWT", "x5t": "a", "new": [1]}"#)]
#[case::no_key_id(r#"{"alg": "RS256", "kid": null}"#)]
fn a_header_may_say(#[case] header: &str) {
    assert!(read(&token(header, &with(&json!({})))).is_ok());
}

#[rstest]
#[case::unknown_extension(r#"{"alg": "RS256", "crit": ["exp"], "exp": 1}"#, TokenError::Critical)]
#[case::unencoded_payload(r#"{"alg": "RS256", "crit": ["b64"], "b64": false}"#, TokenError::Critical)]
#[case::no_extension(r#"{"alg": "RS256", "crit": []}"#, TokenError::Critical)]
#[case::no_list_of_extensions(r#"{"alg": "RS256", "crit": null}"#, TokenError::Critical)]
#[case::id_token(r#"{"alg": "RS256", "typ": "id_token"}"#, TokenError::Kind)]
#[case::logout_token(r#"{"alg": "RS256", "typ": "logout+jwt"}"#, TokenError::Kind)]
#[case::proof(r#"{"alg": "ES256", "typ": "dpop+jwt"}"#, TokenError::Kind)]
#[case::set(r#"{"alg": "ES256", "typ": "application/secevent+jwt"}"#, TokenError::Kind)]
#[case::empty_type(r#"{"alg": "ES256", "typ": ""}"#, TokenError::Kind)]
#[case::type_is_a_list(r#"{"alg": "RS256", "typ": ["JWT"]}"#, TokenError::Malformed)]
#[case::unsigned(r#"{"alg": "none"}"#, TokenError::Malformed)]
#[case::shared_secret(r#"{"alg": "HS256", "kid": "rsa"}"#, TokenError::Algorithm)]
#[case::another_algorithm(r#"{"alg": "PS256"}"#, TokenError::Algorithm)]
#[case::no_algorithm(r#"{"typ": "JWT"}"#, TokenError::Malformed)]
#[case::key_id_is_a_number(r#"{"alg": "RS256", "kid": 7}"#, TokenError::Malformed)]
#[case::key_id_is_an_object(r#"{"alg": "RS256", "kid": {"$ne": ""}}"#, TokenError::Malformed)]
#[case::algorithm_twice(r#"{"alg": "RS256", "alg": "HS256"}"#, TokenError::Twice)]
#[case::extension_twice(r#"{"alg": "RS256", "new": 1, "new": 2}"#, TokenError::Twice)]
#[case::no_object("[]", TokenError::Malformed)]
fn a_header_must_not_say(#[case] header: &str, #[case] error: TokenError) {
    assert_eq!(read(&token(header, &with(&json!({})))), Err(error));
}

#[rstest]
#[case::subject(r#""sub": "root""#)]
#[case::issuer(r#""iss": "https://issuer.example""#)]
#[case::tenant(r#""tenant_id": "globex""#)]
#[case::end(r#""exp": 4102444800"#)]
#[case::with_an_escape(r#""s\u0075b": "root""#)]
#[case::not_read(r#""jti": 1, "jti": 1"#)]
#[case::within_another(r#""realm_access": {"roles": ["USER"], "roles": ["ADMIN"]}"#)]
#[case::within_a_list(r#""list": [1, [{"a": 1, "a": 2}]]"#)]
fn a_claim_that_is_there_twice_is_refused(#[case] more: &str) {
    let claims = good().to_string();
    let twice = format!("{},{more}}}", claims.strip_suffix('}').unwrap());
    assert_eq!(read(&token(HEADER, &twice)), Err(TokenError::Twice));
}

#[rstest]
#[case::one_part("token")]
#[case::two_parts("e30.e30")]
#[case::encrypted("e30.e30.e30.e30.e30")]
#[case::nothing("..")]
fn is_no_token(#[case] text: &str) {
    assert_eq!(read(text), Err(TokenError::Malformed));
}

#[test]
fn a_token_that_is_too_long_is_not_read() {
    assert_eq!(read(&"a".repeat(MAX_TOKEN_BYTES + 1)), Err(TokenError::TooLong));
    let long = with(&json!({"more": "a".repeat(7_000)}));
    assert!(read(&token(HEADER, &long)).is_ok());
}

proptest! {
    /// A role is recognized only if a member equals it exactly.
    #[test]
    fn a_role_is_a_whole_member(members in prop::collection::vec("(ADMIN|OPERATOR|[ A-Z\u{a0},]{0,9}|not ADMIN)", 0..4)) {
        let read = read(&token(HEADER, &with(&json!({"roles": members}))));
        for role in ["ADMIN", "OPERATOR"] {
            let has = read.as_ref().is_ok_and(|identity| identity.roles.iter().any(|has| has == role));
            prop_assert!(!has || members.iter().any(|member| member == role));
        }
    }

    /// A refusal never repeats the token, which may be a secret that was sent by mistake.
    #[test]
    fn no_refusal_repeats_the_token(secret in "[a-zA-Z0-9]{12,40}", place in 0..7_usize) {
        let header = |text: &str| format!(r#"{{"alg": "RS256", "typ": "{text}"}}"#);
        let text = match place {
            0 => secret.clone(),
            1 => token(&header(&secret), &with(&json!({}))),
            2 => token(&format!(r#"{{"alg": "{secret}"}}"#), &with(&json!({}))),
            3 => token(HEADER, &with(&json!({"iss": secret}))),
            4 => token(HEADER, &with(&json!({"aud": secret}))),
            5 => token(HEADER, &with(&json!({"roles": [format!("{secret} x")]}))),
            _ => token(HEADER, &format!(r#"{{"{secret}": 1, "{secret}": 1}}"#)),
        };
        let refusal = read(&text).unwrap_err();
        prop_assert!(!refusal.to_string().contains(&secret));
        let debug = format!("{refusal:?}");
        prop_assert!(!debug.contains(&secret));
    }
}
