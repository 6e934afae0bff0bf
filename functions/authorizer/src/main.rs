//! Entry point of the authorizer function: wiring only.

use std::sync::Arc;

use authorizer::{App, Config, handle};
use lambda_runtime::layers::TracingLayer;
use lambda_runtime::{Error, LambdaEvent, Runtime, service_fn};
use runtime::after::followed_by;
use runtime::config::environment;
use tower::layer::layer_fn;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    runtime::telemetry::init(runtime::version!());
    let app = Arc::new(App::connect(Config::from_lookup(environment)?).await);
    let handler = Arc::clone(&app);
    let handler = service_fn(move |event: LambdaEvent<_>| {
        let app = Arc::clone(&handler);
        // Boxed, because the type of the nested futures is too deep for the compiler.
        async move { Box::pin(handle(&app, event.payload)).await.map_err(Error::from) }
    });
    let after_answer = || async { app.after_answer().await };
    let runtime = Runtime::new(handler).layer(TracingLayer::new());
    runtime.layer(layer_fn(|invocation| followed_by(invocation, after_answer))).run().await
}
