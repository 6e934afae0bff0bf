//! Entry point of the deliver function: wiring only.

use std::sync::Arc;

use deliver::{App, Config, handle};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use runtime::config::environment;
use runtime::metrics::{self, Metric};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    runtime::telemetry::init(runtime::version!());
    metrics::count(Metric::ColdStarts, 1);
    let config = Config::from_lookup(environment)?;
    let app = Arc::new(App::connect(config).await?);
    run(service_fn(move |event: LambdaEvent<_>| {
        let app = Arc::clone(&app);
        async move { Ok::<_, Error>(handle(&app, event.payload, event.context.deadline()).await) }
    }))
    .await
}
