//! Checks a token's issuer, audience, times and signature, and reads the caller's identity from its claims.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use domain::access::caller::Identity;
use domain::time::seconds_up;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};

use crate::config::Config;
use crate::members::Members;

/// How far clocks may differ, in seconds. Nothing else adds to it, because [`Identity::expires_at`] already includes
/// it.
const LEEWAY_SECONDS: i64 = 30;

/// The longest token that is read, in bytes. API Gateway allows 10 KB for all headers of a request together.
const MAX_TOKEN_BYTES: usize = 10 * 1024;

/// The longest time for which an identity is passed on, in seconds. It is longer than API Gateway caches it, and keeps
/// the expiry small enough for every JSON parser.
const MAX_IDENTITY_SECONDS: i64 = 24 * 3600;

/// The values of `typ` in the header of an access token: that of [RFC 9068][1], and the one that most issuers write.
/// Some issuers write none.
///
/// [1]: https://www.rfc-editor.org/rfc/rfc9068#section-2.1
const TYPES: [&str; 2] = ["JWT", "at+jwt"];

/// The values of the claims `token_use` (Amazon Cognito) and `typ` (Keycloak) in tokens that are not access tokens.
const OTHER_USES: [&str; 5] = ["id", "refresh", "offline", "logout", "logout+jwt"];

/// Why a token is refused. Does not quote its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The request has no token, or not in the form `Authorization: Bearer <token>`.
    #[error("send a token as Authorization: Bearer <token>")]
    Absent,
    /// It is not a JWT.
    #[error("the token is neither a JWT nor an API key")]
    Malformed,
    /// It is too long.
    #[error("the token is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// A member of its header or of its claims occurs twice, and parsers differ in which one they use.
    #[error("a member of the token's header or claims occurs twice")]
    Twice,
    /// It requires extensions of the standard, of which none are supported.
    #[error("the token's header has crit, which is not supported")]
    Critical,
    /// It is an ID token, a logout token or another kind.
    #[error("the token is not an access token")]
    Kind,
    /// It is signed neither with RS256 nor with ES256.
    #[error("the token must be signed with RS256 or ES256")]
    Algorithm,
    /// None of the issuer's keys signed it.
    #[error("the token is not signed by a key of the issuer")]
    Signature,
    /// It has expired.
    #[error("the token has expired")]
    Expired,
    /// It is not valid yet.
    #[error("the token is not valid yet")]
    NotYet,
    /// It was issued by another issuer.
    #[error("the token is from a different issuer")]
    Issuer,
    /// It was issued for another audience.
    #[error("the token is for a different audience")]
    Audience,
    /// It is not a valid API key, or the key has expired or was revoked.
    #[error("the API key is invalid, expired or revoked")]
    ApiKey,
    /// It is not the key of a valid portal link, or the link has ended or was revoked.
    #[error("the portal link is invalid, has ended or was revoked")]
    PortalLink,
    /// It lacks a claim, or has one of the wrong type.
    #[error("the token has no usable {0} claim")]
    Claim(String),
    /// A role is empty, or contains whitespace or a control character.
    #[error("each member of the token's {0} claim must be one role, without spaces")]
    Role(String),
}

/// A token whose header and claims are valid. Its signature has not been checked.
#[derive(Debug)]
pub struct Unverified<'a> {
    token: &'a str,
    algorithm: Algorithm,
    key_id: Option<String>,
    identity: Identity,
}

impl<'a> Unverified<'a> {
    /// Reads a token and checks everything that needs no key, so that no key is fetched for a token that would be
    /// refused anyway.
    ///
    /// # Errors
    ///
    /// Returns the first fault.
    pub fn read(token: &'a str, config: &Config, now: Timestamp) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Malformed);
        };
        let (header_members, claims) = (members(header)?, members(claims)?);
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header_members.contains_key("crit") {
            return Err(TokenError::Critical);
        }
        if header.typ.as_deref().is_some_and(|kind| !is_access_token(kind)) {
            return Err(TokenError::Kind);
        }
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256) {
            return Err(TokenError::Algorithm);
        }
        let identity = identity(&claims, config, now)?;
        Ok(Self { token, algorithm: header.alg, key_id: header.kid, identity })
    }

    /// Returns the key that the token says it is signed with. Without a key id, a token can only mean the only key of
    /// its type.
    #[must_use]
    pub fn key<'k>(&self, keys: &'k JwkSet) -> Option<&'k Jwk> {
        let mut of_type = keys.keys.iter().filter(|key| self.fits(key));
        match &self.key_id {
            Some(_) => of_type.find(|key| key.common.key_id == self.key_id),
            None => of_type.next().filter(|_| of_type.next().is_none()),
        }
    }

    /// Returns whether a key has the type that the algorithm needs. Keys of different types may share an id.
    fn fits(&self, key: &Jwk) -> bool {
        if self.algorithm == Algorithm::RS256 {
            matches!(key.algorithm, AlgorithmParameters::RSA(_))
        } else {
            matches!(key.algorithm, AlgorithmParameters::EllipticCurve(_))
        }
    }

    /// Checks the signature. The library checks issuer and audience again.
    ///
    /// # Errors
    ///
    /// If the token was not signed with one of the keys.
    pub fn verify(self, keys: &JwkSet, config: &Config) -> Result<Identity, TokenError> {
        let key = self.key(keys).ok_or(TokenError::Signature)?;
        let key = DecodingKey::from_jwk(key).map_err(|_| TokenError::Signature)?;
        let mut validation = Validation::new(self.algorithm);
        // The times were compared with this function's clock. The library would use the system's.
        validation.validate_exp = false;
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        // Not `aud`: a token of Amazon Cognito has `client_id` instead, which was compared as well.
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        decode::<Map<String, Value>>(self.token, &key, &validation).map_err(|error| refusal(error.kind()))?;
        Ok(self.identity)
    }
}

fn members(part: &str) -> Result<Map<String, Value>, TokenError> {
    let json = BASE64.decode(part).map_err(|_| TokenError::Malformed)?;
    let Members { members, has_twins } = serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)?;
    if has_twins { Err(TokenError::Twice) } else { Ok(members) }
}

/// Returns whether a `typ` is that of an access token. Compares it as [RFC 7515][1] requires: in any case, with or
/// without `application/`.
///
/// [1]: https://www.rfc-editor.org/rfc/rfc7515#section-4.1.9
fn is_access_token(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    let kind = kind.strip_prefix("application/").unwrap_or(&kind);
    TYPES.iter().any(|known| kind.eq_ignore_ascii_case(known))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is the library's, and open")]
fn refusal(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => {
            TokenError::Claim(claim.clone())
        }
        ErrorKind::Json(_) | ErrorKind::Base64(_) | ErrorKind::Utf8(_) => TokenError::Malformed,
        _ => TokenError::Signature,
    }
}

/// Reads the claims, and checks times, issuer, audience and kind.
fn identity(claims: &Map<String, Value>, config: &Config, now: Timestamp) -> Result<Identity, TokenError> {
    let bad = |claim: &str| TokenError::Claim(claim.to_owned());
    let text = |claim: &str| match find(claims, claim) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
        Some(_) => Err(bad(claim)),
    };
    let now = now.as_second();
    let exp = claims.get("exp").and_then(time).ok_or_else(|| bad("exp"))?.as_secs();
    if exp.saturating_add(LEEWAY_SECONDS) <= now {
        return Err(TokenError::Expired);
    }
    let nbf = claims.get("nbf").filter(|nbf| !nbf.is_null());
    let nbf = nbf.map(|nbf| time(nbf).map(seconds_up).ok_or_else(|| bad("nbf"))).transpose()?;
    if nbf.is_some_and(|nbf| nbf.saturating_sub(LEEWAY_SECONDS) > now) {
        return Err(TokenError::NotYet);
    }
    // Only a string: the library also accepts a list that contains the issuer.
    if text("iss")?.ok_or_else(|| bad("iss"))? != config.issuer {
        return Err(TokenError::Issuer);
    }
    let is_ours = |audience: &Value| audience.as_str() == Some(&config.audience);
    let of_cognito = || claims.get("token_use").and_then(Value::as_str) == Some("access");
    match claims.get("aud") {
        Some(Value::String(audience)) if *audience == config.audience => {}
        Some(Value::Array(audiences)) if audiences.iter().any(is_ours) => {}
        Some(Value::String(_) | Value::Array(_)) => return Err(TokenError::Audience),
        // An access token of Amazon Cognito says which client it was issued to instead.
        None if of_cognito() => match claims.get("client_id") {
            Some(client) if is_ours(client) => {}
            Some(Value::String(_)) => return Err(TokenError::Audience),
            _ => return Err(bad("client_id")),
        },
        _ => return Err(bad("aud")),
    }
    for claim in ["token_use", "typ"] {
        let says = claims.get(claim).and_then(Value::as_str).unwrap_or_default();
        if OTHER_USES.iter().any(|other| says.eq_ignore_ascii_case(other)) {
            return Err(TokenError::Kind);
        }
    }
    let names = &config.claims;
    Ok(Identity {
        subject: text("sub")?.ok_or_else(|| bad("sub"))?,
        tenant: text(&names.tenant)?,
        app: text(&names.app)?,
        roles: roles(find(claims, &names.roles), &names.roles)?,
        scopes: Vec::new(),
        api_key: None,
        expires_at: exp.saturating_add(LEEWAY_SECONDS).min(now.saturating_add(MAX_IDENTITY_SECONDS)),
    })
}

/// Finds a claim by its name, which may contain dots (`https://example.com/roles`), or else by a path, in which dots
/// separate the names (`realm_access.roles`, as in Keycloak) and may be part of them (`resource_access.my.app.roles`).
fn find<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    let below = |(dot, _)| {
        let (first, rest) = (name.get(..dot)?, name.get(dot + 1..)?);
        find(claims.get(first)?.as_object()?, rest)
    };
    claims.get(name).or_else(|| name.match_indices('.').find_map(below))
}

/// Reads roles: a list of strings, or one string with spaces or commas between roles. A member of a list is one role,
/// never several.
fn roles(claim: Option<&Value>, name: &str) -> Result<Vec<String>, TokenError> {
    let mut roles: Vec<String> = match claim {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => {
            text.split([' ', ',']).filter(|role| !role.is_empty()).map(str::to_owned).collect()
        }
        Some(Value::Array(members)) => {
            let text =
                |member: &Value| member.as_str().map(str::to_owned).ok_or_else(|| TokenError::Claim(name.to_owned()));
            members.iter().map(text).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(TokenError::Claim(name.to_owned())),
    };
    let blank = |character: char| character.is_whitespace() || character.is_control();
    if roles.iter().any(|role| role.is_empty() || role.contains(blank)) {
        return Err(TokenError::Role(name.to_owned()));
    }
    roles.sort();
    roles.dedup();
    Ok(roles)
}

/// Reads a time as defined by RFC 7519: seconds since 1970, with an optional fraction.
fn time(time: &Value) -> Option<SignedDuration> {
    let whole = time.as_i64().map(SignedDuration::from_secs);
    whole.or_else(|| SignedDuration::try_from_secs_f64(time.as_f64()?).ok())
}

#[cfg(test)]
mod tests;
