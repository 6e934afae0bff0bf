//! Examples of requests and responses, from `examples.json`. A test sends every request to the deployed stack
//! (`tests/it/examples.rs`).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::openapi::{Content, OpenApi, RefOr, Response};

use super::schemas::operations;

/// The examples. Bodies of requests and responses are named by the operation.
#[derive(Debug, Default, Deserialize)]
struct Examples {
    requests: BTreeMap<String, Value>,
    /// By the status, within the operation.
    responses: BTreeMap<String, BTreeMap<String, Value>>,
    /// By the status.
    problems: BTreeMap<String, Value>,
    /// By the payload format.
    payloads: BTreeMap<String, Value>,
}

/// Adds the examples to bodies in JSON.
pub(super) fn add(openapi: &mut OpenApi) {
    // A test finds examples in every operation, so this file can be read.
    let examples: Examples = serde_json::from_str(include_str!("examples.json")).unwrap_or_default();
    for operation in openapi.paths.paths.values_mut().flat_map(operations) {
        let id = operation.operation_id.clone().unwrap_or_default();
        if let (Some(RefOr::T(body)), Some(example)) = (&mut operation.request_body, examples.requests.get(&id)) {
            body.content.iter_mut().for_each(|(kind, content)| set(kind, content, example));
        }
        for (status, response) in &mut operation.responses.responses {
            let own = examples.responses.get(&id).and_then(|own| own.get(status));
            if let (RefOr::T(response), Some(example)) = (response, own.or_else(|| examples.problems.get(status))) {
                set_all(response, example);
            }
        }
    }
    for (format, item) in openapi.webhooks.iter_mut().flat_map(|webhooks| &mut webhooks.paths) {
        let body = item.post.as_mut().and_then(|delivery| delivery.request_body.as_mut());
        if let (Some(RefOr::T(body)), Some(example)) = (body, examples.payloads.get(format)) {
            body.content.iter_mut().for_each(|(kind, content)| set(kind, content, example));
        }
    }
}

fn set_all(response: &mut Response, example: &Value) {
    response.content.iter_mut().for_each(|(kind, content)| set(kind, content, example));
}

fn set(kind: &str, content: &mut RefOr<Content>, example: &Value) {
    if let RefOr::T(content) = content
        && kind.ends_with("json")
    {
        content.example.get_or_insert_with(|| example.clone());
    }
}
