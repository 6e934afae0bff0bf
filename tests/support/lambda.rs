//! Runs a function's real binary against a Lambda runtime API on loopback. A test can replay an event, and kill the
//! process at a point that cannot be hit in the deployed stack.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as Segments, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};

use crate::Stack;
use crate::environment::variable;

/// The suffixes of variables that name resources of a role's policy.
const RESOURCES: [&str; 4] = ["_TABLE", "_QUEUE_URL", "_ARN", "_PREFIX"];

/// The default timeout of an invocation.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A running function.
#[derive(Debug)]
pub struct Function {
    child: Child,
    events: mpsc::Sender<Value>,
    responses: mpsc::Receiver<Result<Value, Value>>,
    runtime: Arc<Runtime>,
    /// The time from the start of the process to its first request for an event.
    pub start_up: Duration,
}

#[derive(Debug)]
struct Runtime {
    events: Mutex<mpsc::Receiver<Value>>,
    responses: mpsc::Sender<Result<Value, Value>>,
    asked: mpsc::Sender<()>,
    /// The timeout of an invocation, in milliseconds.
    allowed: AtomicU64,
    trace: std::sync::Mutex<String>,
}

/// Returns the environment of a function: that of the template, the credentials of its role, and the test's own.
fn full_environment(stack: &Stack, logical_id: &str, environment: &[(&str, &str)]) -> HashMap<String, String> {
    let mut all = stack.function_environment();
    if !environment.iter().any(|(name, _)| RESOURCES.iter().any(|resource| name.ends_with(resource))) {
        all.extend(role(logical_id));
    }
    all.extend(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    all
}

impl Function {
    /// Starts the binary of the function with that logical id, such as `DeliverFunction`, with the credentials of its
    /// role. If the test passes its own tables, queues or secrets, which no role allows, it runs with the credentials
    /// of the account.
    pub async fn start(stack: &Stack, logical_id: &str, environment: &[(&str, &str)]) -> Self {
        Self::spawn(&binary(logical_id), full_environment(stack, logical_id, environment)).await
    }

    /// Starts the binary like [`start`](Self::start), and writes its log into a new file.
    pub async fn start_logging(stack: &Stack, logical_id: &str, environment: &[(&str, &str)], log: &Path) -> Self {
        let log = Stdio::from(std::fs::File::create_new(log).unwrap());
        Self::spawn_logging(&binary(logical_id), full_environment(stack, logical_id, environment), log).await
    }

    /// Starts a binary with that environment in addition to the one of this process.
    pub async fn spawn(binary: &Path, environment: HashMap<String, String>) -> Self {
        Self::spawn_logging(binary, environment, Stdio::null()).await
    }

    async fn spawn_logging(binary: &Path, environment: HashMap<String, String>, log: Stdio) -> Self {
        let (events, pending) = mpsc::channel(16);
        let (done, responses) = mpsc::channel(16);
        let (asked, mut first) = mpsc::channel(64);
        let runtime = Arc::new(Runtime {
            events: Mutex::new(pending),
            responses: done,
            asked,
            allowed: AtomicU64::new(u64::try_from(TIMEOUT.as_millis()).unwrap()),
            trace: std::sync::Mutex::new("Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700".to_owned()),
        });
        let app = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{outcome}", post(outcome))
            .with_state(Arc::clone(&runtime));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let started = Instant::now();
        let child = Command::new(binary)
            .envs(environment)
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .stdout(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        tokio::time::timeout(Duration::from_secs(10), first.recv()).await.expect("the function asks for work");
        Self { child, events, responses, runtime, start_up: started.elapsed() }
    }

    /// Sets the timeout of later invocations.
    pub fn allow(&self, time: Duration) {
        self.runtime.allowed.store(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// Sets the trace header of later events.
    pub fn trace(&self, header: String) {
        *self.runtime.trace.lock().unwrap() = header;
    }

    /// Passes an event to the function without waiting for the response.
    pub async fn send(&self, event: Value) {
        self.events.send(event).await.unwrap();
    }

    /// Passes an event to the function and returns the response.
    pub async fn invoke(&mut self, event: Value) -> Value {
        self.try_invoke(event).await.unwrap_or_else(|error| panic!("the function failed: {error}"))
    }

    /// Passes an event to the function and returns the response.
    ///
    /// # Errors
    ///
    /// The error that the function reported to the runtime API.
    pub async fn try_invoke(&mut self, event: Value) -> Result<Value, Value> {
        self.send(event).await;
        tokio::time::timeout(TIMEOUT, self.responses.recv()).await.expect("a response in time").unwrap()
    }

    /// Returns the process id.
    ///
    /// # Panics
    ///
    /// If the process has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the function runs")
    }

    /// Returns the next response.
    pub async fn response(&mut self) -> Value {
        tokio::time::timeout(TIMEOUT, self.responses.recv()).await.expect("a response in time").unwrap().unwrap()
    }

    /// Kills the process at once (SIGKILL).
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// Returns the credentials of a function's role, as variables of its environment. `OnPurposeFanout` is fan-out's role
/// for a test that tries what the role forbids.
///
/// # Panics
///
/// If the template has no such role.
#[must_use]
pub fn role(logical_id: &str) -> HashMap<String, String> {
    let file = std::fs::read(variable("DYNAHOOK_CREDENTIALS")).unwrap();
    let mut all: HashMap<String, HashMap<String, String>> = serde_json::from_slice(&file).unwrap();
    all.remove(logical_id).unwrap_or_else(|| panic!("the template has no role for {logical_id}"))
}

/// Returns the path of a function's binary.
#[must_use]
pub fn binary(logical_id: &str) -> PathBuf {
    PathBuf::from(variable("DYNAHOOK_BUILD")).join(logical_id).join("bootstrap")
}

async fn next(State(runtime): State<Arc<Runtime>>) -> Response {
    let _ = runtime.asked.try_send(());
    let Some(event) = runtime.events.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let deadline =
        jiff::Timestamp::now().as_millisecond() + i64::try_from(runtime.allowed.load(Ordering::Relaxed)).unwrap();
    let headers = [
        ("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned()),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:test".to_owned()),
        ("lambda-runtime-trace-id", runtime.trace.lock().unwrap().clone()),
    ];
    (headers, serde_json::to_vec(&event).unwrap()).into_response()
}

async fn outcome(
    State(runtime): State<Arc<Runtime>>,
    Segments((_, outcome)): Segments<(String, String)>,
    body: Bytes,
) -> StatusCode {
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let _ = runtime.responses.send(if outcome == "response" { Ok(body) } else { Err(body) }).await;
    StatusCode::ACCEPTED
}
