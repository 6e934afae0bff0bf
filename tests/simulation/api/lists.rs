//! Lists whose entries do not fit into one response, and what else a response says.

use std::collections::BTreeSet;

use domain::time::Clock as _;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Api, World, path, tenant, webhook};

/// Returns the entries of all pages of a list, and how many pages there are.
async fn pages(api: &Api, list: &str) -> (Vec<Value>, usize) {
    let (mut entries, mut count, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let (status, page) = api.call("GET", &format!("{list}{cursor}"), &json!({})).await;
        assert_eq!(status, 200, "{page}");
        entries.extend(page["data"].as_array().unwrap().clone());
        count += 1;
        let Some(next) = page["next_cursor"].as_str() else { return (entries, count) };
        cursor = format!("&cursor={next}");
    }
}

fn different(entries: &[Value], name: &str) -> usize {
    entries.iter().map(|entry| entry[name].as_str().unwrap()).collect::<BTreeSet<_>>().len()
}

/// [`Api::send`] checks the size of each response.
#[tokio::test(start_paused = true)]
async fn a_page_of_event_types_fits_into_a_response() {
    let world = World::new(false);
    let api = world.api().await;
    let described = json!({"schema": {"title": "\"".repeat(16_000)}, "example": {"a": "\"".repeat(16_000)}});
    for number in 0..100 {
        assert_eq!(api.call("PUT", &format!("/event-types/a.b{number}"), &described).await.0, 201);
    }
    let (types, count) = pages(&api, "/event-types?limit=100").await;
    assert_eq!((types.len(), different(&types, "event_type")), (100, 100));
    assert!(count > 2, "{count} pages");
}

#[tokio::test(start_paused = true)]
async fn a_page_of_webhooks_fits_into_a_response() {
    let world = World::new(false);
    let api = world.api().await;
    let types: Vec<_> = (0..100).map(|number| format!("a.{}{number}", "b".repeat(110))).collect();
    let mut large = webhook();
    large["enabled"] = json!(false);
    large["event_types"] = json!(types);
    large["payload_format"] = json!("template");
    large["template"] = json!(json!("\"".repeat(4_000)).to_string());
    large["properties"] = json!({"a": "\"".repeat(2_000)});
    for _ in 0..100 {
        let (status, answer) = api.call("POST", "/webhooks", &large).await;
        assert_eq!(status, 201, "{answer}");
    }
    let (webhooks, count) = pages(&api, "/webhooks?limit=100").await;
    assert_eq!((webhooks.len(), different(&webhooks, "id")), (100, 100));
    assert!(count > 1, "{count} pages");
}

#[tokio::test(start_paused = true)]
async fn api_keys_are_listed_page_by_page() {
    let world = World::new(false);
    let api = world.api().await;
    for number in 0..5 {
        assert_eq!(api.call("POST", "/api-keys", &json!({"name": format!("{number}")})).await.0, 201);
        world.turn(SignedDuration::from_secs(1));
    }
    let (all, count) = pages(&api, "/api-keys?").await;
    assert_eq!((all.len(), count), (5, 1));
    let id = all[1]["id"].as_str().unwrap();
    assert_eq!(api.call("DELETE", &format!("/api-keys/{id}"), &json!({})).await.0, 200);
    let names = |keys: &[Value]| keys.iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect::<String>();
    let (valid, count) = pages(&api, "/api-keys?limit=2").await;
    assert_eq!((names(&valid).as_str(), count), ("0234", 2));
    let (every, count) = pages(&api, "/api-keys?limit=2&include_revoked=true").await;
    assert_eq!((names(&every).as_str(), count), ("01234", 3));
    // Each has as many scopes as fit into a request.
    let scopes = vec!["webhooks:read"; 12_000];
    for _ in 0..40 {
        assert_eq!(api.call("POST", "/api-keys", &json!({"name": "n", "scopes": scopes})).await.0, 201);
    }
    assert_eq!(pages(&api, "/api-keys?").await.0.len(), 44);
}

/// A published event has no names of its states until it is sent.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_shown_names_the_states_as_the_body_that_is_sent() {
    let world = World::new(false);
    let api = world.api().await;
    let (_, created) = api.call("POST", "/webhooks", &webhook()).await;
    let event = json!({"event_type": "a.b", "data": {"n": 2}, "old_data": {"n": 1}, "entity_id": "1"});
    let (status, published) = api.call("POST", "/events", &event).await;
    assert_eq!(status, 202, "{published}");
    let asked = json!({"event_id": published["id"]});
    let (status, explained) = api.call("POST", &path(&created, "/explain"), &asked).await;
    assert_eq!(status, 200, "{explained}");
    let body: Value = serde_json::from_str(explained["payload"].as_str().unwrap()).unwrap();
    let change = json!({"webhook": {"properties": {"more": 1}}});
    let (status, run) = api.call("POST", &path(&created, "/dry-run"), &change).await;
    assert_eq!((status, run["changed_payloads"].as_u64()), (200, Some(1)), "{run}");
    assert_eq!(run["examples"][0]["before"], explained["payload"], "both show the same body");

    let tenant = tenant();
    let id = published["id"].as_str().unwrap().parse().unwrap();
    let events = world.aws().await.events("events".to_owned());
    let event = events.event(&tenant, id, world.hand.now()).await.unwrap().unwrap();
    let key = world.registry().await.state_key(&tenant).await.unwrap();
    let sent = event.with_named_states(key.as_ref());
    assert_eq!(body["state"].as_str(), sent.new.map(|state| state.id).as_deref());
    assert_eq!(body["previous"].as_str(), sent.old.map(|state| state.id).as_deref());
    assert!(body["state"].as_str().is_some_and(|name| !name.is_empty()));
}

/// Both paths read a body alike.
#[tokio::test(start_paused = true)]
async fn an_event_has_one_meaning_whatever_its_path() {
    let world = World::new(false);
    let api = world.api().await;
    for (path, body, pointer) in [
        ("/webhooks/contact.changed/7", r#"{"a": 1, "a": 2}"#, "#/a"),
        ("/events", r#"{"event_type": "a.b", "data": {"a": 1, "a": 2}}"#, "#/data/a"),
    ] {
        let (status, problem) = api.send("POST", path, &[], body.as_bytes()).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!(pointer)), "{problem}");
        let marked = format!("\u{feff}{}", body.replace(r#", "a": 2"#, ""));
        let (status, published) = api.send("POST", path, &[], marked.as_bytes()).await;
        assert_eq!(status, 202, "{published}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_says_what_it_limits() {
    let world = World::new(false);
    let api = world.api().await;
    let notice = json!({"channel": {"type": "slack", "url": "https://example.com/"}});
    let mut answers = Vec::new();
    for _ in 0..101 {
        answers.push(api.call("POST", "/notices", &notice).await);
    }
    let detail = |number: usize| (answers[number].0, answers[number].1["detail"].as_str().unwrap_or_default());
    assert_eq!(detail(19).0, 201);
    assert_eq!(detail(20), (409, "the limit of 20 notices is reached; delete one first"));
    let (status, text) = detail(100);
    assert!(
        status == 429 && text.starts_with("the limit of 100 new notices a day is reached; try again in "),
        "{text}"
    );
    let (_, problem) = api.call("GET", "/webhooks?limit=abc", &json!({})).await;
    assert_eq!(problem["errors"], json!([{"pointer": "?limit", "detail": "must be 1 to 100"}]));
}
