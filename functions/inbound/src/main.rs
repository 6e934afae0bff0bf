//! Entry point of the inbound function: wiring only.

use std::sync::Arc;

use inbound::{App, Config, handle};
use lambda_http::{Error, Request, run, service_fn};
use runtime::config::environment;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    runtime::telemetry::init(runtime::version!());
    let app = Arc::new(App::connect(Config::from_lookup(environment)?).await);
    run(service_fn(move |request: Request| {
        let app = Arc::clone(&app);
        // Boxed, because the type of the nested futures is too deep for the compiler.
        async move { Ok::<_, Error>(Box::pin(handle(&app, request)).await) }
    }))
    .await
}
