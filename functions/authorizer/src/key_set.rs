//! Parses a JSON Web Key Set. Each key is parsed by itself, so that an unusable key does not affect the others.

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, KeyOperations, PublicKeyUse};
use serde::Deserialize;
use serde_json::Value;

/// Why a document is not a key set. Does not quote its content.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// It is not JSON.
    #[error("{0}")]
    Json(serde_json::Error),
    /// It is JSON, but not a key set.
    #[error("it must be a JSON object with a list of keys in `keys`")]
    Form,
}

/// Why a key of a set is skipped. Does not quote its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Unusable {
    #[error("the key is not a JSON object")]
    NoObject,
    #[error("`kid` is not a string")]
    KeyId,
    #[error("`kty` is neither RSA nor EC")]
    Type,
    #[error("a member is missing or has the wrong type")]
    Member,
    #[error("`crv` is not P-256")]
    Curve,
    #[error("`use` or `key_ops` does not allow verifying signatures")]
    Purpose,
    #[error("`alg` is neither RS256 for RSA nor ES256 for EC")]
    Algorithm,
}

#[derive(Deserialize)]
struct Members {
    keys: Vec<Value>,
}

/// Parses a key set. A key that cannot verify RS256 or ES256 is skipped and logged by its position.
///
/// # Errors
///
/// If it is not a JSON object with a list `keys`.
pub fn read(json: &[u8]) -> Result<JwkSet, KeySetError> {
    let members: Members = serde_json::from_slice(json)
        .map_err(|error| if error.is_data() { KeySetError::Form } else { KeySetError::Json(error) })?;
    let usable = |(position, member): (usize, Value)| {
        let (kty, kid) = (key_type(&member), type_of(member.get("kid")));
        let skipped =
            |why: &Unusable| tracing::warn!(position, kty, kid, reason = %why, "a key of the issuer is skipped");
        key(member).inspect_err(skipped).ok()
    };
    Ok(JwkSet { keys: members.keys.into_iter().enumerate().filter_map(usable).collect() })
}

fn key(member: Value) -> Result<Jwk, Unusable> {
    let object = member.as_object().ok_or(Unusable::NoObject)?;
    if !matches!(object.get("kid"), None | Some(Value::Null | Value::String(_))) {
        return Err(Unusable::KeyId);
    }
    if !matches!(object.get("kty").and_then(Value::as_str), Some("RSA" | "EC")) {
        return Err(Unusable::Type);
    }
    let key: Jwk = serde_json::from_value(member).map_err(|_| Unusable::Member)?;
    let algorithm = if matches!(key.algorithm, AlgorithmParameters::RSA(_)) {
        KeyAlgorithm::RS256
    } else if let AlgorithmParameters::EllipticCurve(parameters) = &key.algorithm {
        if parameters.curve != EllipticCurve::P256 {
            return Err(Unusable::Curve);
        }
        KeyAlgorithm::ES256
    } else {
        // The library reads a key that lacks its members as one of an unknown type.
        return Err(Unusable::Member);
    };
    let common = &key.common;
    let signs = common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
    let verifies = common.key_operations.as_ref().is_none_or(|allowed| allowed.contains(&KeyOperations::Verify));
    if !signs || !verifies {
        return Err(Unusable::Purpose);
    }
    if common.key_algorithm.is_some_and(|named| named != algorithm) {
        return Err(Unusable::Algorithm);
    }
    DecodingKey::from_jwk(&key).map_err(|_| Unusable::Member)?;
    Ok(key)
}

/// Returns the type of a key for the log. Names only standard types, so that no content of the key is logged.
fn key_type(member: &Value) -> &'static str {
    match member.get("kty").and_then(Value::as_str) {
        Some("RSA") => "RSA",
        Some("EC") => "EC",
        Some("OKP") => "OKP",
        Some("oct") => "oct",
        Some(_) => "unknown",
        None => "absent",
    }
}

fn type_of(value: Option<&Value>) -> &'static str {
    match value {
        None => "absent",
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "boolean",
        Some(Value::Number(_)) => "number",
        Some(Value::String(_)) => "string",
        Some(Value::Array(_)) => "array",
        Some(Value::Object(_)) => "object",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn rsa(more: &Value) -> Value {
        with(
            json!({"kty": "RSA", "kid": "good", "n": "u1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffAt0gun", "e": "AQAB"}),
            more,
        )
    }

    fn ec(more: &Value) -> Value {
        let point = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
        with(json!({"kty": "EC", "crv": "P-256", "x": point, "y": point}), more)
    }

    /// Sets members of a key. The value `"absent"` removes one.
    fn with(mut key: Value, more: &Value) -> Value {
        for (name, value) in more.as_object().unwrap() {
            key[name] = value.clone();
        }
        key.as_object_mut().unwrap().retain(|_, value| value != "absent");
        key
    }

    #[rstest]
    #[case::rsa(rsa(&json!({})), Ok(()))]
    #[case::ec(ec(&json!({})), Ok(()))]
    #[case::all_that_a_signing_key_may_say(rsa(&json!({"use": "sig", "alg": "RS256", "key_ops": ["verify"], "x5t": "a", "new": 1})), Ok(()))]
    #[case::null_is_absent(ec(&json!({"use": null, "alg": null, "key_ops": null, "kid": null})), Ok(()))]
    #[case::kid_is_a_number(rsa(&json!({"kid": 7})), Err(Unusable::KeyId))]
    #[case::unknown_type(json!({"kty": "AKP", "kid": "a", "pub": "…"}), Err(Unusable::Type))]
    #[case::no_type(rsa(&json!({"kty": "absent"})), Err(Unusable::Type))]
    #[case::symmetric(json!({"kty": "oct", "kid": "a", "k": "c2VjcmV0"}), Err(Unusable::Type))]
    #[case::ed25519(json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}), Err(Unusable::Type))]
    #[case::no_modulus(rsa(&json!({"n": "absent"})), Err(Unusable::Member))]
    #[case::modulus_is_a_number(rsa(&json!({"n": 7})), Err(Unusable::Member))]
    #[case::modulus_is_no_base64(rsa(&json!({"n": "…"})), Err(Unusable::Member))]
    #[case::no_y(ec(&json!({"y": "absent"})), Err(Unusable::Member))]
    #[case::another_curve(ec(&json!({"crv": "P-384"})), Err(Unusable::Curve))]
    #[case::unknown_curve(ec(&json!({"crv": "secp256k1"})), Err(Unusable::Member))]
    #[case::chain_is_a_text(rsa(&json!({"x5c": "MII"})), Err(Unusable::Member))]
    #[case::for_encryption(rsa(&json!({"use": "enc"})), Err(Unusable::Purpose))]
    #[case::to_sign_with(ec(&json!({"key_ops": ["sign"]})), Err(Unusable::Purpose))]
    #[case::for_another_algorithm(rsa(&json!({"alg": "RSA-OAEP"})), Err(Unusable::Algorithm))]
    #[case::for_the_other_type(ec(&json!({"alg": "RS256"})), Err(Unusable::Algorithm))]
    #[case::no_object(json!("key"), Err(Unusable::NoObject))]
    fn a_key_is_read_or_skipped_for_a_reason(#[case] member: Value, #[case] expected: Result<(), Unusable>) {
        assert_eq!(key(member.clone()).map(|_| ()), expected);
        let set = json!({"keys": [member, rsa(&json!({}))]}).to_string();
        let usable = 1 + usize::from(expected.is_ok());
        assert_eq!(read(set.as_bytes()).unwrap().keys.len(), usable, "the other key is there either way");
    }

    #[rstest]
    #[case::no_json("keys", "expected value at line 1 column 1")]
    #[case::cut_off(r#"{"keys":["#, "EOF while parsing a list at line 1 column 9")]
    #[case::a_list("[]", "it must be a JSON object with a list of keys in `keys`")]
    #[case::an_error(r#"{"message": "try again"}"#, "it must be a JSON object with a list of keys in `keys`")]
    #[case::one_key(r#"{"keys": {"kty": "RSA"}}"#, "it must be a JSON object with a list of keys in `keys`")]
    fn what_is_no_key_set_is_an_error(#[case] text: &str, #[case] error: &str) {
        assert_eq!(read(text.as_bytes()).unwrap_err().to_string(), error);
    }

    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "(RSA|EC|sig|enc|P-256|AQAB|[a-z]{0,4})".prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 8, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("(kty|kid|n|e|crv|x|y|use|alg|key_ops)", inner, 0..6)
                    .prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_the_others_are_a_good_key_is_found(before in prop::collection::vec(anything(), 0..4), after in anything()) {
            let mut keys = before;
            keys.push(rsa(&json!({"kid": "the good one"})));
            keys.push(after);
            let set = read(json!({"keys": keys}).to_string().as_bytes()).unwrap();
            prop_assert!(set.find("the good one").is_some());
        }
    }
}
