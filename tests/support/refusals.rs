//! Which batched calls AWS refuses: those with too many parts, or with two parts for the same item or id.
//!
//! The engine behind [`Tables`](crate::cloud::Tables) and the emulator check most of it too. All in-memory imitations
//! of AWS use this module, so that a call with duplicates fails as a whole, as on AWS.

use std::collections::BTreeSet;

use serde_json::Value;

/// The error with which AWS refuses a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: &'static str,
    pub(crate) message: &'static str,
}

const VALIDATION: &str = "com.amazon.coral.validate#ValidationException";

/// The most bytes of the bodies of one `SendMessageBatch`.
const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// A part of a call: the item or id that it is for, and its size.
struct Part {
    about: String,
    bytes: usize,
}

/// Returns the error with which AWS refuses a call because of the request alone, if it does.
pub(crate) fn refusal(operation: &str, body: &[u8]) -> Option<Refusal> {
    if !matches!(operation, "BatchGetItem" | "BatchWriteItem" | "TransactWriteItems" | "SendMessageBatch") {
        return None;
    }
    refuse(operation, &serde_json::from_slice(body).unwrap())
}

fn refuse(operation: &str, request: &Value) -> Option<Refusal> {
    let invalid = |message| Refusal { kind: VALIDATION, message };
    let (parts, most, too_many, repeated) = match operation {
        "BatchGetItem" => {
            (keys(request), 100, invalid("too many keys"), invalid("Provided list of item keys contains duplicates"))
        }
        "BatchWriteItem" => {
            (writes(request), 25, invalid("too many items"), invalid("Provided list of item keys contains duplicates"))
        }
        "TransactWriteItems" => {
            let repeated = "Transaction request cannot include multiple operations on one item";
            (transaction(request), 100, invalid("too many items"), invalid(repeated))
        }
        "SendMessageBatch" => {
            let too_many = Refusal { kind: "com.amazonaws.sqs#TooManyEntriesInBatchRequest", message: "more than ten" };
            let repeated = Refusal { kind: "com.amazonaws.sqs#BatchEntryIdsNotDistinct", message: "an id is repeated" };
            (entries(request), 10, too_many, repeated)
        }
        _ => return None,
    };
    let mut seen = BTreeSet::new();
    if parts.is_empty() {
        Some(match operation {
            "SendMessageBatch" => Refusal { kind: "com.amazonaws.sqs#EmptyBatchRequest", message: "there is no entry" },
            _ => invalid("there is no item"),
        })
    } else if parts.len() > most {
        Some(too_many)
    } else if parts.iter().any(|part| !seen.insert(&part.about)) {
        Some(repeated)
    } else if operation == "SendMessageBatch" && parts.iter().map(|part| part.bytes).sum::<usize>() > MAX_BATCH_BYTES {
        Some(Refusal { kind: "com.amazonaws.sqs#BatchRequestTooLong", message: "more than a megabyte" })
    } else {
        None
    }
}

/// Returns the part for an item of a table. `key` is its key or the whole item; all tables use the same key names.
fn item(table: &str, key: &Value) -> Part {
    Part { about: format!("{table} {} {}", key["pk"], key["sk"]), bytes: 0 }
}

fn by_table(request: &Value) -> impl Iterator<Item = (&String, &Value)> {
    request["RequestItems"].as_object().into_iter().flatten()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn keys(request: &Value) -> Vec<Part> {
    by_table(request).flat_map(|(table, read)| list(&read["Keys"]).map(|key| item(table, key))).collect()
}

fn writes(request: &Value) -> Vec<Part> {
    let key = |write: &Value| match write.get("PutRequest") {
        Some(put) => put["Item"].clone(),
        None => write["DeleteRequest"]["Key"].clone(),
    };
    by_table(request).flat_map(|(table, writes)| list(writes).map(move |write| item(table, &key(write)))).collect()
}

fn transaction(request: &Value) -> Vec<Part> {
    let part = |part: &Value| {
        let (_, write) = part.as_object()?.iter().next()?;
        let key = write.get("Item").or_else(|| write.get("Key"))?;
        Some(item(write["TableName"].as_str()?, key))
    };
    list(&request["TransactItems"]).filter_map(part).collect()
}

fn entries(request: &Value) -> Vec<Part> {
    let bytes = |entry: &Value| entry["MessageBody"].as_str().map_or(0, str::len);
    list(&request["Entries"]).map(|entry| Part { about: entry["Id"].to_string(), bytes: bytes(entry) }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(sk: &str) -> Value {
        json!({"pk": {"S": "a"}, "sk": {"S": sk}})
    }

    /// Returns a call of an operation with two parts.
    fn call(operation: &str, first: &str, second: &str) -> Value {
        let keys = [key(first), key(second)];
        match operation {
            "BatchGetItem" => json!({"RequestItems": {"deliveries": {"Keys": keys}}}),
            "BatchWriteItem" => {
                let writes = keys.map(|item| json!({"PutRequest": {"Item": item}}));
                json!({"RequestItems": {"deliveries": writes}})
            }
            "TransactWriteItems" => {
                let put = json!({"Put": {"TableName": "deliveries", "Item": keys[0]}});
                json!({"TransactItems": [put, {"Delete": {"TableName": "deliveries", "Key": keys[1]}}]})
            }
            "SendMessageBatch" => {
                let entries = [first, second].map(|id| json!({"Id": id, "MessageBody": "text"}));
                json!({"QueueUrl": "https://sqs/0/retries", "Entries": entries})
            }
            other => panic!("{other} has no parts"),
        }
    }

    #[test]
    fn a_call_with_two_parts_about_the_same_is_refused_whole() {
        for operation in ["BatchGetItem", "BatchWriteItem", "TransactWriteItems", "SendMessageBatch"] {
            assert_eq!(refuse(operation, &call(operation, "a", "b")), None, "{operation}");
            assert!(refuse(operation, &call(operation, "a", "a")).is_some(), "{operation}");
        }
        assert_eq!(refusal("Query", b"{}"), None);
    }

    #[test]
    fn a_call_with_too_much_is_refused() {
        let of = |count: usize, bytes: usize| {
            let entry = |id| json!({"Id": format!("{id}"), "MessageBody": "x".repeat(bytes)});
            refuse("SendMessageBatch", &json!({"Entries": (0..count).map(entry).collect::<Vec<_>>()}))
        };
        let kind = |refusal: Option<Refusal>| refusal.map(|refusal| refusal.kind.rsplit_once('#').unwrap().1);
        assert_eq!(kind(of(10, 100)), None);
        assert_eq!(kind(of(0, 1)), Some("EmptyBatchRequest"));
        assert_eq!(kind(of(11, 1)), Some("TooManyEntriesInBatchRequest"));
        assert_eq!(kind(of(2, 600_000)), Some("BatchRequestTooLong"));
        let writes: Vec<_> = (0..26).map(|sk| json!({"PutRequest": {"Item": key(&sk.to_string())}})).collect();
        let many = json!({"RequestItems": {"deliveries": writes}});
        assert_eq!(kind(refuse("BatchWriteItem", &many)), Some("ValidationException"));
    }
}
