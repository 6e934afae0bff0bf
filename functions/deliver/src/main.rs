//! Entry point of the deliver function: wiring only.

use std::sync::Arc;

use deliver::{App, Config, handle};
use lambda_runtime::{Error, LambdaEvent, Runtime, service_fn};
use runtime::after::followed_by;
use runtime::config::environment;
use runtime::metrics::{self, Metric};
use tower::layer::layer_fn;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    runtime::telemetry::init(runtime::version!());
    metrics::count(Metric::ColdStarts, 1);
    let config = Config::from_lookup(environment)?;
    let app = Arc::new(App::connect(config).await?);
    let handler = Arc::clone(&app);
    let handler = service_fn(move |event: LambdaEvent<_>| {
        let app = Arc::clone(&handler);
        async move { Ok::<_, Error>(handle(&app, event.payload, event.context.deadline()).await) }
    });
    let export = || async { app.export_spans().await };
    // Without the runtime's own span: it would add its ids, which no one searches for, to each line.
    Runtime::new(handler).layer(layer_fn(|invocation| followed_by(invocation, export))).run().await
}
