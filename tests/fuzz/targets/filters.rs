//! A content filter that is taken is written as it was read, and the matcher, whose sieve looks at many at once, finds
//! exactly those webhooks whose filter holds when it is asked alone.
//!
//! Three lines: the pattern, the entity before, the entity after.
#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use domain::event::Event;
use domain::matching::filter::Filter;
use domain::id::{EventId, WebhookId};
use domain::matching::matcher::{Matcher, SubscriptionChange};
use domain::event::published::Draft;
use domain::matching::subscription::Subscription;
use domain::value::{Map, Value};

/// From 32 filters of a kind on a sieve takes part.
const COPIES: u128 = 40;

fn event(old: Option<Map>, new: Map) -> Event {
    let draft = Draft {
        event_type: "film.updated".parse().unwrap(),
        entity_id: Some("7".to_owned()),
        entity_key: None,
        collection: None,
        data: new,
        old_data: old,
    };
    let at = Timestamp::UNIX_EPOCH;
    draft.event(EventId::from_parts(at, 1), "acme".parse().unwrap(), None, at)
}

fn map(text: &str) -> Option<Map> {
    match text.parse() {
        Ok(Value::Map(map)) => Some(map),
        _ => None,
    }
}

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let (pattern, old, new) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let Ok(filter) = serde_json::from_str::<Filter>(pattern) else { return };
    let written = serde_json::to_string(&filter).unwrap();
    assert_eq!(serde_json::from_str::<Filter>(&written).as_ref().ok(), Some(&filter), "it reads what it wrote");
    let Some(new) = map(new) else { return };
    let event = event(map(old), new);
    let holds = filter.matches(&event);
    let parts = filter.parts();
    assert!(!holds || parts.iter().all(|(_, part)| part.matches(&event)), "a whole that holds has parts that hold");
    let mut matcher = Matcher::default();
    let wanted = json!({"webhook": WebhookId::from_parts(Timestamp::UNIX_EPOCH, 0), "event_types": ["film.updated"]});
    let wanted = Subscription { filter: Some(filter), ..serde_json::from_value(wanted).unwrap() };
    for number in 0..COPIES {
        let webhook = WebhookId::from_parts(Timestamp::UNIX_EPOCH, number);
        matcher.apply(SubscriptionChange::Wants(Box::new(Subscription { webhook, ..wanted.clone() })));
    }
    assert_eq!(matcher.matching(&event).len(), if holds { COPIES as usize } else { 0 });
});
