//! Ten lines with a generated client: creates a webhook with a filter, publishes an event, and reads an error.

use std::env;
use std::error::Error;

use client::types::{NewEvent, NewWebhook, NewWebhookUrl, PayloadFormat};

#[expect(dead_code, unused_imports, reason = "generated")]
mod client {
    include!(concat!(env!("OUT_DIR"), "/client.rs"));
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert("authorization", format!("Bearer {}", env::var("TOKEN")?).parse()?);
    let http = reqwest::Client::builder().default_headers(headers).build()?;
    let api = client::Client::new_with_client(&env::var("API")?, http);

    let filter = serde_json::from_str(r#"{"value": {"total": [{"numeric": [">", 100]}]}}"#)?;
    let new = NewWebhook::builder()
        .url(NewWebhookUrl::try_from("https://example.com/webhooks")?)
        .event_types(vec!["order.created".to_owned()])
        .payload_format(PayloadFormat::Standard)
        .filter(Some(filter));
    let webhook = api.webhooks_create().body(new).send().await?.into_inner();
    println!("{} {}", webhook.id, webhook.payload_format);

    let data = serde_json::from_str(r#"{"total": 250}"#)?;
    let event = NewEvent::builder().event_type("order.created".to_owned()).data::<serde_json::Map<_, _>>(data);
    let published = api.events_publish().body(NewEvent::try_from(event)?).send().await?;
    println!("{}", published.event_type);

    let wrong = NewWebhook::builder().url(NewWebhookUrl::try_from("nowhere")?);
    match api.webhooks_create().body(wrong).send().await {
        Err(client::Error::ErrorResponse(problem)) => {
            let problem = problem.into_inner();
            let pointers = problem.errors.unwrap_or_default().into_iter().map(|fault| fault.pointer);
            println!("{} {} {}", problem.status, problem.type_, pointers.collect::<String>());
        }
        other => return Err(format!("not a problem: {other:?}").into()),
    }
    Ok(())
}
