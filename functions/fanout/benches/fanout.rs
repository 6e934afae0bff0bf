//! How much an event costs: `make bench`. Ratios within one run count, absolute times are this machine's.
//!
//! Without arguments all parts run; otherwise the named ones: `cargo bench --package fanout --bench fanout -- records`.

#![expect(clippy::print_stdout, reason = "a benchmark tells people")]
#![expect(clippy::unwrap_used, reason = "a benchmark may end at what must not be")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use domain::delivery::message::{Body, Message};
use domain::event::Event;
use domain::event::trace::Sampling;
use domain::id::{EventId, WebhookId};
use domain::matching::matcher::{Matcher, SubscriptionChange};
use domain::matching::subscription::Subscription;
use domain::payload::Rendering;
use domain::source::Source;
use domain::source::image::Image;
use domain::source::record::read;
use jiff::Timestamp;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

fn main() {
    // Cargo adds a flag of its own.
    let named: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    let parts: [(&str, fn()); 5] = [
        ("memory", memory),
        ("matching", matching),
        ("records", records),
        ("templates", templates),
        ("traces", traces),
    ];
    for (_, part) in parts.iter().filter(|(name, _)| named.is_empty() || named.iter().any(|named| named == name)) {
        part();
    }
}

/// The shortest of several rounds: what the work takes when nothing else runs.
fn time(times: usize, mut work: impl FnMut()) -> Duration {
    work();
    let round = || {
        let started = Instant::now();
        (0..times).for_each(|_| work());
        started.elapsed() / u32::try_from(times).unwrap()
    };
    std::iter::repeat_with(round).take(9).min().unwrap()
}

/// A stream record whose images take about a kilobyte each.
fn record(number: usize) -> Box<RawValue> {
    let image = |status: &str| {
        let mut image = json!({
            "tenant_id": {"S": "acme"}, "order_id": {"S": format!("o{number}")}, "status": {"S": status}, "total": {"N": "129.95"},
            "customer": {"M": {"id": {"S": "cus_5"}, "name": {"S": "Ada Lovelace"}, "vip": {"BOOL": true}}},
            "lines": {"L": [{"M": {"sku": {"S": "A-1"}, "count": {"N": "2"}}}, {"M": {"sku": {"S": "B-7"}, "count": {"N": "1"}}}]},
        });
        for field in 0..10 {
            image[format!("field_{field}")] = json!({"S": "forty characters of text, more or less.."});
        }
        image
    };
    let record = json!({
        "eventID": format!("c4ca4238a0b923820dcc{number:012}"), "eventName": "MODIFY", "eventVersion": "1.1",
        "eventSource": "aws:dynamodb", "awsRegion": "eu-central-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_795_244_140.0, "Keys": {"order_id": {"S": format!("o{number}")}},
            "OldImage": image("open"), "NewImage": image("paid"), "SequenceNumber": format!("{number}"), "SizeBytes": 2048,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventSourceARN": "arn:aws:dynamodb:eu-central-1:123456789012:table/orders/stream/2026-11-21T10:00:00.000",
    });
    to_raw_value(&record).unwrap()
}

fn source() -> Source {
    let mapping = json!({"entity": "order", "tenant": "{tenant_id}", "id": "{order_id}", "collection": "orders"});
    serde_json::from_value(json!({"table": "orders", "entities": [mapping]})).unwrap()
}

fn event(number: usize) -> Event {
    source().events(read(&record(number)).unwrap().change).unwrap().remove(0)
}

fn matcher(count: usize, shape: impl Fn(usize) -> Value) -> Matcher {
    let mut matcher = Matcher::default();
    for number in 0..count {
        let mut subscription = shape(number);
        subscription["webhook"] = json!(WebhookId::from_parts(Timestamp::UNIX_EPOCH, number as u128).to_string());
        let subscription: Subscription = serde_json::from_value(subscription).unwrap();
        matcher.apply(SubscriptionChange::Wants(Box::new(subscription)));
    }
    matcher
}

type Shape = (&'static str, fn(usize) -> Value);

/// What webhooks may ask for; of each shape the sixth wants the event, and no other.
const SHAPES: [Shape; 7] = [
    (
        "each another type",
        |n| json!({"event_types": [if n == 5 { "order.updated".to_owned() } else { format!("t{n}.updated") }]}),
    ),
    ("each another group", |n| json!({"event_types": [if n == 5 { "order.*".to_owned() } else { format!("t{n}.*") }]})),
    (
        "one type, each another collection",
        |n| json!({"event_types": ["order.updated"], "collections": [if n == 5 { "orders".to_owned() } else { format!("c{n}") }]}),
    ),
    (
        "one type, each another customer in the filter",
        |n| json!({"event_types": ["order.updated"], "filter": {"value": {"customer": {"id": [format!("cus_{n}")]}}}}),
    ),
    (
        "one type, each another transition",
        |n| json!({"event_types": ["order.updated"], "transitions": [{"field": "status", "to": if n == 5 { "paid".to_owned() } else { format!("s{n}") }}]}),
    ),
    (
        "one type, each another prefix in the filter",
        |n| json!({"event_types": ["order.updated"], "filter": {"value": {"customer": {"id": [{"prefix": format!("cus_{n}")}]}}}}),
    ),
    (
        "one type, each another range in the filter",
        |n| json!({"event_types": ["order.updated"], "filter": {"value": {"total": [{"numeric": [">=", 100 + n * 25, "<", 125 + n * 25]}]}}}),
    ),
];

fn matching() {
    println!("\nmatching one event of 1 KB, of which one webhook wants it");
    println!("{:48} {:>10} {:>10} {:>7}", "webhooks that differ in", "10", "10,000", "ratio");
    let mut event = event(1);
    // The sixth range is that of 225 to 250.
    if let Some(new) = &mut event.new {
        new.properties.insert("total".to_owned(), "225".parse().unwrap());
    }
    for (name, shape) in SHAPES {
        let mut times = Vec::new();
        for count in [10, 10_000] {
            let mut matcher = matcher(count, shape);
            assert_eq!(matcher.matching(&event).len(), 1, "{name}");
            times.push(time(2_000, || drop(black_box(matcher.matching(&event)))));
        }
        println!(
            "{name:48} {:>10.1?} {:>10.1?} {:>6.2}×",
            times[0],
            times[1],
            times[1].as_secs_f64() / times[0].as_secs_f64()
        );
    }
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn memory() {
    println!("memory of 100,000 webhooks of one tenant");
    for (name, shape) in [SHAPES[0], SHAPES[3]] {
        let before = resident_bytes();
        let mut matcher = matcher(100_000, shape);
        assert_eq!(matcher.matching(&event(1)).len(), 1);
        println!("{name:48} {:>7} MB", resident_bytes().saturating_sub(before) / 1_000_000);
        // Not given back, so that the next one cannot use it again.
        std::mem::forget(matcher);
    }
}

fn records() {
    println!(
        "\nrecord to message, images of {} bytes: what one core does for a record that one of ten",
        record(1).get().len() / 2
    );
    println!("webhooks wants, from the record's JSON to the message's, without Lambda, archive and calls of AWS");
    let raw = record(1);
    let source = source();
    let mut matcher = matcher(10, SHAPES[0].1);
    let whole = time(2_000, || {
        for event in source.events(read(&raw).unwrap().change).unwrap() {
            for subscription in matcher.matching(&event) {
                let body = subscription.rendering.render(&event, &event.event_type).unwrap();
                let (event_type, tenant) = (event.event_type.clone(), event.tenant.clone());
                let message = Message::first(event.id, event_type, subscription.webhook, tenant, Body::Inline(body));
                black_box(message.into_json());
            }
        }
    });
    let event = event(1);
    let rendering = Rendering::default();
    let body = rendering.render(&event, &event.event_type).unwrap();
    let message = |body: String| {
        let (event_type, tenant) = (event.event_type.clone(), event.tenant.clone());
        Message::first(
            event.id,
            event_type,
            WebhookId::from_parts(Timestamp::UNIX_EPOCH, 1),
            tenant,
            Body::Inline(body),
        )
    };
    let message = message(body);
    // Mapping consumes the change, so each iteration reads it again.
    let read_only = time(2_000, || drop(black_box(read(&raw).unwrap())));
    let read_and_mapped = time(2_000, || drop(black_box(source.events(read(&raw).unwrap().change))));
    let read_by_serde = time(2_000, || drop(black_box(serde_json::from_str::<Images>(raw.get()).unwrap())));
    let parts = [
        ("read the record (JSON)", read_only),
        ("write the payload (JSON)", time(2_000, || drop(black_box(rendering.render(&event, &event.event_type))))),
        ("write the message (JSON)", time(2_000, || drop(black_box(message.to_json())))),
        ("map to an event", read_and_mapped.saturating_sub(read_only)),
        ("match", time(2_000, || drop(black_box(matcher.matching(&event))))),
    ];
    println!("{:48} {whole:>10.1?} {:>7.0} a second and core", "all", 1.0 / whole.as_secs_f64());
    for (name, part) in parts {
        println!("{name:48} {part:>10.1?} {:>6.0} %", 100.0 * part.as_secs_f64() / whole.as_secs_f64());
    }
    let json: f64 = parts[..3].iter().map(|(_, part)| part.as_secs_f64()).sum();
    println!("{:48} {:>17.0} %", "share of JSON", 100.0 * json / whole.as_secs_f64());
    let ratio = read_by_serde.as_secs_f64() / read_only.as_secs_f64();
    println!("{:48} {read_by_serde:>10.1?} {ratio:>6.2}× of reading", "only its images, read by serde_json");
}

/// The images of a record.
#[derive(serde::Deserialize)]
struct Images {
    #[serde(rename = "dynamodb")]
    _both: Both,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Both {
    #[serde(rename = "OldImage")]
    _old: Image,
    #[serde(rename = "NewImage")]
    _new: Image,
}

/// Templates that are accepted, and take as long as one may: each of them is the worst of its kind that was found.
fn templates() {
    println!("\nthe worst accepted templates, for an event with fields of up to 400 KB");
    println!("{:48} {:>10} {:>12} {:>8}", "what they do", "time", "work", "result");
    let numbers: Vec<Value> = (0..100_000).map(|number| json!({"N": format!("{}.5", number % 10)})).collect();
    let (few, lines): (Vec<Value>, Vec<Value>) = (numbers[..4_000].to_vec(), numbers[..200].to_vec());
    let entries: serde_json::Map<_, _> = (0..2_000).map(|number| (format!("k{number}"), json!({"S": "v"}))).collect();
    let large = json!({"numbers": {"L": numbers}, "text": {"S": "a".repeat(100)}});
    let small = json!({
        "text": {"S": "a".repeat(300)}, "long": {"S": "ä".repeat(10_000)}, "few": {"L": few}, "lines": {"L": lines}, "map": {"M": entries},
        "quotes": {"S": "\"\u{1}".repeat(500)},
    });
    let repeat = |body: &str, times: usize| format!("[{}1]", body.repeat(times));
    let looped = |body: &str| {
        format!("[{{% for a in value.text %}}{{% for b in value.text %}}{body}{{% endfor %}}{{% endfor %}}1]")
    };
    let worst = [
        ("steps that do nothing", &small, looped("")),
        ("steps through paths", &small, looped("{% if value.map.k1.x.y.z %}{% endif %}")),
        ("comparing lists", &small, looped("{% if value.few == value.few %}{% endif %}")),
        ("looking for a number in a list", &small, looped("{% if 11 in value.few %}{% endif %}")),
        ("looking for a text in a text", &small, looped("{% if 'äää1' in value.long %}{% endif %}")),
        (
            "joining texts",
            &small,
            looped(&format!("{{% if ('' {})|length == 1 %}}{{% endif %}}", "~ value.text".repeat(32))),
        ),
        ("cutting texts", &small, looped("{% if value.long[9998:] == 'x' %}{% endif %}")),
        (
            "cutting lists again and again",
            &small,
            looped(&format!("{{% for c in value.lines{} %}}{{% endfor %}}", "[1:]".repeat(60))),
        ),
        ("upper case", &small, looped("{% if value.long|upper == 'x' %}{% endif %}")),
        ("JSON of a list", &small, looped("{% if value.lines|tojson == 'x' %}{% endif %}")),
        ("items of a map", &small, looped("{% if value.map|items|first == 'x' %}{% endif %}")),
        ("the length of a text", &small, looped("{% if value.long|length == 1 %}{% endif %}")),
        ("a long name", &small, looped(&format!("{{% if value.map.{} %}}{{% endif %}}", "k".repeat(15_000)))),
        ("printing what is escaped", &small, repeat("{{ value.quotes }},", 85)),
        ("as many expressions as there is room for", &small, repeat("{{a|default(1)}},", 900)),
        ("a list of 100,000 numbers", &large, "{{ value.numbers|length }}".to_owned()),
        ("all of it at once", &large, looped("{% if value.numbers == oldValue.numbers %}{% endif %}")),
    ];
    for (name, attributes, template) in worst {
        let mut record: Value = serde_json::from_str(record(1).get()).unwrap();
        for image in ["OldImage", "NewImage"] {
            record["dynamodb"][image].as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
        }
        let record = to_raw_value(&record).unwrap();
        let event = source().events(read(&record).unwrap().change).unwrap().remove(0);
        let rendering: Rendering = serde_json::from_value(json!({"format": "template", "template": template})).unwrap();
        assert_eq!(rendering.check(), [], "{name}: it is accepted");
        let (result, work) = rendering.render_metered(&event, &event.event_type);
        let result = result.map_or_else(|error| error.to_string(), |body| format!("{} bytes", body.len()));
        let took = time(3, || drop(black_box(rendering.render_metered(&event, &event.event_type))));
        println!("{name:48} {took:>10.1?} {:>12} {result}", work.units());
    }
}

/// What the decision about an event's trace costs, next to parsing its record. Without a collector it is not made.
fn traces() {
    let raw = record(1);
    let parse = time(2_000, || {
        black_box(read(&raw).unwrap());
    });
    let (sampling, event): (Sampling, _) = ("0.05".parse().unwrap(), EventId::from_parts(Timestamp::UNIX_EPOCH, 1));
    let decide = time(2_000, || {
        black_box(sampling.of_event(black_box(event), None));
    });
    let part = 100.0 * decide.as_secs_f64() / parse.as_secs_f64();
    println!("traces: deciding whether an event's trace is exported takes {part:.1} % of parsing its record");
}
