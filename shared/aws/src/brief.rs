//! Calls that may fail: what waits for them must not wait for long.

use std::time::Duration;

use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;

/// How long such a call may take. A request or a shard waits for it.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Returns the configuration of a call that is made once, and is given up soon.
pub(crate) fn brief() -> Builder {
    let timeouts = TimeoutConfig::builder().operation_timeout(TIMEOUT).build();
    Builder::new().retry_config(RetryConfig::disabled()).timeout_config(timeouts)
}
