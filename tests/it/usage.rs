//! Budgets: what is over them is refused at the door or waits, and the tenant sees and hears of it.

mod release;

use aws::Usage;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::access::rate::RateKey;
use domain::budget::{Budget, Budgets, Counts, Overrides};
use domain::delivery::notices::threshold_event;
use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Claims, Received, Receiver, Stack, Tenant, ask, eventually};

/// Sets a tenant's budgets, before it does anything: processes remember them for a minute.
async fn set(stack: &Stack, tenant: &Tenant, budgets: Value) -> (StatusCode, Value) {
    let operator = Claims::new("", &["OPERATOR"]).with("tenant_id", Value::Null).rs256();
    let path = format!("/tenants/{}/budgets", tenant.name);
    let (status, answer) = stack.call(Method::PUT, &path, Some(&operator), Some(&budgets.to_string())).await;
    if status == StatusCode::OK {
        let (_, read) = stack.call(Method::GET, &path, Some(&operator), None).await;
        assert_eq!(read, answer);
    }
    (status, answer)
}

async fn budget(tenant: &Tenant, name: &str) -> Value {
    let (status, usage) = tenant.call(Method::GET, "/usage", None).await;
    assert_eq!(status, StatusCode::OK, "{usage}");
    let found = usage["budgets"].as_array().unwrap().iter().find(|budget| budget["budget"] == name);
    found.unwrap_or_else(|| panic!("{usage}")).clone()
}

fn event(number: usize) -> Value {
    json!({"event_type": "invoice.paid", "entity_id": format!("in_{number}"), "data": {"n": number}})
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_publish_is_taken_as_a_whole_or_refused_with_the_reason() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    assert_eq!(set(&stack, &tenant, json!({"events_per_day": 5})).await.0, StatusCode::OK);
    let three: Vec<_> = (0..3).map(event).collect();
    let (status, answer) = tenant.call(Method::POST, "/events", Some(&json!(three))).await;
    assert_eq!(status, StatusCode::MULTI_STATUS, "{answer}");
    let answer = tenant.send(Method::POST, "/events", &[], &json!(three)).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: i64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&wait), "{wait}");
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["type"], "urn:dynahook:problem:budget-exceeded");
    let told = (&problem["budget"], &problem["used"], &problem["needed"], &problem["limit"]);
    assert_eq!(told, (&json!("events_per_day"), &json!(3), &json!(3), &json!(5)));
    let resets_at: Timestamp = problem["resets_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(resets_at.as_second() % 86_400, 0);
    // The news that the budget is reached is an event too.
    let (_, kept) = tenant.call(Method::GET, "/events?event_type=invoice.paid", None).await;
    assert_eq!(kept["data"].as_array().unwrap().len(), 3, "nothing of it is stored");
    for number in 3..5 {
        let (status, answer) = tenant.call(Method::POST, "/events", Some(&event(number))).await;
        assert_eq!(status, StatusCode::ACCEPTED, "there is room for two: {answer}");
    }
    let (status, _) = tenant.call(Method::POST, "/webhooks/invoice.paid/7", Some(&json!({}))).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    let shown = budget(&tenant, "events_per_day").await;
    assert_eq!((&shown["used"], &shown["limit"]), (&json!(5), &json!(5)));
    let other = stack.tenant();
    assert_eq!(other.call(Method::POST, "/events", Some(&event(0))).await.0, StatusCode::ACCEPTED, "others go on");
}

/// Returns the thresholds that requests announce, in order: of each the budget, the percentage and what is used.
fn announced(requests: &[Received]) -> Vec<(String, u64, u64)> {
    let read = requests.iter().map(|request| {
        let body = request.json();
        assert_eq!(body["type"], "usage.threshold_reached", "{body}");
        let value = &body["data"]["value"];
        let number = |name: &str| value[name].as_u64().unwrap_or_else(|| panic!("{body}"));
        (value["budget"].as_str().unwrap().to_owned(), number("percent"), number("used"))
    });
    let mut read: Vec<_> = read.collect();
    read.sort_unstable();
    read
}

/// Makes a webhook that hears of thresholds.
async fn ear(tenant: &Tenant) -> (Receiver, Value) {
    let receiver = Receiver::accepting().await;
    let settings = json!({"event_types": ["usage.threshold_reached"], "payload_format": "standard"});
    let webhook = tenant.webhook(&receiver.url, settings).await;
    (receiver, webhook)
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn what_is_published_again_spends_nothing() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    set(&stack, &tenant, json!({"events_per_day": 3})).await;
    let named = |id: &str| json!({"event_type": "invoice.paid", "data": {}, "id": id});
    let publish = async |ids: &[&str]| {
        let body = json!(ids.iter().map(|id| named(id)).collect::<Vec<_>>());
        tenant.call(Method::POST, "/events", Some(&body)).await
    };
    let duplicates = |answer: &Value| {
        let results = answer["results"].as_array().unwrap_or_else(|| panic!("{answer}"));
        results.iter().map(|result| result["duplicate"] == true).collect::<Vec<_>>()
    };
    let (status, first) = tenant.call(Method::POST, "/events", Some(&named("a"))).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{first}");
    let (_, answer) = publish(&["a", "a", "b", "b"]).await;
    assert_eq!(duplicates(&answer), [true, true, false, true], "there is room for one new event: {answer}");
    assert_eq!(budget(&tenant, "events_per_day").await["used"], 2);
    let (status, problem) = publish(&["b", "c", "d"]).await;
    assert_eq!((status, &problem["needed"]), (StatusCode::TOO_MANY_REQUESTS, &json!(2)), "{problem}");
    assert_eq!(duplicates(&publish(&["c"]).await.1), [false], "nothing of the refused request is stored");
    // All is used now. What was published is answered as before, and what is new is refused.
    assert_eq!(duplicates(&publish(&["a", "b", "c"]).await.1), [true; 3]);
    let (status, again) = tenant.call(Method::POST, "/events", Some(&named("a"))).await;
    assert_eq!((status, &again["id"], &again["duplicate"]), (StatusCode::ACCEPTED, &first["id"], &json!(true)));
    let (status, _) = tenant.call(Method::POST, "/events", Some(&named("d"))).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(budget(&tenant, "events_per_day").await["used"], 3);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn what_is_stored_has_a_budget() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    set(&stack, &tenant, json!({"stored_bytes": 2_000})).await;
    let (told, _) = ear(&tenant).await;
    let event = |bytes: usize| json!({"event_type": "note.taken", "data": {"text": "x".repeat(bytes)}});
    assert_eq!(tenant.call(Method::POST, "/events", Some(&event(1_000))).await.0, StatusCode::ACCEPTED);
    let (status, problem) = tenant.call(Method::POST, "/events", Some(&event(1_000))).await;
    assert_eq!((status, &problem["budget"]), (StatusCode::TOO_MANY_REQUESTS, &json!("stored_bytes")), "{problem}");
    let used = budget(&tenant, "stored_bytes").await;
    assert!((1_000..2_000).contains(&used["used"].as_u64().unwrap()) && used["resets_at"].is_null(), "{used}");
    // Less than 80 % is used, and the tenant hears that an event did not fit.
    let expected = ("stored_bytes".to_owned(), 100, used["used"].as_u64().unwrap());
    assert_eq!(announced(&told.wait_for(1).await), [expected]);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn webhooks_have_thresholds() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    set(&stack, &tenant, json!({"webhooks": 5})).await;
    let (told, _) = ear(&tenant).await;
    for _ in 0..4 {
        tenant.webhook("https://example.com/", json!({})).await;
    }
    let body = json!({"name": "sixth", "url": "https://example.com/"});
    assert_eq!(tenant.call(Method::POST, "/webhooks", Some(&body)).await.0, StatusCode::CONFLICT);
    let news = told.wait_for(2).await;
    let webhooks = |percent, used| ("webhooks".to_owned(), percent, used);
    assert_eq!(announced(&news), [webhooks(80, 4), webhooks(100, 5)]);
    assert!(news.iter().all(|request| request.json()["data"]["value"]["resets_at"].is_null()));
}

/// Every process derives the same event, and the first one publishes and logs it: one alarm for each threshold and day.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_threshold_is_announced_by_one_process() {
    let stack = Stack::connect().await;
    let events = aws::Aws::connect().await.events(stack.output("EventsTable").to_owned());
    let (tenant, now) = (stack.tenant().name.parse().unwrap(), tests::now());
    let seen = |used| threshold_event(&tenant, Budget::JobsPerDay, 80, (used, 10), now).unwrap();
    assert!(events.publish_first(&seen(8), now).await.unwrap());
    assert!(events.publish_first(&seen(8), now).await.unwrap(), "the same call again, because its answer was lost");
    assert!(!events.publish_first(&seen(9), now).await.unwrap());
    let kept = events.event(&tenant, seen(9).id, now).await.unwrap().unwrap();
    assert_eq!(kept, seen(8));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_inbound_webhook_is_refused_what_is_over_the_budget_or_its_rate() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    set(&stack, &tenant, json!({"events_per_day": 2})).await;
    let body = json!({"name": "in", "direction": "inbound", "signature_scheme": "hmac-sha256", "secret": "a secret that both sides know"});
    let (_, webhook) = tenant.call(Method::POST, "/webhooks", Some(&body)).await;
    let path = format!("/api/v1/inbound/{}/{}", tenant.name, webhook["id"].as_str().unwrap());
    let secret = domain::signing::secret::WebhookSecret::parse("a secret that both sides know").unwrap();
    let call = async |number: usize| {
        let body = json!({"n": number}).to_string();
        let scheme = domain::signing::signature::SignatureScheme::HmacSha256;
        let headers = tests::signed(scheme, &[&secret], "m", tests::now(), body.as_bytes());
        let request = stack.to(Method::POST, &path).body(body);
        ask(headers.iter().fold(request, |request, (name, value)| request.header(name, value))).await
    };
    let taken = async |number: usize| {
        let answer = call(number).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        answer.json::<Value>().await.unwrap()
    };
    let first = taken(1).await;
    assert_eq!(taken(1).await, first);
    assert_eq!(budget(&tenant, "events_per_day").await["used"], 1, "a call that is sent again spends nothing");
    taken(2).await;
    let refused = call(3).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.json::<Value>().await.unwrap()["type"], "urn:dynahook:problem:budget-exceeded");
    assert_eq!(taken(1).await, first, "a call that was stored is answered as before");
    assert_eq!(budget(&tenant, "events_per_day").await["used"], 2);

    // 50 a second, in windows of a second: other processes have counted as many in each second of the next half minute.
    let key = RateKey::new("inbound", &[&tenant.name, webhook["id"].as_str().unwrap()]);
    let now = tests::now().as_second();
    let count = async |second: i64| {
        let put = stack.dynamodb.put_item().table_name(stack.output("RegistryTable"));
        let number = |number: i64| AttributeValue::N(number.to_string());
        let put = put.item("pk", AttributeValue::S(key.as_str().to_owned()));
        let put = put.item("sk", AttributeValue::S(second.to_string())).item("taken", number(50));
        put.item("expires_at", number(second + 60)).send().await.unwrap();
    };
    futures::future::join_all((now..now + 30).map(count)).await;
    let refused = call(1).await;
    assert_eq!(
        (refused.status(), refused.headers().contains_key("retry-after")),
        (StatusCode::TOO_MANY_REQUESTS, true)
    );
    assert_eq!(refused.json::<Value>().await.unwrap()["type"], "urn:dynahook:problem:too-many-requests");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn deliveries_over_the_budget_wait_in_sight_and_the_tenant_is_told() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    set(&stack, &tenant, json!({"deliveries_per_day": 4})).await;
    let receiver = Receiver::accepting().await;
    let (told, ear) = ear(&tenant).await;
    let webhook = tenant.webhook(&receiver.url, json!({"event_types": ["invoice.paid"], "ordering": "entity"})).await;
    for _ in 0..6 {
        let (status, _) = tenant.call(Method::POST, "/events", Some(&event(7))).await;
        assert_eq!(status, StatusCode::ACCEPTED);
    }
    let deliveries = eventually("six deliveries", async || {
        let deliveries = tenant.deliveries(&webhook).await;
        (deliveries.len() == 6).then_some(deliveries)
    })
    .await;
    let midnight = SignedDuration::from_secs(86_400 - tests::now().as_second() % 86_400);
    let tomorrow = Timestamp::from_second((tests::now() + midnight).as_second()).unwrap();
    let waits = |delivery: &&Value| !delivery["deferred_until"].is_null();
    let waiting: Vec<_> = deliveries.iter().filter(waits).collect();
    // How many of the four the news of the budget took depends on when they came.
    assert!((2..=4).contains(&waiting.len()), "{deliveries:#?}");
    for delivery in &waiting {
        assert!(["pending", "held"].contains(&delivery["state"].as_str().unwrap()), "{delivery}");
        let until: Timestamp = delivery["deferred_until"].as_str().unwrap().parse().unwrap();
        assert!(until >= tomorrow, "{delivery}");
        assert_eq!(delivery["attempts"], json!([]));
    }
    // All of one entity: those that wait are the last ones, and only the first of them holds the entity.
    let oldest_first: Vec<_> = deliveries.iter().rev().map(|delivery| delivery["state"].as_str().unwrap()).collect();
    let done = oldest_first.iter().filter(|state| **state == "delivered").count();
    assert_eq!(done + waiting.len(), 6, "{oldest_first:?}");
    assert!(oldest_first[..done].iter().all(|state| *state == "delivered"), "{oldest_first:?}");
    assert_eq!(receiver.received().len(), done);

    let news = announced(&told.wait_for(2).await);
    let percents: Vec<_> = news.iter().map(|(budget, percent, _)| (budget.as_str(), *percent)).collect();
    assert_eq!(percents, [("deliveries_per_day", 80), ("deliveries_per_day", 100)]);
    assert_eq!(tenant.deliveries(&ear).await.len(), 2);
    let used = budget(&tenant, "deliveries_per_day").await["used"].as_u64().unwrap();
    assert!(used >= 8, "six, and the news: {used}");

    // Nothing is lost: the tenant may send each now. The next one is scheduled then, and keeps the time of its own turn.
    let mut sent = Vec::new();
    for count in done + 1..=6 {
        let head = eventually("the next delivery is scheduled", async || {
            let deliveries = tenant.deliveries(&webhook).await;
            let is_next = |delivery: &&Value| delivery["state"] == "pending" && !sent.contains(&delivery["id"]);
            deliveries.iter().find(is_next).cloned()
        });
        let head = head.await;
        assert!(!head["deferred_until"].is_null(), "{head}");
        sent.push(head["id"].clone());
        let [webhook, head] = [&webhook["id"], &head["id"]].map(|id| id.as_str().unwrap());
        let path = format!("/webhooks/{webhook}/deliveries/{head}/redeliver");
        assert_eq!(tenant.call(Method::POST, &path, None).await.0, StatusCode::ACCEPTED);
        receiver.wait_for(count).await;
    }
    let order: Vec<String> =
        receiver.received().iter().map(|request| request.header("webhook-sequence").to_owned()).collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn without_any_budget_a_delivery_is_a_dead_letter_with_the_reason() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    set(&stack, &tenant, json!({"deliveries_per_day": 0})).await;
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({"event_types": ["invoice.paid"]})).await;
    tenant.call(Method::POST, "/events", Some(&event(1))).await;
    let delivery = tenant.delivery(&webhook, "exhausted").await;
    assert_eq!(delivery["attempts"][0]["verdict"], "over_budget");
    let path = format!(
        "/webhooks/{}/deliveries/{}/redeliver",
        webhook["id"].as_str().unwrap(),
        delivery["id"].as_str().unwrap()
    );
    assert_eq!(tenant.call(Method::POST, &path, None).await.0, StatusCode::ACCEPTED);
    receiver.wait_for(1).await;
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn webhooks_secrets_and_jobs_have_budgets() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    set(&stack, &tenant, json!({"webhooks": 1, "secrets_per_day": 3, "jobs_per_day": 1})).await;
    let webhook = tenant.webhook("https://example.com/", json!({})).await;
    let body = json!({"name": "second", "url": "https://example.com/"});
    let (status, problem) = tenant.call(Method::POST, "/webhooks", Some(&body)).await;
    assert_eq!((status, &problem["type"]), (StatusCode::CONFLICT, &json!("urn:dynahook:problem:limit-reached")));
    let rotate = format!("/webhooks/{}/secret/rotate", webhook["id"].as_str().unwrap());
    assert_eq!(tenant.call(Method::POST, &rotate, None).await.0, StatusCode::OK);
    let (status, problem) = tenant.call(Method::POST, &rotate, None).await;
    assert_eq!((status, &problem["budget"]), (StatusCode::TOO_MANY_REQUESTS, &json!("secrets_per_day")), "{problem}");
    let redrive = async || tenant.call(Method::POST, "/dead-letters/redrive", Some(&json!({"dry_run": true}))).await;
    assert_eq!(redrive().await.0, StatusCode::ACCEPTED);
    let (status, problem) = redrive().await;
    assert_eq!((status, &problem["budget"]), (StatusCode::TOO_MANY_REQUESTS, &json!("jobs_per_day")), "{problem}");
    assert_eq!(budget(&tenant, "webhooks").await["used"], 1);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn budgets_are_the_operators_to_set() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (status, problem) = set(&stack, &tenant, json!({"webhooks": -1, "jobs_per_day": "many", "wishes": 3})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["errors"].as_array().unwrap().len(), 3, "{problem}");
    for (method, path) in [(Method::GET, "budgets"), (Method::PUT, "budgets"), (Method::GET, "usage")] {
        let path = format!("/tenants/{}/{path}", tenant.name);
        assert_eq!(tenant.call(method, &path, Some(&json!({}))).await.0, StatusCode::FORBIDDEN);
    }
    assert_eq!(tenant.application("crm").call(Method::GET, "/usage", None).await.0, StatusCode::OK);
    // The log of the api says what an operator has replaced.
    let registry = aws::Aws::connect().await.registry(stack.output("RegistryTable").to_owned());
    let tenant = tenant.name.parse().unwrap();
    let seven = Overrides { jobs_per_day: Some(7), ..Overrides::default() };
    let set = async |to: &Overrides| registry.put_budgets(&tenant, to, "ada", tests::now()).await.unwrap();
    assert_eq!(set(&seven).await, Overrides::default());
    assert_eq!(set(&Overrides::default()).await, seven);
}

/// Processes that count at once allow no more than the budget together.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_budget_holds_over_all_processes() {
    let stack = Stack::connect().await;
    let aws = aws::Aws::connect().await;
    let budgets = Budgets { jobs_per_day: 7, ..Budgets::default() };
    let process = || {
        let registry = aws.registry(stack.output("RegistryTable").to_owned());
        Usage::new(registry, aws.events(stack.output("EventsTable").to_owned()), budgets, 7)
    };
    let (processes, tenant) = ([process(), process(), process()], stack.tenant().name.parse().unwrap());
    let (more, now) = (Counts { jobs: 1, ..Counts::default() }, tests::now());
    let spent = processes.iter().flat_map(|process| (0..10).map(|_| process.spend(&tenant, more, now)));
    let spent = futures::future::join_all(spent).await;
    assert_eq!(spent.iter().filter(|spent| spent.is_ok()).count(), 7);
    // A count that is written later is not lost.
    processes[0].prepare([&tenant], now).await;
    processes[0].make(&tenant, Counts { deliveries: 5, ..Counts::default() });
    processes[0].sent();
    processes[0].flush(now).await;
    let registry = aws.registry(stack.output("RegistryTable").to_owned());
    let days = registry.usage(&tenant, true).await.unwrap().days;
    assert_eq!((days.len(), days[0].1.deliveries, days[0].1.jobs), (1, 5, 7));
}
