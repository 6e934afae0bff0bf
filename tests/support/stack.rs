//! The deployed stack, and tenants for single tests.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;

use aws_sdk_dynamodb::types::AttributeValue;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::environment::{eventually, unique, variable};
use crate::tokens::Claims;

/// The table that `make test` creates and attaches to fanout: `tenant_id`, `item_id`, entity `item`.
const TABLE: &str = "items";

/// The deployed stack.
#[derive(Debug, Clone)]
pub struct Stack {
    outputs: HashMap<String, String>,
    endpoint: String,
    http: reqwest::Client,
    /// A DynamoDB client, for the part of an application.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// An SQS client, for the part of an operator.
    pub sqs: aws_sdk_sqs::Client,
    /// The clients of `shared/aws`.
    pub aws: aws::Aws,
}

/// A tenant that no other test uses.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// A token of one of its admins.
    pub token: String,
    stack: Stack,
}

impl Stack {
    /// Finds the stack that `make test` brought up.
    pub async fn connect() -> Self {
        let outputs = std::fs::read_to_string(variable("DYNAHOOK_OUTPUTS")).unwrap();
        let config = aws_config::load_from_env().await;
        Self {
            outputs: serde_json::from_str(&outputs).unwrap(),
            endpoint: variable("AWS_ENDPOINT_URL"),
            http: reqwest::Client::new(),
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            sqs: aws_sdk_sqs::Client::new(&config),
            aws: aws::Aws::connect().await,
        }
    }

    /// Returns an output of the template.
    #[must_use]
    pub fn output(&self, name: &str) -> &str {
        self.outputs.get(name).unwrap_or_else(|| panic!("the template has no output {name}"))
    }

    /// Returns a new tenant.
    #[must_use]
    pub fn tenant(&self) -> Tenant {
        let name = unique("tenant");
        let token = Claims::new(&name, &["ADMIN"]).rs256();
        Tenant { name, token, stack: self.clone() }
    }

    /// Calls the API; `path` is below `/api/v1/integration`.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<&str>,
    ) -> (StatusCode, Value) {
        let response = self.request(method, path, token, body).await;
        let status = response.status();
        let bytes = response.bytes().await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// Calls the API and returns the whole response.
    pub async fn request(&self, method: Method, path: &str, token: Option<&str>, body: Option<&str>) -> Response {
        let mut request = self.to(method, &format!("/api/v1/integration{path}"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        ask(request.body(body.unwrap_or_default().to_owned())).await
    }

    /// Returns a request to the gateway; `path` is the full path.
    pub fn to(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.endpoint))
    }

    /// Returns the issuer's public keys, a JSON Web Key Set.
    #[must_use]
    pub fn key_set(&self) -> String {
        std::fs::read_to_string(format!("{}/jwks.json", variable("DYNAHOOK_KEYS"))).unwrap()
    }

    /// Returns the environment variables of all functions in the template.
    #[must_use]
    pub fn function_environment(&self) -> HashMap<String, String> {
        let outputs = [
            ("REGISTRY_TABLE", "RegistryTable"),
            ("EVENTS_TABLE", "EventsTable"),
            ("DELIVERIES_TABLE", "DeliveriesTable"),
            ("DELIVERIES_QUEUE_URL", "DeliveriesQueueUrl"),
            ("ORDERED_QUEUE_URL", "OrderedQueueUrl"),
            ("RENDERINGS_QUEUE_URL", "RenderingsQueueUrl"),
            ("RETRIES_QUEUE_URL", "RetriesQueueUrl"),
            ("SLOW_QUEUE_URL", "SlowQueueUrl"),
            ("EXHAUSTED_QUEUE_URL", "ExhaustedQueueUrl"),
            ("DEAD_LETTER_QUEUE_URL", "DeadLetterQueueUrl"),
            ("STREAM_FAILURES_QUEUE_URL", "StreamFailuresQueueUrl"),
            ("FINGERPRINT_KEY_ARN", "FingerprintKeyArn"),
            ("SECRETS_PREFIX", "SecretsPrefix"),
            ("INBOUND_SECRETS_PREFIX", "InboundSecretsPrefix"),
        ];
        let outputs = outputs.map(|(name, output)| (name.to_owned(), self.output(output).to_owned()));
        let fixed = [
            ("TARGET_ALLOWED_CIDRS", "127.0.0.0/8"),
            ("TARGET_ALLOW_HTTP", "true"),
            ("TARGET_ALLOWED_PORTS", "1-65535"),
            ("PUBLIC_URL", "http://localhost"),
            ("JWT_ISSUER", "https://issuer.dynahook.local"),
            ("JWT_AUDIENCE", "dynahook"),
            ("JWKS", r#"{"keys":[]}"#),
            ("AWS_LAMBDA_FUNCTION_NAME", "test"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ];
        outputs.into_iter().chain(fixed.map(|(name, value)| (name.to_owned(), value.to_owned()))).collect()
    }
}

/// Sends a request to the API, and records the response for the search for secrets.
pub async fn ask(request: RequestBuilder) -> Response {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let (method, path) = (request.method().to_string(), request.url().path().to_owned());
    let response = client.execute(request).await.unwrap();
    let mut whole = axum::http::Response::builder().status(response.status());
    whole.headers_mut().unwrap().clone_from(response.headers());
    let body = response.bytes().await.unwrap();
    keep(&method, &path, &format!("{:?}", whole.headers_ref()), &String::from_utf8_lossy(&body));
    whole.body(body).unwrap().into()
}

/// Records a response of the API for the search for secrets at the end of `make test`.
pub fn keep(method: &str, path: &str, headers: &str, body: &str) {
    let line = json!({"method": method, "path": path, "headers": headers, "body": body});
    let mut file = File::options().append(true).create(true).open(variable("DYNAHOOK_ANSWERS")).unwrap();
    // One write for the whole line, because other processes write to the file too.
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

impl Tenant {
    /// Returns the tenant with the token of one of its applications.
    #[must_use]
    pub fn application(&self, app: &str) -> Self {
        let token = Claims::new(&self.name, &["ADMIN"]).with("app_id", json!(app)).rs256();
        Self { name: self.name.clone(), token, stack: self.stack.clone() }
    }

    /// Registers a webhook for the events of `item`, with `more` in its body, and returns it with its secret.
    pub async fn webhook(&self, url: &str, more: Value) -> Value {
        let mut body = json!({
            "name": "test", "url": url, "event_types": ["item.created", "item.updated", "item.deleted"],
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, webhook) = self.call(Method::POST, "/webhooks", Some(&body)).await;
        assert_eq!(status, StatusCode::CREATED, "{webhook}");
        webhook
    }

    /// Calls the API as the tenant's admin.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let body = body.map(ToString::to_string);
        self.stack.call(method, path, Some(&self.token), body.as_deref()).await
    }

    /// Calls the API as the tenant's admin, with headers, and returns the whole response.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> Response {
        let request = self.stack.to(method, &format!("/api/v1/integration{path}")).bearer_auth(&self.token);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        ask(request.body(body.to_string())).await
    }

    /// Returns the deliveries of a webhook, newest first.
    pub async fn deliveries(&self, webhook: &Value) -> Vec<Value> {
        let path = format!("/webhooks/{}/deliveries", webhook["id"].as_str().unwrap());
        let (status, list) = self.call(Method::GET, &path, None).await;
        assert_eq!(status, StatusCode::OK, "{list}");
        list["data"].as_array().unwrap().clone()
    }

    /// Starts a test of a webhook, and waits for the outcome.
    pub async fn tested(&self, webhook: &Value, sample: Option<&Value>) -> Value {
        let path = format!("/webhooks/{}", webhook["id"].as_str().unwrap());
        let (status, test) = self.call(Method::POST, &format!("{path}/test"), sample).await;
        assert!(status.is_success(), "{test}");
        let path = format!("{path}/deliveries/{}", test["id"].as_str().unwrap());
        eventually("the outcome of a test", async || {
            let (_, delivery) = self.call(Method::GET, &path, None).await;
            Some(delivery).filter(|delivery| delivery["state"] != "pending")
        })
        .await
    }

    /// Waits until the webhook's only delivery is in that state, and returns it.
    pub async fn delivery(&self, webhook: &Value, state: &str) -> Value {
        eventually(&format!("a delivery that is {state}"), async || {
            let deliveries = self.deliveries(webhook).await;
            deliveries.first().filter(|delivery| delivery["state"] == state).cloned()
        })
        .await
    }

    /// Puts an item of the tenant.
    pub async fn put(&self, item: &str, attributes: &[(&str, AttributeValue)]) {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let item = self.key(item).into_iter().chain(attributes).collect();
        self.stack.dynamodb.put_item().table_name(TABLE).set_item(Some(item)).send().await.unwrap();
    }

    /// Deletes an item of the tenant.
    pub async fn remove(&self, item: &str) {
        let key = self.key(item);
        self.stack.dynamodb.delete_item().table_name(TABLE).set_key(Some(key)).send().await.unwrap();
    }

    fn key(&self, item: &str) -> HashMap<String, AttributeValue> {
        let key = [("tenant_id", self.name.as_str()), ("item_id", item)];
        key.into_iter().map(|(name, text)| (name.to_owned(), AttributeValue::S(text.to_owned()))).collect()
    }
}
