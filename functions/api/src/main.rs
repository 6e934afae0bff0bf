//! Entry point of the api function: wiring only.

use std::sync::Arc;

use api::{App, Config, router};
use lambda_http::{Error, run};
use runtime::config::environment;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let version = runtime::version!();
    runtime::telemetry::init(version);
    let app = App::connect(Config::from_lookup(environment)?, version).await;
    run(router(Arc::new(app))).await
}
