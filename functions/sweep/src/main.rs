//! Entry point of the sweep function: wiring only.

use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use runtime::config::environment;
use serde_json::Value;
use sweep::{App, Config, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    runtime::telemetry::init(runtime::version!());
    let config = Config::from_lookup(environment)?;
    let app = Arc::new(App::connect(config).await);
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| {
        let app = Arc::clone(&app);
        async move { run(&app, event.context.deadline()).await.map_err(Error::from) }
    }))
    .await
}
