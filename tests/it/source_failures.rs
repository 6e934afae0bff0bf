//! Changes of tables that became no event: they are listed, and sent again after the mapping was changed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws::Aws;
use aws::source_failures::More;
use domain::id::FailureId;
use domain::source::Source;
use domain::time::Clock;
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Claims, Function, Received, Receiver, Stack, Tenant, eventually, inserted, now, unique};

/// A registered table, of which only the name exists: its records are handed to fan-out directly.
struct Table<'a> {
    stack: &'a Stack,
    name: String,
}

impl<'a> Table<'a> {
    async fn register(stack: &'a Stack, id: &str) -> Self {
        let table = Self { stack, name: unique("orders") };
        let (status, source) = table.call(Method::POST, "/sources", Some(&table.mapping(id))).await;
        assert_eq!(status, StatusCode::CREATED, "{source}");
        table
    }

    fn mapping(&self, id: &str) -> Value {
        let entity = json!({"entity": "order", "tenant": "{tenant_id}", "id": id, "collection": "orders"});
        json!({"table": self.name, "entities": [entity]})
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let token = Claims::new("", &["OPERATOR"]).with("tenant_id", Value::Null).rs256();
        let body = body.map(Value::to_string);
        self.stack.call(method, path, Some(&token), body.as_deref()).await
    }

    async fn change_id(&self, id: &str) {
        let mapping = self.mapping(id);
        let (status, source) = self.call(Method::PUT, &format!("/sources/{}", self.name), Some(&mapping)).await;
        assert_eq!(status, StatusCode::OK, "{source}");
    }

    async fn failures(&self, query: &str) -> Value {
        let (status, list) = self.call(Method::GET, &format!("/sources/{}/failures{query}", self.name), None).await;
        assert_eq!(status, StatusCode::OK, "{list}");
        list
    }

    /// Sends records again until that many were sent. Other tests may hide messages for a while.
    async fn redrive(&self, expected: u64) {
        let mut sent = 0;
        eventually("records are sent again", async || {
            let path = format!("/sources/{}/failures/redrive", self.name);
            let (status, answer) = self.call(Method::POST, &path, None).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
            sent += answer["redriven"].as_u64().unwrap();
            (sent >= expected).then_some(())
        })
        .await;
        assert_eq!(sent, expected);
    }

    async fn dismiss(&self, path: &str) -> Value {
        let (status, answer) = self.call(Method::DELETE, path, None).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }

    fn record(&self, tenant: &Tenant, number: u32, more: &Value) -> Value {
        let mut image = json!({"tenant_id": {"S": tenant.name}, "secret": {"S": "hidden"}});
        image.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let keys = json!({"pk": {"S": tenant.name}, "sk": {"N": number.to_string()}});
        inserted(&self.name, number, &keys, &image)
    }
}

/// Waits for that many entities. Two processes that get copies of a first message at the same time may both send it.
async fn entities(receiver: &Receiver, count: usize) -> Vec<String> {
    let what = format!("{count} entities");
    let arrived = eventually(&what, async || {
        let id = |request: Received| request.json()["entityId"].as_str().unwrap().to_owned();
        let arrived: BTreeSet<_> = receiver.received().into_iter().map(id).collect();
        (arrived.len() >= count).then_some(arrived)
    });
    arrived.await.into_iter().collect()
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_change_that_cannot_be_mapped_is_listed_and_sent_again_after_the_mapping_was_mended() {
    let stack = Stack::connect().await;
    let (tenant, receiver) = (stack.tenant(), Receiver::accepting().await);
    let table = Table::register(&stack, "{order_id}").await;
    tenant.webhook(&receiver.url, json!({"sources": [table.name], "event_types": ["order.created"]})).await;
    // The second is too large for a message.
    let large: String =
        (0..1_000_000_u32).map(|n| char::from(b'a' + u8::try_from(n.wrapping_mul(n) % 26).unwrap())).collect();
    let records = [
        table.record(&tenant, 1, &json!({"number": {"S": "n1"}})),
        table.record(&tenant, 2, &json!({"number": {"S": "n2"}, "text": {"S": large}})),
        table.record(&tenant, 3, &json!({"colour": {"S": "blue"}})),
        table.record(&tenant, 4, &json!({"order_id": {"S": "o4"}})),
    ];
    let mut fanout = Function::start(&stack, "FanoutFunction", &[]).await;
    let batch = json!({"Records": records});
    assert_eq!(fanout.invoke(batch.clone()).await, json!({"batchItemFailures": []}));
    assert_eq!(receiver.wait_for(1).await[0].json()["entityId"], "o4");

    let list = table.failures("?limit=2").await;
    let reason = r#"the item has no attribute "order_id", which the source names for its entity id"#;
    let third = json!({
        "id": list["data"][0]["id"], "reason": reason, "keys": {"pk": tenant.name, "sk": 3}, "change": "INSERT",
        "committed_at": "2026-11-21T06:55:43Z", "failed_at": list["data"][0]["failed_at"], "failures": 1,
    });
    assert_eq!(list["data"][0], third);
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
    assert_eq!((&list["total"]["failed"], &list["total"]["last_reason"]), (&json!(3), &json!(reason)));
    assert!(!list.to_string().contains("hidden"), "only the keys of an item are shown");
    let rest = table.failures(&format!("?cursor={}", list["next_cursor"].as_str().unwrap())).await;
    assert_eq!((&rest["data"][0]["keys"]["sk"], rest["data"].as_array().unwrap().len()), (&json!(1), 1));

    table.change_id("{number}").await;
    table.redrive(3).await;
    assert_eq!(entities(&receiver, 3).await, ["n1", "n2", "o4"]);
    // The one that fails again is listed again.
    let list = eventually("only the last one is listed", async || {
        let list = table.failures("").await;
        (list["data"].as_array().unwrap().len() == 1 && list["total"]["failed"] == 1).then_some(list)
    })
    .await;
    assert_eq!((&list["data"][0]["id"], &list["data"][0]["failures"]), (&third["id"], &json!(2)));

    table.change_id("{colour}").await;
    table.redrive(1).await;
    assert_eq!(entities(&receiver, 4).await, ["blue", "n1", "n2", "o4"]);
    let list = table.failures("").await;
    assert_eq!(list, json!({"data": [], "total": null, "next_cursor": null}));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_hopeless_change_is_dismissed() {
    let stack = Stack::connect().await;
    let (tenant, receiver) = (stack.tenant(), Receiver::accepting().await);
    let table = Table::register(&stack, "{order_id}").await;
    tenant.webhook(&receiver.url, json!({"sources": [table.name], "event_types": ["order.created"]})).await;
    let mut fanout = Function::start(&stack, "FanoutFunction", &[]).await;
    let records: Vec<_> =
        (1..=4).map(|n| table.record(&tenant, n, &json!({"number": {"S": format!("n{n}")}}))).collect();
    let batch = json!({"Records": records});
    // A batch that is read again has each message twice.
    for _ in 0..2 {
        assert_eq!(fanout.invoke(batch.clone()).await, json!({"batchItemFailures": []}));
    }
    let list = table.failures("").await;
    assert_eq!((list["data"].as_array().unwrap().len(), &list["total"]["failed"]), (4, &json!(8)));
    let first = &list["data"][3];
    assert_eq!(first["keys"]["sk"], 1);
    let path = format!("/sources/{}/failures/{}", table.name, first["id"].as_str().unwrap());
    assert_eq!(table.dismiss(&path).await, json!({"dismissed": 1, "more": false, "reason": null}));
    // Another test may have hidden its second message for a while, which is deleted when it is met.
    eventually("it is dismissed already", async || {
        (table.call(Method::DELETE, &path, None).await.0 == StatusCode::NOT_FOUND).then_some(())
    })
    .await;
    let list = table.failures("").await;
    assert_eq!((list["data"].as_array().unwrap().len(), &list["total"]["failed"]), (3, &json!(8)));

    // Only what was not dismissed is sent again. Each record is sent once for each of its messages.
    table.change_id("{number}").await;
    table.redrive(6).await;
    assert_eq!(entities(&receiver, 3).await, ["n2", "n3", "n4"]);

    table.change_id("{order_id}").await;
    let records: Vec<_> = (5..=7).map(|n| table.record(&tenant, n, &json!({"number": {"S": "late"}}))).collect();
    fanout.invoke(json!({"Records": records})).await;
    let all = format!("/sources/{}/failures", table.name);
    assert_eq!(table.dismiss(&all).await, json!({"dismissed": 3, "more": false, "reason": null}));
    assert_eq!(table.failures("").await, json!({"data": [], "total": null, "next_cursor": null}));
    assert_eq!(table.dismiss(&all).await, json!({"dismissed": 0, "more": false, "reason": null}));
    table.change_id("{number}").await;
    let (_, answer) = table.call(Method::POST, &format!("{all}/redrive"), None).await;
    assert_eq!(answer, json!({"redriven": 0, "more": false, "reason": null}));
}

/// The log of the api says what an operator has replaced, so that a mistake can be taken back at night.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_mapping_that_is_replaced_or_removed_is_known() {
    let stack = Stack::connect().await;
    let registry = Aws::connect().await.registry(stack.output("RegistryTable").to_owned());
    let table = Table { stack: &stack, name: unique("replaced") };
    let source = |id: &str| serde_json::from_value::<Source>(table.mapping(id)).unwrap();
    assert_eq!(registry.replace_source(&source("{wrong}")).await.unwrap(), None);
    registry.create_source(&source("{id}")).await.unwrap();
    let read = |before: Option<String>| serde_json::from_str::<Source>(&before.unwrap()).unwrap();
    assert_eq!(read(registry.replace_source(&source("{wrong}")).await.unwrap()), source("{id}"));
    assert_eq!(read(registry.remove_source(&table.name).await.unwrap()), source("{wrong}"));
    assert_eq!(registry.remove_source(&table.name).await.unwrap(), None);
}

/// A clock that goes on by a second whenever it is asked.
#[derive(Debug)]
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.fetch_add(1, Ordering::Relaxed)).unwrap()
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_flood_of_another_table_cannot_starve_a_table() {
    let stack = Stack::connect().await;
    let name = unique("flooded");
    let url = stack.sqs.create_queue().queue_name(&name).send().await.unwrap().queue_url.unwrap();
    let send = async |table: &str, number: u32| {
        let record = json!({"eventSourceARN": format!("arn:aws:dynamodb:us-east-1:0:table/{table}/stream/2026")});
        let id = FailureId::from_parts(Timestamp::UNIX_EPOCH, u128::from(number));
        let body = json!({"reason": "none", "table": table, "id": id, "failures": 1, "record": record}).to_string();
        stack.sqs.send_message().queue_url(&url).message_body(body).send().await.unwrap();
    };
    for number in 0..30 {
        send("another", number).await;
    }
    send(&name, 30).await;
    let aws = Aws::connect().await;
    let (queue, failures) = (aws.queue(url.clone()), aws.source_failures(stack.output("EventsTable").to_owned()));
    let clock = Ticking(AtomicI64::new(now().as_second() + 60));
    // Each call has time for about two receives, and sees other messages than those before it.
    let (mut calls, mut seen) = (0, 0);
    let dismissed = loop {
        let until = clock.now() + Duration::from_secs(5);
        let outcome = failures.dismiss(&queue, &name, None, until, &clock).await.unwrap();
        calls += 1;
        match outcome.more {
            Some(More::Late { others }) if outcome.dismissed == 0 => seen += others,
            _ => break outcome.dismissed,
        }
        assert!(seen <= 30, "a message that was seen is hidden from the next call");
    };
    assert_eq!(dismissed, 1);
    assert!(calls > 1, "the first call had no time for all messages");
    stack.sqs.delete_queue().queue_url(&url).send().await.unwrap();
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn failures_are_for_operators_and_of_known_tables() {
    let stack = Stack::connect().await;
    let table = Table { stack: &stack, name: unique("unknown") };
    let id = "/flr_01JD3V7Q5N8Z4T6W9X2Y1R0PMK";
    for (method, rest) in [
        (Method::GET, ""),
        (Method::POST, "/redrive"),
        (Method::DELETE, ""),
        (Method::DELETE, id),
        (Method::DELETE, "/flr_1"),
    ] {
        let path = format!("/sources/{}/failures{rest}", table.name);
        assert_eq!(table.call(method.clone(), &path, None).await.0, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(stack.tenant().call(method, &path, None).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    // Changes of a table that is not registered are failures too.
    let tenant = stack.tenant();
    let mut fanout = Function::start(&stack, "FanoutFunction", &[]).await;
    fanout.invoke(json!({"Records": [table.record(&tenant, 1, &json!({}))]})).await;
    let list = table.failures("").await;
    assert_eq!(list["data"][0]["reason"], format!("table {} is not registered as a source", table.name));
}
