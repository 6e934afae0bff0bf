//! Traces, from a table's change to its receivers: fan-out and deliver in the test's own process, with a collector on
//! loopback.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use axum::http::StatusCode;
use domain::attempt::outcome::{Outcome, Verdict};
use domain::attempt::target::TargetPolicy;
use domain::delivery::message::{Body, Message};
use domain::event::trace::{TraceParent, TracePolicy};
use domain::id::{EventId, WebhookId};
use domain::time::Clock;
use jiff::Timestamp;
use outbound::{Client, Request, Script};
use serde_json::json;
use tests::cloud::environment::variable;
use tests::cloud::{Cloud, Faults, handed_back, sqs_event};
use tests::{Collector, FakeAws, Hooks, ReceivedSpan, fanout_environment};

use super::faults::{DONE, record, source};

/// The numbers of the protocol for the kinds of spans.
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;

const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The headers with which the collector is called.
const KEY: &str = "canary-of-the-collector";

/// A value of the payload, a path and a query: none of them may be in a span.
const CANARIES: [&str; 4] = ["canary-of-the-payload", "canary-of-the-path", "canary-of-the-query", KEY];

struct Wall;

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        tests::now()
    }
}

fn webhook(number: u128) -> WebhookId {
    WebhookId::from_parts(Timestamp::UNIX_EPOCH, number)
}

fn policy(endpoint: &str, sampling: &str) -> TracePolicy {
    TracePolicy {
        sampling: sampling.parse().unwrap(),
        endpoint: endpoint.parse().unwrap(),
        signed: true,
        headers_secret_arn: None,
    }
}

/// Fans out one change of a table, which two webhooks want. Returns the messages, and exports the spans.
async fn fan_out(traces: Option<TracePolicy>, times: usize) -> Vec<String> {
    let fake = Arc::new(FakeAws::default());
    fake.register(source(&json!({}))).await;
    for number in 1..=2 {
        let (id, rendering) = (webhook(number).to_string(), json!({"webhook": webhook(number)}));
        fake.write("acme", &id, Some(serde_json::from_value(rendering).unwrap())).await;
    }
    let environment = fanout_environment("http://127.0.0.1:9");
    let config = fanout::Config::from_lookup(|name| environment.get(name).cloned()).unwrap();
    let config = fanout::Config { traces, ..config };
    let app = fanout::App::new(config, &fake.aws(Arc::new(|_, _| {})).await, Box::new(Wall));
    for _ in 0..times {
        let change = record(1, &json!({"tenant": {"S": "acme"}, "note": {"S": CANARIES[0]}}));
        let event = serde_json::from_str(&json!({"Records": [change]}).to_string()).unwrap();
        let deadline = SystemTime::now() + Duration::from_mins(1);
        assert_eq!(serde_json::to_value(fanout::handle(&app, event, deadline).await).unwrap(), DONE());
        app.export_spans().await;
    }
    std::mem::take(&mut *fake.deliveries.lock().await)
}

/// Deliver, its queues and two receivers, of which the second refuses its first request.
struct Bench {
    cloud: Arc<Cloud>,
    app: deliver::App,
    /// The headers `traceparent` of the requests to each webhook.
    sent: Arc<Mutex<BTreeMap<String, Vec<Option<String>>>>>,
}

impl Bench {
    async fn start(traces: Option<TracePolicy>) -> Self {
        let cloud = Cloud::new(Arc::new(Wall));
        let hooks = Hooks::new(&cloud).await;
        cloud.secrets.put("/test/headers", "1", &format!("api-key={KEY}"));
        for number in 1..=2 {
            let url =
                format!("https://receiver.example:8443/{}/{}?token={}", webhook(number), CANARIES[1], CANARIES[2]);
            hooks.create("acme", number, json!({"url": url})).await;
        }
        let sent = Arc::new(Mutex::new(BTreeMap::<String, Vec<Option<String>>>::new()));
        let kept = Arc::clone(&sent);
        let script = Script::new(move |request: Request| {
            let mut kept = kept.lock().unwrap();
            let webhook = request.url.split('/').nth(3).unwrap().to_owned();
            let header = request.headers.iter().find(|(name, _)| name == "traceparent").map(|(_, value)| value.clone());
            let refuses = webhook == self::webhook(2).to_string() && !kept.contains_key(&webhook);
            kept.entry(webhook).or_default().push(header);
            let (verdict, status) = if refuses { (Verdict::Unavailable, 503) } else { (Verdict::Accepted, 204) };
            async move { Outcome { status: Some(status), ..Outcome::unanswered(verdict, "as the test demands") } }
        });
        let config = deliver::Config { traces, ..deliver::Config::from_lookup(variable).unwrap() };
        let client = Client::new(TargetPolicy::default()).unwrap().scripted(script);
        let aws = cloud.line(Arc::new(|_, _| Faults::default())).aws().await;
        let app = deliver::App::new(config, &aws, client, Box::new(Wall), Box::new(|| 0.5));
        Self { cloud, app, sent }
    }

    fn send(&self, queue: &str, body: String) {
        self.cloud.queues.send(queue, body, Duration::ZERO, None, None);
    }

    /// Delivers what is in a queue, whatever its delay. Does not export.
    async fn deliver(&self, queue: &str) {
        self.cloud.queues.hurry(queue);
        let letters = self.cloud.queues.receive_fairly(queue, 10);
        assert!(!letters.is_empty(), "{queue} is empty");
        let event = serde_json::from_value(sqs_event(&letters)).unwrap();
        let response = deliver::handle(&self.app, event, SystemTime::now() + Duration::from_mins(1)).await;
        assert_eq!(handed_back(&serde_json::to_value(response).unwrap()), [] as [u64; 0]);
        self.cloud.queues.delete(queue, &letters.iter().map(|letter| letter.id).collect::<Vec<_>>());
    }

    fn sent(&self, number: u128) -> Vec<Option<String>> {
        self.sent.lock().unwrap().get(&webhook(number).to_string()).cloned().unwrap_or_default()
    }
}

fn by_webhook(spans: &[ReceivedSpan], number: u128) -> Vec<&ReceivedSpan> {
    let id = webhook(number).to_string();
    spans.iter().filter(|span| span.attribute("dynahook.webhook.id") == id).collect()
}

/// The whole tree: the batch, its event, and the attempts of both deliveries, of which one is retried.
#[tokio::test]
async fn one_trace_leads_from_a_change_to_its_receivers() {
    let collector = Collector::start(StatusCode::OK).await;
    let policy = || TracePolicy { headers_secret_arn: Some("/test/headers".to_owned()), ..policy(&collector.url, "1") };
    let messages = fan_out(Some(self::policy(&collector.url, "1")), 2).await;
    assert!(messages.iter().all(|message| !message.contains("trace")), "a derived context takes no room in a message");
    let spans = collector.spans();
    let (batches, events): (Vec<_>, Vec<_>) = spans.iter().partition(|span| span.kind == CONSUMER);
    assert_eq!((batches.len(), events.len()), (2, 2), "the batch was repeated: {spans:#?}");
    let (batch, event) = (batches[0], events[0]);
    assert_eq!((event.name.as_str(), event.kind, event.parent.as_str()), ("send deliveries", PRODUCER, ""));
    assert_eq!((&event.trace, &event.id), (&events[1].trace, &events[1].id), "a repeated batch gives the same span");
    assert_eq!(event.links, [(batch.trace.clone(), batch.id.clone())]);
    assert_eq!(batch.links, [(event.trace.clone(), event.id.clone())]);
    assert_eq!(batch.attribute("messaging.batch.message_count"), "1");
    assert_eq!((event.service.as_str(), event.attribute("dynahook.event.deliveries")), ("fanout", "2"));

    let bench = Bench::start(Some(policy())).await;
    messages.into_iter().take(2).for_each(|message| bench.send("deliveries", message));
    bench.deliver("deliveries").await;
    bench.app.export_spans().await;
    bench.deliver("retries").await;
    bench.app.export_spans().await;
    let attempts: Vec<_> = collector.spans().into_iter().filter(|span| span.kind == CLIENT).collect();
    assert_eq!(attempts.len(), 3, "{attempts:#?}");
    for attempt in &attempts {
        assert_eq!((&attempt.trace, &attempt.parent), (&event.trace, &event.id), "one trace");
        assert_eq!((attempt.name.as_str(), attempt.service.as_str()), ("POST", "deliver"));
        assert_eq!(attempt.attribute("server.address"), "receiver.example");
        assert_eq!(attempt.attribute("server.port"), "8443");
        assert_eq!(attempt.attribute("dynahook.tenant.id"), "acme");
    }
    let [first] = by_webhook(&attempts, 1)[..] else { panic!("{attempts:#?}") };
    assert_eq!((first.failed, first.attribute("http.response.status_code")), (false, "204"));
    assert_eq!((first.attribute("error.type"), first.links.len()), ("", 0));
    let [refused, retried] = by_webhook(&attempts, 2)[..] else { panic!("{attempts:#?}") };
    assert_eq!((refused.failed, refused.attribute("error.type")), (true, "503"));
    assert_eq!(refused.attribute("dynahook.attempt.verdict"), "unavailable");
    assert_eq!(refused.attribute("dynahook.delivery.state"), "retrying");
    assert_eq!((retried.failed, retried.attribute("dynahook.attempt.number")), (false, "2"));
    assert_eq!(
        retried.links,
        [(refused.trace.clone(), refused.id.clone())],
        "a retry has a link to the attempt before"
    );
    // The receiver's spans become children of the attempt.
    let header = |span: &ReceivedSpan| Some(format!("00-{}-{}-01", span.trace, span.id));
    assert_eq!(bench.sent(1), [header(first)]);
    assert_eq!(bench.sent(2), [header(refused), header(retried)]);

    for export in collector.exports() {
        assert_eq!(export.headers["content-type"], "application/x-protobuf");
        let signed = export.headers["authorization"].to_str().unwrap();
        assert!(signed.contains("/xray/aws4_request"), "{signed}");
        let text = String::from_utf8_lossy(&export.body).into_owned();
        assert_eq!(CANARIES.into_iter().find(|canary| text.contains(canary)), None);
        assert!(!text.contains("whsec_"));
    }
    let with_key = collector.exports().into_iter().filter(|export| export.headers.contains_key("api-key")).count();
    assert_eq!(with_key, 2, "deliver authenticates with its secret");
}

/// Nothing is exported, and receivers learn that nothing is.
#[tokio::test]
async fn a_trace_that_is_not_sampled_costs_no_export() {
    let collector = Collector::start(StatusCode::OK).await;
    let policy = policy(&collector.url, "0");
    let bench = Bench::start(Some(policy.clone())).await;
    for message in fan_out(Some(policy), 1).await {
        bench.send("deliveries", message);
    }
    bench.deliver("deliveries").await;
    bench.app.export_spans().await;
    assert_eq!(collector.exports().len(), 0);
    let header = bench.sent(1)[0].clone().unwrap();
    assert!(header.ends_with("-00"), "{header}");
}

/// Without a collector nothing is added to a request, a message or a row.
#[tokio::test]
async fn without_a_collector_there_is_no_header() {
    let bench = Bench::start(None).await;
    for message in fan_out(None, 1).await {
        bench.send("deliveries", message);
    }
    bench.deliver("deliveries").await;
    assert_eq!(bench.sent(1), [None]);
    assert!(bench.cloud.tables.items("deliveries").iter().all(|row| !row.to_string().contains("traceparent")));
}

/// A published event keeps its trace without a collector too. Its retry gets the context from the row: the sweep's
/// messages have none.
#[tokio::test]
async fn the_context_of_a_publisher_reaches_each_attempt() {
    for exports in [false, true] {
        let collector = Collector::start(StatusCode::OK).await;
        let bench = Bench::start(exports.then(|| policy(&collector.url, "0"))).await;
        let (event, body) = (EventId::from_parts(tests::now(), 1), Body::Inline("{}".to_owned()));
        let first = Message::first(event, "a.b".parse().unwrap(), webhook(2), "acme".parse().unwrap(), body);
        let first = Message { traceparent: GIVEN.parse().ok(), ..first };
        bench.send("deliveries", first.to_json());
        bench.deliver("deliveries").await;
        let retries = bench.cloud.queues.receive("retries", 10, |letter| letter.id);
        bench.cloud.queues.delete("retries", &retries.iter().map(|letter| letter.id).collect::<Vec<_>>());
        let of_the_sweep = Message { traceparent: None, body: None, attempt: 2, ..first };
        bench.send("retries", of_the_sweep.to_json());
        bench.deliver("retries").await;
        bench.app.export_spans().await;
        let sent: Vec<TraceParent> = bench.sent(2).into_iter().map(|header| header.unwrap().parse().unwrap()).collect();
        let given: TraceParent = GIVEN.parse().unwrap();
        assert_eq!(sent.len(), 2);
        assert!(sent.iter().all(|sent| (sent.trace, sent.sampled) == (given.trace, true)), "{sent:?}");
        if exports {
            assert_eq!(collector.spans().len(), 2, "the publisher has decided that the trace is sampled");
            assert_ne!(sent[0].span, sent[1].span);
        } else {
            assert_eq!(sent, [given, given], "it is passed on unchanged");
        }
    }
}

/// Every attempt is made and recorded before the collector is called, and while it is down, later exports take no time.
#[tokio::test]
async fn a_collector_that_hangs_or_refuses_delays_and_fails_nothing() {
    for collector in [Collector::hanging().await, Collector::start(StatusCode::UNAUTHORIZED).await] {
        let bench = Bench::start(Some(policy(&collector.url, "1"))).await;
        for message in fan_out(None, 1).await {
            bench.send("deliveries", message);
        }
        let started = Instant::now();
        bench.deliver("deliveries").await;
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        assert_eq!((bench.sent(1).len(), bench.sent(2).len()), (1, 1));
        bench.app.export_spans().await;
        assert!(started.elapsed() < Duration::from_secs(6), "the export is bounded: {:?}", started.elapsed());
        assert_eq!(collector.exports().len(), 1);
        bench.deliver("retries").await;
        bench.app.export_spans().await;
        assert_eq!(
            (bench.sent(2).len(), collector.exports().len()),
            (2, 1),
            "the retry was made, and nothing exported"
        );
    }
}
