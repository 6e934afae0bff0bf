//! Entry point of the tally function: wiring only.

use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use runtime::config::environment;
use tally::{App, Config, handle};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    runtime::telemetry::init(runtime::version!());
    let config = Config::from_lookup(environment)?;
    let app = Arc::new(App::connect(config).await);
    run(service_fn(move |event: LambdaEvent<_>| {
        let app = Arc::clone(&app);
        async move { Ok::<_, Error>(handle(&app, event.payload).await) }
    }))
    .await
}
