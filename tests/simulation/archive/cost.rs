//! What the archive of an event costs, and that no partition gets more writes than DynamoDB allows.

use std::collections::BTreeMap;
use std::ops::Range;

use aws::events::Archiving;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::event::Event;
use domain::source::Images;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};
use tests::cloud::Cloud;

use super::{World, start};

impl World {
    /// Makes an event of about 4 KB: of a new order, or of one that is paid.
    fn order(&mut self, is_new: bool) -> Event {
        self.made += 1;
        if is_new {
            let order = order(&mut self.random, 16..23);
            let image = self.image("acme", &order);
            return self.change(start(), Images::Insert(image));
        }
        let mut order = order(&mut self.random, 4..10);
        let old = self.image("acme", &order);
        let more = json!({"status": "paid", "paid_at": start(), "receipt": self.random.random_range(0..1_000_000)});
        order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let new = self.image("acme", &order);
        self.change(start(), Images::Modify(old, new))
    }
}

/// An order of a shop: names and texts from lists, ids and amounts at random.
fn order(random: &mut StdRng, lines: Range<usize>) -> Value {
    const NAMES: [&str; 40] = [
        "Aalborg",
        "Bergamo",
        "Cádiz",
        "Dresden",
        "Évora",
        "Faro",
        "Göteborg",
        "Haarlem",
        "İzmir",
        "Jyväskylä",
        "Kraków",
        "Lübeck",
        "Málaga",
        "Nîmes",
        "Odense",
        "Plzeň",
        "Quimper",
        "Reykjavík",
        "Szeged",
        "Tromsø",
        "Uppsala",
        "Vigo",
        "Würzburg",
        "Ypres",
        "Zadar",
        "Århus",
        "Brno",
        "Cluj-Napoca",
        "Debrecen",
        "Esbjerg",
        "Freiburg",
        "Gdańsk",
        "Heraklion",
        "Innsbruck",
        "Jönköping",
        "Košice",
        "Linz",
        "Maribor",
        "Novi Sad",
        "Oulu",
    ];
    const GOODS: [&str; 12] = [
        "oak table",
        "reading lamp",
        "linen cushion",
        "wool blanket",
        "ceramic vase",
        "bar stool",
        "floor mirror",
        "bookshelf",
        "desk organiser",
        "cast iron pan",
        "espresso cups",
        "garden bench",
    ];
    const NOTES: [&str; 6] = [
        "Please ring twice, the bell is hard to hear from the garden.",
        "Gift wrapping, and no invoice in the parcel.",
        "Leave it with the neighbour on the second floor if no one opens.",
        "",
        "",
        "",
    ];
    fn pick<'a>(random: &mut StdRng, from: &[&'a str]) -> &'a str {
        from.choose(random).unwrap()
    }
    let hex = |random: &mut StdRng| format!("{:016x}", random.random::<u64>());
    let address = |random: &mut StdRng| {
        json!({
            "name": format!("{} {}", pick(random, &NAMES), pick(random, &["AB", "GmbH", "Lda", "Oy", "S.p.A."])),
            "street": format!("{}gade {}", pick(random, &NAMES), random.random_range(1..200)),
            "postal_code": format!("{:05}", random.random_range(0..100_000)),
            "city": pick(random, &NAMES),
            "country": pick(random, &["DK", "DE", "ES", "FI", "IT", "PL", "PT", "SE"]),
            "phone": format!("+{}", random.random_range(4_500_000_000_u64..4_999_999_999)),
        })
    };
    let line = |random: &mut StdRng| {
        json!({
            "sku": format!("SKU-{:06}", random.random_range(0..1_000_000)),
            "name": format!("{} {}", pick(random, &NAMES), pick(random, &GOODS)),
            "quantity": random.random_range(1..9),
            "unit_price": f64::from(random.random_range(100..99_999)) / 100.0,
            "tax_rate": random.random_range(0..3) * 12,
            "discount": null,
            "warehouse": {"code": format!("W{}", random.random_range(1..9)), "shelf": random.random_range(1..400)},
        })
    };
    let lines: Vec<Value> = (0..random.random_range(lines)).map(|_| line(random)).collect();
    json!({
        "order_number": random.random_range(1_000_000..9_999_999), "status": "open", "currency": "EUR",
        "customer": {"id": format!("cus_{}", hex(random)), "email": format!("{}@example.com", hex(random)), "vip": false},
        "billing_address": address(random), "shipping_address": address(random), "lines": lines,
        "payment": {"id": format!("pi_{}{}", hex(random), hex(random)), "card": "visa", "last4": random.random_range(1000..9999)},
        "note": pick(random, &NOTES), "created_at": start().to_string(), "updated_at": start().to_string(),
    })
}

/// Returns the write units and the bytes of each item, by its partition key. See [how DynamoDB counts][1].
///
/// [1]: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
fn written(cloud: &Cloud) -> Vec<(String, usize, usize)> {
    let bytes = |value: &Value| match value.as_object().unwrap().iter().next().unwrap() {
        (kind, Value::String(text)) if kind == "B" => STANDARD.decode(text).unwrap().len(),
        (kind, Value::String(text)) if kind == "N" => text.len().div_ceil(2) + 1,
        (_, Value::String(text)) => text.len(),
        (kind, _) => panic!("no item of the archive has {kind}"),
    };
    let items = cloud.tables.items("events").into_iter();
    let sized = items.map(|item| {
        let size = item.as_object().unwrap().iter().map(|(name, value)| name.len() + bytes(value)).sum::<usize>();
        (item["pk"]["S"].as_str().unwrap().to_owned(), size.div_ceil(1024), size)
    });
    sized.collect()
}

/// What the archive of an event of 4 KB costs, as docs/use/cost.md says: hundredths of a write unit, and bytes.
#[rstest::rstest]
#[case::new_items_in_full_batches(100, true, 42..50, 440..500)]
#[case::updates_in_full_batches(100, false, 25..34, 280..340)]
#[case::new_items_ten_at_a_time(10, true, 60..68, 570..650)]
#[case::updates_ten_at_a_time(10, false, 45..52, 400..450)]
#[case::new_items_one_by_one(1, true, 190..220, 1_300..1_600)]
#[case::updates_one_by_one(1, false, 90..200, 900..1_300)]
#[tokio::test(start_paused = true)]
async fn an_event_costs(
    #[case] batch: usize,
    #[case] is_new: bool,
    #[case] units: Range<usize>,
    #[case] bytes: Range<usize>,
) {
    const EVENTS: usize = 400;
    let mut world = World::new(1, false).await;
    let mut json = 0;
    for _ in 0..EVENTS / batch {
        let events: Vec<_> = (0..batch).map(|_| world.order(is_new)).collect();
        json += Archiving::new(&events).sizes().values().sum::<u64>();
        world.archive(&events).await;
    }
    let each = usize::try_from(json).unwrap() / EVENTS;
    let items = written(&world.cloud);
    let all_units = items.iter().map(|(_, units, _)| units).sum::<usize>() * 100 / EVENTS;
    let all_bytes = items.iter().map(|(.., bytes)| bytes).sum::<usize>() / EVENTS;
    println!("batches of {batch}: {each} bytes of JSON are {all_bytes} bytes and 0.01 * {all_units} units");
    assert!((3_700..4_300).contains(&each), "an event is about 4 KB: {each}");
    assert!(units.contains(&all_units), "{all_units} hundredths of a unit");
    assert!(bytes.contains(&all_bytes), "{all_bytes} bytes");
}

/// A partition takes 1,000 write units a second. 5,000 events of one tenant in a second fit into eight, in full batches
/// and, with the same share of that second, in batches of ten.
#[rstest::rstest]
#[case::in_full_batches(5_000, 100)]
#[case::ten_at_a_time(1_000, 10)]
#[tokio::test(start_paused = true)]
async fn no_partition_is_hot_at_5000_events_a_second(#[case] events: usize, #[case] batch: usize) {
    let mut world = World::new(1, false).await;
    for _ in 0..events / batch {
        let events: Vec<_> = (0..batch).map(|_| world.order(true)).collect();
        world.archive(&events).await;
    }
    let mut partitions: BTreeMap<String, usize> = BTreeMap::new();
    for (pk, units, _) in written(&world.cloud) {
        *partitions.entry(pk).or_default() += units;
    }
    println!("{partitions:?}");
    assert_eq!(partitions.len(), 8);
    assert!(partitions.values().all(|units| units * 5_000 < 1_000 * events), "{partitions:?}");
}
