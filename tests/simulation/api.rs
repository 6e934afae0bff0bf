//! The API in the test's own process, over a [`Cloud`]: requests that die anywhere and are sent again, requests at the
//! same time, and responses that would be too large.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::{App, Config, router};
use aws::{Aws, Keyring, Registry};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use domain::access::tenant::TenantId;
use domain::webhook::Webhook;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::cloud::environment::variable;
use tests::cloud::{Cloud, Fault, FaultScript, Faults, Line, secrets_table};
use tower::ServiceExt as _;

use crate::secrets::Hand;

mod again;
mod lists;
mod races;
mod release;

/// After this time, another try of a request may run.
const HALF_A_MINUTE: SignedDuration = SignedDuration::from_secs(31);

/// A cloud, its clock, and where webhooks' secrets are.
struct World {
    cloud: Arc<Cloud>,
    hand: Hand,
    in_table: bool,
}

/// A process of the API.
struct Api {
    router: Router,
    line: Line,
    /// Whether the call with the fault was made.
    had_fault: Arc<AtomicBool>,
}

/// A response: the status and the body.
type Answer = (u16, Value);

fn tenant() -> TenantId {
    "acme".parse().unwrap()
}

fn webhook() -> Value {
    json!({"name": "n", "url": "https://example.com/", "event_types": ["a.b"]})
}

impl World {
    fn new(in_table: bool) -> Self {
        let hand = Hand::default();
        let cloud = Cloud::new(Arc::new(hand.clone()));
        cloud.secrets.put("/test/fingerprint-key", "1", "a key of fingerprints");
        Self { cloud, hand, in_table }
    }

    fn turn(&self, by: SignedDuration) {
        self.hand.turn(by);
    }

    async fn api(&self) -> Api {
        self.api_over(Arc::new(|_, _| Faults::default())).await
    }

    /// Starts a process whose calls have these faults.
    async fn api_over(&self, faults: FaultScript) -> Api {
        let line = self.cloud.line(faults);
        let config = Config::from_lookup(|name| match name {
            "PUBLIC_URL" | "JWT_ISSUER" | "JWT_AUDIENCE" => Some("https://api.example".to_owned()),
            "SECRETS_PREFIX" => Some("/test/webhooks".to_owned()),
            "INBOUND_SECRETS_PREFIX" => Some("/test/inbound".to_owned()),
            "BUDGETS" => Some("webhooks=200".to_owned()),
            // Each test makes its requests at once.
            "TENANT_RATE_LIMIT" => Some("100000".to_owned()),
            name => variable(name),
        });
        let config = Config { secrets_table: self.in_table.then(secrets_table), ..config.unwrap() };
        let version = runtime::Version { number: "0.0.0", commit: "test" };
        let app = App::new(config, &line.aws().await, Arc::new(self.hand.clone()), version);
        Api { router: router(Arc::new(app)), line, had_fault: Arc::default() }
    }

    /// Starts a process whose call with that number, from 0 on, has the fault.
    async fn api_with(&self, call: usize, fault: Fault) -> Api {
        let had_fault = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&had_fault);
        let faults = move |_: &str, number: usize| {
            noted.fetch_or(number == call, Ordering::Relaxed);
            Faults { fault: (number == call).then_some(fault), ..Faults::default() }
        };
        Api { had_fault, ..self.api_over(Arc::new(faults)).await }
    }

    /// Starts a process whose call with that number takes that long.
    async fn api_late_at(&self, call: usize, delay: Duration) -> Api {
        let faults = move |_: &str, number: usize| Faults {
            delay: if number == call { delay } else { Duration::ZERO },
            fault: None,
        };
        self.api_over(Arc::new(faults)).await
    }

    async fn aws(&self) -> Aws {
        self.cloud.line(Arc::new(|_, _| Faults::default())).aws().await
    }

    async fn registry(&self) -> Registry {
        self.aws().await.registry("registry".to_owned())
    }

    /// Returns the webhook of a response, as it is now, and what reads its secrets.
    async fn webhook(&self, shown: &Value) -> (Webhook, Keyring) {
        let id = shown["id"].as_str().unwrap().parse().unwrap();
        let record = self.registry().await.webhook(&tenant(), id).await.unwrap().unwrap();
        let table = self.in_table.then(secrets_table);
        let secrets = self.aws().await.secrets_in(table, Arc::new(self.hand.clone()));
        (record.webhook, Keyring::new(secrets, "/test/fingerprint-key".to_owned()))
    }
}

impl Api {
    async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.send(method, path, &[], body.to_string().as_bytes()).await
    }

    async fn post(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("idempotency-key", key)], body.to_string().as_bytes()).await
    }

    /// Sends a request as API Gateway does, for an admin of `acme`.
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let event: Value = serde_json::from_str(include_str!("../fixtures/api-v2.json")).unwrap();
        self.send_as(event, method, path, headers, body).await
    }

    /// Sends a request without a body for an operator.
    async fn operate(&self, method: &str, path: &str) -> Answer {
        let mut event: Value = serde_json::from_str(include_str!("../fixtures/api-v2.json")).unwrap();
        let caller = &mut event["requestContext"]["authorizer"]["lambda"];
        caller["role_list"] = json!("[\"OPERATOR\"]");
        caller["tenant"] = Value::Null;
        self.send_as(event, method, path, &[], b"").await
    }

    async fn send_as(
        &self,
        mut event: Value,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let path = format!("/api/v1/integration{path}");
        event["requestContext"]["http"]["method"] = json!(method);
        event["requestContext"]["http"]["path"] = json!(path);
        event["rawPath"] = json!(path);
        event["rawQueryString"] = json!(query);
        event["body"] = json!(str::from_utf8(body).unwrap());
        for (name, value) in headers {
            event["headers"][*name] = json!(value);
        }
        let request: Request<_> = lambda_http::request::from_str(&event.to_string()).unwrap();
        let request = request.map(|body| Body::from(body.to_vec()));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        // A Lambda response has at most 6 MB, in which each quotation mark takes two bytes.
        assert!(Value::String(String::from_utf8_lossy(&body).into_owned()).to_string().len() < 6_000_000);
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// Makes a request, and returns its response, or nothing if the process dies meanwhile.
    async fn or_dies(&self, request: impl Future<Output = Answer>) -> Option<Answer> {
        tokio::select! {
            biased;
            () = self.line.dies.notified() => None,
            answer = request => Some(answer),
        }
    }
}

fn path(resource: &Value, rest: &str) -> String {
    format!("/webhooks/{}{rest}", resource["id"].as_str().unwrap())
}
