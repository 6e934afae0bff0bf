//! What fan-out's process holds: below 200 MB of its 256 for any 1,000 filters that are accepted, with the largest batch.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::print_stdout, reason = "the figures are shown")]

use std::iter::repeat_with;

use domain::access::tenant::TenantId;
use domain::source::Source;
use domain::source::record::read;
use fanout::cache::{Known, Left, Matchers};
use fanout::groups::groups;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value as Json, json};

#[path = "../../../shared/domain/tests/memory/shapes.rs"]
mod shapes;

use shapes::{MIXED, Shape, WORST, accepted, event, list};

/// Of the 200 MB, what is for the process with its clients of AWS (25 MB when it starts) and for the messages of a chunk, which this
/// test does not have.
const ELSEWHERE: usize = 60_000_000;
const LIMIT: usize = 200_000_000 - ELSEWHERE;

/// What the process has now, and the most that it has had, in bytes.
fn memory(line: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
    line.trim_start_matches(':').trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}

/// Loads the webhooks of tenants as a batch does, one tenant after another, and looks for those that want an event.
fn load(matchers: &mut Matchers, tenants: usize, each: usize, shape: Shape) {
    for number in 0..tenants {
        let tenant: TenantId = format!("tenant-{number}").parse().unwrap();
        let mut known = Known { generation: 1, ..matchers.take(&tenant) };
        let wanted = accepted((number * each..(number + 1) * each).map(shape)).0;
        for change in wanted {
            known.matcher.apply(change);
        }
        matchers.put(tenant.clone(), known);
        // Sieves are made whatever the work that is left.
        assert!(matchers.matching(&event(&tenant), 1, &mut Left::of_all()).is_some());
    }
}

/// The largest batch that Lambda hands over has six megabytes.
fn batch(value: &Json) -> Vec<Box<RawValue>> {
    let image = json!({"tenant_id": {"S": "acme"}, "order_id": {"S": "1"}, "blob": value});
    let record = json!({
        "eventID": "c4ca4238a0b923820dcc000000000001", "eventName": "INSERT", "eventVersion": "1.1",
        "eventSource": "aws:dynamodb", "awsRegion": "eu-central-1",
        "eventSourceARN": "arn:aws:dynamodb:eu-central-1:123456789012:table/orders/stream/2026-11-21T10:00:00.000",
        "dynamodb": {"ApproximateCreationDateTime": 1_795_244_140.0, "Keys": {"order_id": {"S": "1"}}, "NewImage": image,
            "SequenceNumber": "1", "SizeBytes": 2048, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    });
    let record = to_raw_value(&record).unwrap();
    let count = 6_000_000 / record.get().len();
    repeat_with(|| record.clone()).take(count).collect()
}

/// One test for all: the memory that a process has had does not shrink.
#[test]
fn any_thousand_accepted_filters_and_the_largest_batch_fit() {
    let mapping = json!({"entity": "order", "tenant": "{tenant_id}", "id": "{order_id}", "collection": "orders"});
    let source: Source = serde_json::from_value(json!({"table": "orders", "entities": [mapping]})).unwrap();
    let values = [
        json!({"L": list(30_000, |_| json!({"N": "1"}))}),
        json!({"L": list(30_000, |_| json!({"M": {}}))}),
        json!({"L": list(15_000, |_| json!({"M": {"a": {"N": "1"}}}))}),
        json!({"S": "x".repeat(300_000)}),
    ];
    let mut matchers = Matchers::default();
    // From here on: a test's binary, with all that is for finding faults in it, is larger than the function.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = memory("VmRSS");
    let most = || memory("VmHWM").saturating_sub(before);
    for (name, shape) in WORST.into_iter().chain([MIXED]) {
        // What a tenant costs does not depend on the shape.
        if name == MIXED.0 {
            load(&mut matchers, 300, 4, shape);
        }
        // As many tenants as fit, with as much as they may have.
        load(&mut matchers, 4, 1_000, shape);
        println!("{name:24} {} MB at most so far, {} MB are counted", most() / 1_000_000, matchers.bytes() / 1_000_000);
        assert!(most() < LIMIT, "{name}: {}", most());
    }
    for value in values {
        let records = batch(&value);
        for group in groups(&records) {
            let changes: Vec<_> = group.iter().map(|record| read(record).unwrap().change).collect();
            let events: Vec<_> = changes.iter().map(|change| source.events(change.clone()).unwrap()).collect();
            assert_eq!(events.len(), group.len());
        }
        println!("{} records: {} MB at most so far", records.len(), most() / 1_000_000);
        assert!(most() < LIMIT, "{}", most());
    }
}
