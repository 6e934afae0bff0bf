//! Entry point of the api function: wiring only.

use std::sync::Arc;

use api::{App, Config, router};
use lambda_http::lambda_runtime::Runtime;
use lambda_http::lambda_runtime::layers::TracingLayer;
use lambda_http::{Adapter, Error};
use runtime::after::followed_by;
use runtime::config::environment;
use tower::layer::layer_fn;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let version = runtime::version!();
    runtime::telemetry::init(version);
    let app = Arc::new(App::connect(Config::from_lookup(environment)?, version).await);
    let export = || async { app.export_spans().await };
    let runtime = Runtime::new(Adapter::from(router(Arc::clone(&app)))).layer(TracingLayer::new());
    runtime.layer(layer_fn(|invocation| followed_by(invocation, export))).run().await
}
