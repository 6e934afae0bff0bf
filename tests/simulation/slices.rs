//! A tenant with very many templates next to one with few: what is rendered in the shard, what goes into slices, and
//! that nothing is lost, duplicated or out of order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use domain::delivery::message::{Body, Message};
use domain::id::WebhookId;
use domain::time::Clock;
use fanout::{App, Config, RenderConfig, Renderer, StreamEvent};
use jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};
use tests::{FakeAws, Fault, fanout_environment};

use super::faults::{DONE, record, source};

/// How many webhooks the hostile and the healthy tenant have.
const HOSTILE: u128 = 220;
const HEALTHY: u128 = 2;

struct Wall;

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        tests::now()
    }
}

/// Returns a template that takes nearly all the steps that are allowed, and renders `[number]`.
fn template(number: u128) -> String {
    let text = "x".repeat(125);
    format!("{{% for a in '{text}' %}}{{% for b in '{text}' %}}{{% endfor %}}{{% endfor %}}[{number}]")
}

fn id(number: u128) -> String {
    WebhookId::from_parts(Timestamp::UNIX_EPOCH, number).to_string()
}

struct World {
    fake: Arc<FakeAws>,
    app: App,
    renderer: Renderer,
}

impl World {
    /// Returns a world in which `acme` has that many webhooks with templates; `ordered` says which of them are ordered.
    async fn with(webhooks: u128, ordered: impl Fn(u128) -> bool) -> Self {
        let fake = Arc::new(FakeAws::default());
        fake.register(source(&json!({}))).await;
        for number in 1..=webhooks {
            let rendering = json!({"format": "template", "template": template(number)});
            let subscription = json!({"webhook": id(number), "rendering": rendering, "ordered": ordered(number)});
            fake.write("acme", &id(number), Some(serde_json::from_value(subscription).unwrap())).await;
        }
        for number in 1..=HEALTHY {
            let subscription = json!({"webhook": id(number)});
            fake.write("globex", &id(number), Some(serde_json::from_value(subscription).unwrap())).await;
        }
        let mut environment = fanout_environment("http://127.0.0.1:9");
        environment.insert("FANOUT_INPUT".to_owned(), "renderings".to_owned());
        let lookup = |name: &str| environment.get(name).cloned();
        let aws = fake.aws(Arc::new(|_, _| {})).await;
        let app = App::new(Config::from_lookup(lookup).unwrap(), &aws, Box::new(Wall));
        let renderer = Renderer::new(RenderConfig::from_lookup(lookup).unwrap(), &aws, Box::new(Wall));
        Self { fake, app, renderer }
    }

    async fn fan_out(&self, records: &[Value], time: Duration) -> Value {
        let event: StreamEvent = serde_json::from_str(&json!({"Records": records}).to_string()).unwrap();
        serde_json::to_value(fanout::handle(&self.app, event, SystemTime::now() + time).await).unwrap()
    }

    async fn render(&self, slices: &[String], time: Duration) -> Value {
        let message = |(number, body): (usize, &String)| json!({"messageId": format!("m{number}"), "body": body});
        let records: Vec<Value> = slices.iter().enumerate().map(message).collect();
        let event = serde_json::from_value(json!({"Records": records})).unwrap();
        serde_json::to_value(fanout::render(&self.renderer, event, SystemTime::now() + time).await).unwrap()
    }

    async fn slices(&self) -> Vec<String> {
        std::mem::take(&mut *self.fake.renderings.lock().await)
    }

    /// Takes the sent messages out of the queues; returns them by tenant.
    async fn sent(&self) -> BTreeMap<String, Vec<Message>> {
        let mut sent: BTreeMap<String, Vec<Message>> = BTreeMap::new();
        for text in std::mem::take(&mut *self.fake.deliveries.lock().await) {
            let message = Message::from_json(&text).unwrap();
            sent.entry(message.tenant.to_string()).or_default().push(message);
        }
        sent
    }
}

const MINUTE: Duration = Duration::from_mins(1);

fn of(tenant: &str, number: u64) -> Value {
    record(number, &json!({"tenant": {"S": tenant}}))
}

/// Checks that each webhook gets one message, with the body that its template renders.
fn assert_each_once(messages: &[Message], webhooks: impl IntoIterator<Item = u128>) {
    let mut expected: BTreeMap<String, Body> =
        webhooks.into_iter().map(|number| (id(number), Body::Inline(format!("[{number}]")))).collect();
    for Message { webhook, body, .. } in messages {
        assert_eq!(expected.remove(&webhook.to_string()), *body, "{webhook} once");
    }
    assert!(expected.is_empty(), "not sent to {:?}", expected.keys());
}

/// An event of one tenant needs 220 templates, and the next event belongs to another tenant.
#[tokio::test]
async fn many_templates_of_one_tenant_hold_no_other_one() {
    let world = World::with(HOSTILE, |_| false).await;
    let started = Instant::now();
    assert_eq!(world.fan_out(&[of("acme", 1), of("globex", 2)], MINUTE).await, DONE());
    let took = started.elapsed();
    println!("an event with {HOSTILE} templates took {took:?} in its shard");
    assert!(took < Duration::from_secs(5), "the shard goes on: {took:?}");
    let mut sent = world.sent().await;
    assert_eq!(sent.remove("globex").unwrap().len(), 2, "the healthy tenant waits for nothing");
    let mut messages = sent.remove("acme").unwrap();
    assert!((1..20).contains(&messages.len()), "what fits is sent at once: {}", messages.len());
    let slices = world.slices().await;
    assert!((2..40).contains(&slices.len()), "{} slices", slices.len());
    for slice in &slices {
        assert_eq!(world.render(std::slice::from_ref(slice), MINUTE).await, DONE());
    }
    messages.extend(world.sent().await.remove("acme").unwrap());
    assert_each_once(&messages, 1..=HOSTILE);
}

/// A batch full of such events ends in time, although its last record belongs to another tenant.
#[tokio::test]
async fn a_batch_full_of_such_events_ends_in_time() {
    let world = World::with(HOSTILE, |_| false).await;
    let mut records: Vec<Value> = (1..=40).map(|number| of("acme", number)).collect();
    records.push(of("globex", 41));
    let started = Instant::now();
    assert_eq!(world.fan_out(&records, MINUTE).await, DONE());
    let took = started.elapsed();
    println!("forty such events took {took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    let here = world.sent().await;
    assert_eq!(here["globex"].len(), 2);
    assert!(here["acme"].len() < 120, "the tenant has a budget for the batch: {}", here["acme"].len());
}

/// The process dies after it sent its slices and before they are acknowledged, so the batch and its slices are
/// repeated. Each slice is also received twice, after its webhooks were deleted.
#[rstest]
#[case::all_was_sent(None)]
#[case::some_slices_were_refused(Some(Fault::RefuseSome))]
#[case::the_answer_was_lost(Some(Fault::LoseAnswer))]
#[tokio::test]
async fn what_is_sent_again_is_the_same(#[case] fault: Option<Fault>) {
    let world = World::with(60, |_| false).await;
    let records = [of("acme", 1), of("globex", 2)];
    let (mut deliveries, mut rounds) = (BTreeMap::new(), Vec::new());
    for round in 0..2 {
        *world.fake.fault.lock().await = fault.filter(|_| round == 0);
        assert_eq!(world.fan_out(&records, MINUTE).await, DONE());
        for number in (1..=60).filter(|_| round == 1) {
            world.fake.write("acme", &id(number), None).await;
        }
        let slices = world.slices().await;
        rounds.push(slices.iter().cloned().collect::<BTreeSet<_>>());
        for _ in 0..2 {
            assert_eq!(world.render(&slices, MINUTE).await, DONE());
        }
        for message in world.sent().await.remove("acme").unwrap() {
            let before = deliveries.insert(message.delivery, message.clone());
            assert!(before.is_none_or(|before| before == message), "the same id, the same bytes: {}", message.delivery);
        }
    }
    assert_eq!(rounds[0], rounds[1], "the same slices");
    assert_each_once(&deliveries.into_values().collect::<Vec<_>>(), 1..=60);
}

/// Ordered webhooks are in no slice, so that no later event overtakes. Beyond their share they fail with a reason.
#[tokio::test]
async fn order_is_kept_by_what_stays_in_the_shard() {
    let world = World::with(60, |number| number % 2 == 0).await;
    let change = |number: u64| {
        let mut record = of("acme", number);
        record["dynamodb"]["NewImage"]["id"] = json!({"S": "o1"});
        record
    };
    let records: Vec<Value> = (1..=6).map(change).collect();
    assert_eq!(world.fan_out(&records, MINUTE).await, DONE());
    let messages = world.sent().await.remove("acme").unwrap();
    let (ordered, others): (Vec<_>, Vec<_>) = messages.into_iter().partition(|message| message.entity.is_some());
    let mut failed = BTreeSet::new();
    for number in (2..=60).step_by(2) {
        let webhook = id(number);
        let of_it: Vec<_> = ordered.iter().filter(|message| message.webhook.to_string() == webhook).collect();
        assert_eq!(of_it.len(), 6, "{webhook}");
        assert!(of_it.is_sorted_by_key(|message| message.sequence.clone()), "{webhook}");
        for message in of_it {
            match &message.body {
                Some(Body::Failed(why)) => {
                    assert!(why.contains("ordering: entity"), "{why}");
                    failed.insert(webhook.clone());
                }
                body => assert_eq!(*body, Some(Body::Inline(format!("[{number}]")))),
            }
        }
    }
    assert!((1..25).contains(&failed.len()), "a share, and no more: {failed:?}");
    let slices = world.slices().await;
    for slice in &slices {
        assert_eq!(world.render(std::slice::from_ref(slice), MINUTE).await, DONE());
    }
    let mut rest = others;
    rest.extend(world.sent().await.remove("acme").unwrap());
    assert!(rest.iter().all(|message| message.entity.is_none()), "no slice has a webhook that keeps an order");
    for event in rest.iter().map(|message| message.event).collect::<BTreeSet<_>>() {
        let of_it: Vec<_> = rest.iter().filter(|message| message.event == event).cloned().collect();
        assert_each_once(&of_it, (1..=59).step_by(2));
    }
}

/// When time is short, nothing more is rendered in the shard, but the event is still processed.
#[tokio::test]
async fn what_there_is_no_time_for_goes_into_slices() {
    let world = World::with(10, |_| false).await;
    // This reads the webhooks, so that the next call does not spend its time on it.
    assert_eq!(world.fan_out(&[of("acme", 1)], MINUTE).await, DONE());
    let (_, _) = (world.sent().await, world.slices().await);
    assert_eq!(world.fan_out(&[of("acme", 2)], Duration::from_secs(20)).await, DONE());
    assert!(world.sent().await.is_empty());
    let slices = world.slices().await;
    assert_eq!(world.render(&slices, MINUTE).await, DONE());
    assert_each_once(&world.sent().await["acme"], 1..=10);
}

/// A slice that fails is received again, and so are those for which there is no time; the others are done.
#[tokio::test]
async fn a_slice_that_is_not_done_comes_again() {
    let world = World::with(60, |_| false).await;
    assert_eq!(world.fan_out(&[of("acme", 1)], MINUTE).await, DONE());
    let mut slices = world.slices().await;
    drop(world.sent().await);
    assert!(slices.len() > 1);
    let late = world.render(&slices, Duration::from_secs(10)).await;
    let again = late["batchItemFailures"].as_array().unwrap();
    assert_eq!(again.len(), slices.len() - 1, "the first is done whatever the time");
    slices.push("no slice".to_owned());
    let response = world.render(&slices, MINUTE).await;
    assert_eq!(response["batchItemFailures"], json!([{"itemIdentifier": format!("m{}", slices.len() - 1)}]));
    *world.fake.fault.lock().await = Some(Fault::RefuseSome);
    assert_eq!(world.render(&slices[..1], MINUTE).await, DONE(), "the SDK sends again what was refused");
}

/// Conditions of one tenant that take very much work are judged outside the shard, each webhook once. Those of ordered
/// webhooks are judged in the shard.
#[tokio::test]
async fn conditions_of_one_tenant_hold_no_other_one() {
    let world = World::with(0, |_| false).await;
    let ordered = |number: u128| number == 40;
    for number in 1..=40 {
        // The wildcards are tried one after the other; the last one decides.
        let count = if ordered(number) { 5 } else { 60 };
        let stars: Vec<_> = (0..count).map(|other| json!({"wildcard": format!("*b{other}x*{number}")})).collect();
        let last = json!({"wildcard": if number % 2 == 1 || ordered(number) { "*ab*" } else { "*z*" }});
        let filter = json!({"value": {"text": stars.into_iter().chain([last]).collect::<Vec<_>>()}});
        let subscription = json!({"webhook": id(number), "filter": filter, "ordered": ordered(number)});
        world.fake.write("acme", &id(number), Some(serde_json::from_value(subscription).unwrap())).await;
    }
    let heavy = record(1, &json!({"text": {"S": "ab".repeat(5_000)}}));
    assert_eq!(world.fan_out(&[heavy, of("globex", 2)], MINUTE).await, DONE());
    let mut sent = world.sent().await;
    assert_eq!(sent.remove("globex").unwrap().len(), 2, "the healthy tenant waits for nothing");
    let mut messages = sent.remove("acme").unwrap();
    assert!(messages.iter().any(|message| message.webhook.to_string() == id(40)), "order is kept in the shard");
    assert!(messages.len() < 10, "the others have no room: {}", messages.len());
    assert_eq!(*world.fake.failures.lock().await, Vec::<String>::new());
    let lists = world.slices().await;
    assert!((1..=4).contains(&lists.len()), "{} lists", lists.len());
    assert_eq!(world.render(&lists, MINUTE).await, DONE());
    messages.extend(world.sent().await.remove("acme").unwrap());
    let mut webhooks: Vec<String> = messages.iter().map(|message| message.webhook.to_string()).collect();
    webhooks.sort();
    let expected: Vec<String> = (1..=40).filter(|number| number % 2 == 1 || ordered(*number)).map(id).collect();
    assert_eq!(webhooks, expected, "each that wants it once");
    assert!(messages.iter().all(|message| matches!(message.body, Some(Body::Inline(_) | Body::Stored(_)))));
}

/// Templates that are large together are sent as a list of webhooks; none of them is copied in the shard.
#[tokio::test]
async fn large_templates_are_looked_up_by_the_one_who_renders() {
    let world = World::with(0, |_| false).await;
    for number in 1..=30 {
        let template = format!("{{% if false %}}{}{{% endif %}}[{number}]", "x".repeat(12_000));
        let subscription = json!({"webhook": id(number), "rendering": {"format": "template", "template": template}});
        world.fake.write("acme", &id(number), Some(serde_json::from_value(subscription).unwrap())).await;
    }
    assert_eq!(world.fan_out(&[of("acme", 1)], MINUTE).await, DONE());
    assert!(world.sent().await.is_empty());
    let lists = world.slices().await;
    assert_eq!(lists.len(), 3);
    assert!(lists.iter().all(|list| list.len() < 2_000), "an event, and the ids of webhooks");
    // A webhook that is deleted meanwhile gets nothing.
    world.fake.write("acme", &id(30), None).await;
    assert_eq!(world.render(&lists, MINUTE).await, DONE());
    assert_each_once(&world.sent().await["acme"], 1..=29);
}

/// The deliveries of a tenant with few webhooks are sent before those of one with many, although its records came
/// later.
#[tokio::test]
async fn light_tenants_come_first() {
    let world = World::with(0, |_| false).await;
    for number in 1..=150 {
        let subscription = json!({"webhook": id(number)});
        world.fake.write("acme", &id(number), Some(serde_json::from_value(subscription).unwrap())).await;
    }
    assert_eq!(world.fan_out(&[of("acme", 1), of("globex", 2), of("acme", 3)], MINUTE).await, DONE());
    let sent: Vec<_> =
        world.fake.deliveries.lock().await.iter().map(|text| Message::from_json(text).unwrap()).collect();
    assert_eq!(sent.len(), 302);
    assert!(sent[..2].iter().all(|message| message.tenant.as_str() == "globex"), "they come first");
}

/// An item moves from a tenant with many webhooks to one with few, and is changed there.
#[tokio::test]
async fn a_tenant_that_shares_a_record_with_a_heavy_one_keeps_its_order() {
    let world = World::with(0, |_| false).await;
    for number in 1..=150 {
        let subscription = json!({"webhook": id(number)});
        world.fake.write("acme", &id(number), Some(serde_json::from_value(subscription).unwrap())).await;
    }
    let mut moved = of("globex", 2);
    moved["eventName"] = json!("MODIFY");
    moved["dynamodb"]["OldImage"] = of("acme", 2)["dynamodb"]["NewImage"].clone();
    let records = [of("acme", 1), moved, of("globex", 3), of("acme", 4)];
    assert_eq!(world.fan_out(&records, MINUTE).await, DONE());
    let sent = world.sent().await.remove("globex").unwrap();
    let sequences: Vec<_> = sent.into_iter().map(|message| message.sequence.unwrap()).collect();
    assert_eq!(sequences.len(), 4);
    assert!(sequences.is_sorted(), "{sequences:?}");
}
