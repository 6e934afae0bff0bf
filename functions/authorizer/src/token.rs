//! A token: is it the issuer's, for us, and still good; and what it says of its bearer.

use domain::api_key::Scope;
use jiff::SignedDuration;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};

use crate::config::Config;

/// How far clocks may differ, in seconds.
const LEEWAY_SECONDS: u64 = 30;

/// Who bears a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The subject: a person, or a service.
    pub subject: String,
    /// The tenant, if the token names one.
    pub tenant: Option<String>,
    /// The application, if the token is one's.
    pub app: Option<String>,
    /// The roles.
    pub roles: Vec<String>,
    /// What an API key is narrowed to; nothing if it is not.
    pub scopes: Vec<Scope>,
    /// When the token ends, in seconds since 1970.
    pub expires_at: i64,
}

/// Why a token is refused. Says nothing of its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none, or not as `Authorization: Bearer <token>`.
    #[error("send a token as Authorization: Bearer <token>")]
    Absent,
    /// It is not a JWT.
    #[error("the token is neither a JWT nor an API key")]
    Malformed,
    /// It is signed neither with RS256 nor with ES256.
    #[error("the token must be signed with RS256 or ES256")]
    Algorithm,
    /// None of the issuer's keys signed it.
    #[error("the token is not signed by a key of the issuer")]
    Signature,
    /// It has ended.
    #[error("the token has expired")]
    Expired,
    /// It has not begun.
    #[error("the token is not valid yet")]
    NotYet,
    /// It is another issuer's.
    #[error("the token's issuer is another one")]
    Issuer,
    /// It is for somebody else.
    #[error("the token's audience is another one")]
    Audience,
    /// It is no API key, or one that was revoked or has ended.
    #[error("the API key is not good (any more)")]
    ApiKey,
    /// It lacks a claim, or has one of the wrong type.
    #[error("the token has no usable {0} claim")]
    Claim(String),
}

/// The key that a token says it is signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName {
    algorithm: Algorithm,
    id: Option<String>,
}

impl KeyName {
    /// Reads the head of a token; its signature is not checked.
    ///
    /// # Errors
    ///
    /// If it is not a JWT, or signed with another algorithm than RS256 and ES256.
    pub fn of(token: &str) -> Result<Self, TokenError> {
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        if matches!(header.alg, Algorithm::RS256 | Algorithm::ES256) {
            Ok(Self { algorithm: header.alg, id: header.kid })
        } else {
            Err(TokenError::Algorithm)
        }
    }

    /// Finds the key. Without an id a token can only mean the only key of its type.
    #[must_use]
    pub fn find<'a>(&self, keys: &'a JwkSet) -> Option<&'a Jwk> {
        let mut of_type = keys.keys.iter().filter(|key| self.fits(key));
        match &self.id {
            Some(_) => of_type.find(|key| key.common.key_id == self.id),
            None => of_type.next().filter(|_| of_type.next().is_none()),
        }
    }

    /// Keys of different types may share an id.
    fn fits(&self, key: &Jwk) -> bool {
        if self.algorithm == Algorithm::RS256 {
            matches!(key.algorithm, AlgorithmParameters::RSA(_))
        } else {
            matches!(key.algorithm, AlgorithmParameters::EllipticCurve(_))
        }
    }
}

/// Checks a token and reads its claims.
///
/// # Errors
///
/// The first thing that is wrong with it.
pub fn verify(token: &str, keys: &JwkSet, config: &Config) -> Result<Identity, TokenError> {
    let name = KeyName::of(token)?;
    let key = name.find(keys).ok_or(TokenError::Signature)?;
    let key = DecodingKey::from_jwk(key).map_err(|_| TokenError::Signature)?;
    let mut validation = Validation::new(name.algorithm);
    validation.leeway = LEEWAY_SECONDS;
    validation.validate_nbf = true;
    validation.set_issuer(&[&config.issuer]);
    validation.set_audience(&[&config.audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let claims = decode::<Map<String, Value>>(token, &key, &validation).map_err(|error| refusal(error.kind()))?.claims;
    identity(&claims, config)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is the library's, and open")]
fn refusal(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYet,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => {
            TokenError::Claim(claim.clone())
        }
        ErrorKind::Json(_) | ErrorKind::Base64(_) | ErrorKind::Utf8(_) => TokenError::Malformed,
        _ => TokenError::Signature,
    }
}

fn identity(claims: &Map<String, Value>, config: &Config) -> Result<Identity, TokenError> {
    let names = &config.claims;
    let text = |claim: &str| match claims.get(claim) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
        Some(_) => Err(TokenError::Claim(claim.to_owned())),
    };
    let roles = match claims.get(&names.roles) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(roles)) => roles.split_whitespace().map(str::to_owned).collect(),
        Some(Value::Array(roles)) => roles
            .iter()
            .map(|role| role.as_str().map(str::to_owned).ok_or_else(|| TokenError::Claim(names.roles.clone())))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(TokenError::Claim(names.roles.clone())),
    };
    Ok(Identity {
        subject: text("sub")?.ok_or_else(|| TokenError::Claim("sub".to_owned()))?,
        tenant: text(&names.tenant)?,
        app: text(&names.app)?,
        roles,
        scopes: Vec::new(),
        expires_at: claims.get("exp").and_then(seconds).ok_or_else(|| TokenError::Claim("exp".to_owned()))?,
    })
}

/// Reads a time as RFC 7519 has it: seconds since 1970, perhaps with a fraction, which is cut off.
fn seconds(time: &Value) -> Option<i64> {
    time.as_i64().or_else(|| SignedDuration::try_from_secs_f64(time.as_f64()?).ok().map(|time| time.as_secs()))
}
