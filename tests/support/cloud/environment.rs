//! The environment of the functions that run in this cloud.

/// Returns the URL of a queue.
#[must_use]
pub fn queue_url(name: &str) -> String {
    format!("https://sqs.us-east-1.amazonaws.com/000000000000/{name}")
}

/// Returns an environment variable, of any function. What a function need not have is not set.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    Some(match name {
        "REGISTRY_TABLE" => "registry".to_owned(),
        "EVENTS_TABLE" => "events".to_owned(),
        "DELIVERIES_TABLE" => "deliveries".to_owned(),
        "FINGERPRINT_KEY_ARN" => "/test/fingerprint-key".to_owned(),
        "DELIVERIES_QUEUE_URL" => queue_url("deliveries"),
        "ORDERED_QUEUE_URL" => queue_url("ordered-deliveries"),
        "RENDERINGS_QUEUE_URL" => queue_url("renderings"),
        "RETRIES_QUEUE_URL" => queue_url("retries"),
        "SLOW_QUEUE_URL" => queue_url("slow"),
        "EXHAUSTED_QUEUE_URL" => queue_url("exhausted"),
        "DEAD_LETTER_QUEUE_URL" => queue_url("dead-letters"),
        "STREAM_FAILURES_QUEUE_URL" => queue_url("stream-failures"),
        _ => return None,
    })
}
