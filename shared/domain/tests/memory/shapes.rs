//! The webhooks that take the most memory, each as large as allowed.

use domain::access::tenant::TenantId;
use domain::event::Event;
use domain::event::published::Draft;
use domain::id::{EventId, WebhookId};
use domain::matching::matcher::{MAX_TENANT_BYTES, SubscriptionChange, weight};
use domain::matching::subscription::Subscription;
use domain::value::{Map, Value};
use jiff::Timestamp;
use serde_json::{Value as Json, json};

/// An event that most of the shapes look at.
pub(crate) fn event(tenant: &TenantId) -> Event {
    let data = json!({"a": "ab".repeat(100), "n": 7, "list": ["a", 1, null]});
    let Ok(Value::Map(data)) = data.to_string().parse::<Value>() else { unreachable!("it is a map") };
    let draft = Draft {
        event_type: "film.updated".parse().unwrap(),
        entity_id: Some("7".to_owned()),
        entity_key: None,
        collection: None,
        data,
        old_data: Some(Map::new()),
    };
    let at = Timestamp::UNIX_EPOCH;
    draft.event(EventId::from_parts(at, 1), tenant.clone(), None, at)
}

pub(crate) fn list(count: usize, member: impl Fn(usize) -> Json) -> Json {
    (0..count).map(member).collect()
}

pub(crate) fn filter(of: &Json) -> Json {
    json!({"filter": {"value": {"a": of}}})
}

/// Deserializes a subscription as fan-out does, unless it is refused.
fn subscription(number: usize, mut wanted: Json) -> Option<Subscription> {
    wanted["webhook"] = json!(WebhookId::from_parts(Timestamp::UNIX_EPOCH, number as u128).to_string());
    serde_json::from_str(&wanted.to_string()).ok()
}

/// Returns the subscriptions that a tenant may have together, and their weight.
pub(crate) fn accepted(wanted: impl IntoIterator<Item = Json>) -> (Vec<SubscriptionChange>, usize) {
    let mut total = 0;
    let mut all = Vec::new();
    let mut refused = 0;
    for (number, wanted) in wanted.into_iter().enumerate() {
        let Some(subscription) = subscription(number, wanted) else { continue };
        let weight = weight(&subscription);
        if total + weight <= MAX_TENANT_BYTES {
            total += weight;
            refused = 0;
            all.push(SubscriptionChange::Wants(Box::new(subscription)));
        } else {
            refused += 1;
        }
        // One of each shape was refused, and those that follow are as large.
        if refused == WORST.len() {
            break;
        }
    }
    (all, total)
}

pub(crate) type Shape = fn(usize) -> Json;

/// One example of each kind of filter and of other conditions, each as large as allowed.
pub(crate) const WORST: [(&str, Shape); 14] = [
    ("wildcards", |n| filter(&list(180, |m| json!({"wildcard": format!("*{n}{m}")})))),
    ("one wildcard", |n| filter(&json!([{"wildcard": format!("{n}*{}", "a*".repeat(1_900))}]))),
    ("prefixes", |n| filter(&list(200, |m| json!({"prefix": format!("{}", n * 200 + m)})))),
    ("few prefixes", |n| filter(&list(32, |m| json!({"prefix": format!("{n}-{m}-{}", "x".repeat(90))})))),
    ("ranges", |n| filter(&list(100, |m| json!({"numeric": [">", n, "<", n + m + 1]})))),
    ("anything but", |n| filter(&json!([{"anything-but": list(350, |m| json!(format!("{n}-{m}")))}]))),
    ("many anything but", |n| filter(&list(150, |m| json!({"anything-but": [n, m]})))),
    ("networks", |n| filter(&list(130, |m| json!({"cidr": format!("10.{}.{m}.0/24", n % 256)})))),
    ("other letters", |n| filter(&list(80, |m| json!({"equals-ignore-case": format!("k\u{212a}{n}-{m}")})))),
    ("texts", |n| filter(&list(200, |m| json!(format!("{n}-{m}"))))),
    (
        "texts below a long name",
        |n| json!({"filter": {"value": {"n".repeat(2_000): list(200, |m| json!(format!("{:x}", n * 200 + m)))}}}),
    ),
    ("deep", |n| {
        let deep = (0..96).fold(json!([{"prefix": format!("{n}")}, "x"]), |inner, _| json!({"a": inner}));
        json!({"filter": {"value": deep}})
    }),
    ("many fields", |n| {
        let fields: serde_json::Map<_, _> =
            (0..64).map(|m| (format!("f{m}-{n}"), json!([{"prefix": "a"}, n, {"suffix": "b"}]))).collect();
        json!({"event_types": list(100, |m| json!(format!("film{m}.*"))), "filter": {"value": fields}})
    }),
    ("everything else", |n| {
        let small = list(500, |_| json!({"a": 1}));
        json!({"event_types": list(100, |m| json!(format!("film-{n}-{m}.updated"))), "sources": list(50, |m| json!(format!("{m}").repeat(100))),
            "changed": list(50, |m| json!(format!("f{m}.{}", "a.".repeat(120) + "b"))),
            "transitions": list(50, |m| json!({"field": "a.b.c.d", "from": format!("{m}"), "to": n})),
            "rendering": {"template": "x".repeat(16_000), "properties": {"p": small},
                "include": list(100, |m| json!(format!("{}f{m}", "i.".repeat(100))))}})
    }),
];

/// A mix of all of them.
pub(crate) const MIXED: (&str, Shape) = ("mixed", |n| WORST[n % WORST.len()].1(n));
