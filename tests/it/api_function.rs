//! The api function alone: what its routes cost, and its limits. Requests are those of API Gateway, to the letter.

mod authorization;
mod calls;
mod contract;
mod idempotency;
mod limits;
mod secrets;

use aws_sdk_dynamodb::types::AttributeValue;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::{Function, Stack, keep, unique};

/// The api function with a tenant of its own.
struct Api {
    function: Function,
    tenant: String,
    idempotency_key: Option<String>,
    /// What the authorizer says instead of what it says of an admin.
    context: Value,
}

impl Api {
    async fn start(stack: &Stack, environment: &[(&str, &str)]) -> Self {
        Self {
            function: Function::start(stack, "ApiFunction", environment).await,
            tenant: unique("tenant"),
            idempotency_key: None,
            context: json!({}),
        }
    }

    /// Returns the key of the caller's claims: of tenant, application and subject, each after its length.
    fn claims(&self) -> String {
        let mut hash = Sha256::new();
        for part in [self.tenant.as_str(), "", "anna"] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        format!("I#{}", hex::encode(hash.finalize()))
    }

    /// Sends a request as API Gateway does; returns the status, the headers and the body.
    async fn call(&mut self, method: Method, path: &str, body: &Value) -> (u64, Value, Value) {
        let mut event: Value = serde_json::from_str(include_str!("../fixtures/api-v2.json")).unwrap();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let path = format!("/api/v1/integration{path}");
        event["requestContext"]["authorizer"]["lambda"]["tenant"] = json!(self.tenant);
        let context = event["requestContext"]["authorizer"]["lambda"].as_object_mut().unwrap();
        context.extend(self.context.as_object().unwrap().clone());
        context.retain(|_, value| !value.is_null());
        event["requestContext"]["http"]["method"] = json!(method.as_str());
        event["requestContext"]["http"]["path"] = json!(path);
        event["rawPath"] = json!(path);
        event["rawQueryString"] = json!(query);
        event["body"] = json!(body.to_string());
        if let Some(key) = &self.idempotency_key {
            event["headers"]["idempotency-key"] = json!(key);
        }
        let answer = self.function.invoke(event).await;
        keep(method.as_str(), &path, &answer["headers"].to_string(), answer["body"].as_str().unwrap_or_default());
        let body = serde_json::from_str(answer["body"].as_str().unwrap_or_default()).unwrap_or(Value::Null);
        (answer["statusCode"].as_u64().unwrap(), answer["headers"].clone(), body)
    }
}

fn webhook() -> Value {
    json!({"name": "n", "url": "https://example.com/", "event_types": ["a.b"]})
}

/// Makes the api's one claim of an idempotency key so old that another try may take over.
async fn half_a_minute_later(stack: &Stack, api: &Api) {
    let table = stack.output("RegistryTable");
    let query = stack.dynamodb.query().table_name(table).key_condition_expression("pk = :pk");
    let claims = query.expression_attribute_values(":pk", AttributeValue::S(api.claims())).send().await.unwrap();
    assert_eq!(claims.items().len(), 1);
    for claim in claims.items() {
        let key = ["pk", "sk"].map(|name| (name.to_owned(), claim[name].clone()));
        let update = stack.dynamodb.update_item().table_name(table).set_key(Some(key.into()));
        let update = update.update_expression("SET claimed_at = claimed_at - :t");
        update.expression_attribute_values(":t", AttributeValue::N("31000".to_owned())).send().await.unwrap();
    }
}
