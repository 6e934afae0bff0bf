//! Entry point of the authorizer function: wiring only.

use std::sync::Arc;

use authorizer::{App, Config, handle};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use runtime::config::environment;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    runtime::telemetry::init();
    let app = Arc::new(App::connect(Config::from_lookup(environment)?).await);
    run(service_fn(move |event: LambdaEvent<_>| {
        let app = Arc::clone(&app);
        // Boxed: the type of all that happens below is too deep for the compiler.
        async move { Box::pin(handle(&app, event.payload)).await.map_err(Error::from) }
    }))
    .await
}
