//! KMS: one symmetric key, whose ciphertexts are bound to their encryption contexts as on AWS. Nothing is secret here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use domain::webhook::SecretsTable;
use serde_json::{Value, json};

use super::reply::Reply;

const KEY_ARN: &str = "arn:aws:kms:us-east-1:000000000000:key/0a1b2c3d-0000-4000-8000-000000000000";

/// The most bytes that `Encrypt` takes.
const MAX_BYTES: usize = 4096;

/// Returns the table of secrets of each cloud, and the key with which they are encrypted.
#[must_use]
pub fn secrets_table() -> SecretsTable {
    SecretsTable { name: "secrets".to_owned(), key_arn: KEY_ARN.to_owned() }
}

pub(super) fn answer(operation: &str, request: &Value) -> Reply {
    if request["KeyId"] != KEY_ARN {
        return Reply::error(400, "NotFoundException");
    }
    let bytes = |name: &str| BASE64.decode(request[name].as_str().unwrap_or_default()).unwrap();
    let context = &request["EncryptionContext"];
    match operation {
        "Encrypt" => {
            let text = bytes("Plaintext");
            if text.is_empty() || text.len() > MAX_BYTES {
                return Reply::error(400, "ValidationException");
            }
            let sealed = json!({"context": context, "text": BASE64.encode(text)}).to_string();
            Reply::ok(&json!({"KeyId": KEY_ARN, "CiphertextBlob": BASE64.encode(sealed)}))
        }
        "Decrypt" => match serde_json::from_slice::<Value>(&bytes("CiphertextBlob")) {
            Ok(sealed) if sealed["context"] == *context => {
                Reply::ok(&json!({"KeyId": KEY_ARN, "Plaintext": sealed["text"]}))
            }
            _ => Reply::error(400, "InvalidCiphertextException"),
        },
        other => panic!("{other} of KMS is not expected here"),
    }
}
