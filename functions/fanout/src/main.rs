//! Entry point of the fanout function, and of the render function: wiring only.

use std::sync::Arc;

use fanout::{App, Config, RenderConfig, Renderer, handle, render};
use lambda_runtime::{Error, LambdaEvent, Runtime, run, service_fn};
use runtime::after::followed_by;
use runtime::config::environment;
use tower::layer::layer_fn;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    runtime::telemetry::init(runtime::version!());
    // The template sets this variable for the render function.
    if environment("FANOUT_INPUT").as_deref() == Some("renderings") {
        let renderer = Arc::new(Renderer::connect(RenderConfig::from_lookup(environment)?).await);
        return run(service_fn(move |event: LambdaEvent<_>| {
            let renderer = Arc::clone(&renderer);
            async move { Ok::<_, Error>(render(&renderer, event.payload, event.context.deadline()).await) }
        }))
        .await;
    }
    let config = Config::from_lookup(environment)?;
    let app = Arc::new(App::connect(config).await);
    let handler = Arc::clone(&app);
    let handler = service_fn(move |event: LambdaEvent<_>| {
        let app = Arc::clone(&handler);
        async move { Ok::<_, Error>(handle(&app, event.payload, event.context.deadline()).await) }
    });
    let export = || async { app.export_spans().await };
    // Without the runtime's own span: it would add its ids, which no one searches for, to each line.
    Runtime::new(handler).layer(layer_fn(|invocation| followed_by(invocation, export))).run().await
}
