//! A key of KMS, which encrypts and decrypts short texts.
//!
//! Two calls are made, `Encrypt` and `Decrypt`, so there is no SDK for them (ADR 44).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::signed::{Call, Signed, named_code, plain_code, read, suffix};
use crate::{StoreError, rounds};

/// How often a call is made that is throttled or gets no answer.
const ATTEMPTS: u32 = 3;

/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The round of [`rounds`] whose pause, 80 to 160 ms, comes before the second attempt. The quota is one of requests in a
/// second.
const FIRST_PAUSE: u32 = 5;

/// The most bytes of an answer that are read. A ciphertext takes about 6 KB in base64.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The most bytes that `Encrypt` takes. No secret is longer.
pub(crate) const MAX_BYTES: usize = 4096;

/// A symmetric key.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    signed: Signed,
    arn: String,
}

/// The answer of either call.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    plaintext: String,
    #[serde(default)]
    ciphertext_blob: String,
}

/// An error of KMS. Its message is not kept.
#[derive(Deserialize)]
struct Problem {
    #[serde(default, rename = "__type")]
    kind: String,
}

/// Why a call failed.
enum Failure {
    /// Another attempt may succeed.
    Passing(String),
    /// KMS refused, with that code.
    Refused(u16, String),
}

/// What a ciphertext is bound to: only who names the same can decrypt it. It is visible in `CloudTrail`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) path: &'a str,
}

impl Context<'_> {
    fn json(self) -> Value {
        json!({"tenant": self.tenant, "path": self.path})
    }
}

impl Key {
    pub(crate) fn new(signed: Signed, arn: String) -> Self {
        Self { signed, arn }
    }

    /// Encrypts a text of up to 4,096 bytes.
    pub(crate) async fn encrypt(&self, context: Context<'_>, text: &SecretString) -> Result<Vec<u8>, StoreError> {
        let text = text.expose_secret();
        if text.len() > MAX_BYTES {
            return Err(StoreError::Refused(format!("a secret of {} bytes; KMS encrypts {MAX_BYTES}", text.len())));
        }
        let body = json!({"KeyId": self.arn, "Plaintext": BASE64.encode(text), "EncryptionContext": context.json()});
        let answer = self.call("TrentService.Encrypt", context, &body).await?;
        let ciphertext = BASE64.decode(answer.ciphertext_blob).ok().filter(|bytes| !bytes.is_empty());
        ciphertext.ok_or_else(|| StoreError::Unavailable("KMS answered without a ciphertext".to_owned()))
    }

    /// Decrypts what [`encrypt`](Self::encrypt) returned for the same context.
    pub(crate) async fn decrypt(&self, context: Context<'_>, ciphertext: &[u8]) -> Result<SecretString, StoreError> {
        let body = json!({
            "KeyId": self.arn, "CiphertextBlob": BASE64.encode(ciphertext), "EncryptionContext": context.json(),
        });
        let answer = self.call("TrentService.Decrypt", context, &body).await?;
        let text = BASE64.decode(answer.plaintext).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.ok_or_else(|| StoreError::inconsistent(context.path, "the secret is not text"))?;
        Ok(text.into())
    }

    async fn call(&self, target: &'static str, context: Context<'_>, body: &Value) -> Result<Answer, StoreError> {
        let mut last = None;
        for attempt in 0..ATTEMPTS {
            rounds::pause(if attempt == 0 { 0 } else { FIRST_PAUSE + attempt - 1 }, context.path).await;
            match tokio::time::timeout(TIMEOUT, Box::pin(self.attempt(target, body))).await {
                Ok(Ok(answer)) => return Ok(answer),
                // The ciphertext was changed, or belongs to another path.
                Ok(Err(Failure::Refused(_, code)))
                    if ["InvalidCiphertextException", "IncorrectKeyException"].contains(&code.as_str()) =>
                {
                    return Err(StoreError::inconsistent(context.path, format!("KMS answered {code}")));
                }
                Ok(Err(Failure::Refused(status, code))) => {
                    return Err(StoreError::Unavailable(format!("KMS answered {status} {code}")));
                }
                Ok(Err(Failure::Passing(why))) => last = Some(why),
                Err(_) => last = None,
            }
        }
        Err(StoreError::Unavailable(last.unwrap_or_else(|| "KMS did not answer in time".to_owned())))
    }

    async fn attempt(&self, target: &'static str, body: &Value) -> Result<Answer, Failure> {
        // arn:<partition>:kms:<region>:<account>:key/<id>
        let mut parts = self.arn.split(':').skip(1);
        let (partition, region) = (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default());
        let call = Call {
            service: "kms",
            region,
            host: format!("https://kms.{region}.{}", suffix(partition)),
            path: "/",
            headers: &[("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)],
            body: body.to_string(),
        };
        let unanswered = |error| Failure::Passing(format!("KMS cannot be called: {error}"));
        let answer = self.signed.send(call).await.map_err(unanswered)?;
        let (status, named) = (answer.status().as_u16(), named_code(&answer));
        let bytes = read(answer.into_body(), MAX_ANSWER_BYTES).await;
        if status == 200 {
            return serde_json::from_slice(&bytes)
                .map_err(|_| Failure::Passing("KMS answered something else than JSON".to_owned()));
        }
        let in_body = || serde_json::from_slice(&bytes).map(|Problem { kind }| plain_code(&kind)).unwrap_or_default();
        Err(failure(status, named.unwrap_or_else(in_body)))
    }
}

/// Returns what an error of KMS means: whether another attempt may succeed.
fn failure(status: u16, code: String) -> Failure {
    if status >= 500 || status == 429 || code == "ThrottlingException" {
        return Failure::Passing(format!("KMS answered {status} {code}"));
    }
    Failure::Refused(status, code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttles_and_faults_of_kms_pass() {
        for (status, code, passes) in [
            (400, "ThrottlingException", true),
            (500, "KMSInternalException", true),
            (503, "", true),
            (400, "AccessDeniedException", false),
            (400, "DisabledException", false),
            (400, "KMSInvalidStateException", false),
            (400, "InvalidCiphertextException", false),
        ] {
            assert_eq!(matches!(failure(status, code.to_owned()), Failure::Passing(_)), passes, "{code}");
        }
    }
}
