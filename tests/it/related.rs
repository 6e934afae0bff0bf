//! Related items: fan-out queries the table of a source and keeps what it found.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use domain::delivery::message::{Body, Message};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Claims, Function, Receiver, Stack, Tenant, inserted, role, unique};

/// A table of threads and their comments, and its source.
struct Threads<'a> {
    stack: &'a Stack,
    name: String,
}

impl<'a> Threads<'a> {
    async fn register(stack: &'a Stack, name: &str) -> Self {
        let name = unique(name);
        let mut create = stack.dynamodb.create_table().table_name(&name).billing_mode(BillingMode::PayPerRequest);
        for (attribute, kind) in [("pk", KeyType::Hash), ("sk", KeyType::Range)] {
            let definition = AttributeDefinition::builder().attribute_name(attribute);
            let definition = definition.attribute_type(ScalarAttributeType::S).build().unwrap();
            let key = KeySchemaElement::builder().attribute_name(attribute).key_type(kind).build().unwrap();
            create = create.attribute_definitions(definition).key_schema(key);
        }
        create.send().await.unwrap();
        let threads = Self { stack, name };
        let query = json!({"query": {"pk": "{pk}", "sk": {"prefix": "COMMENT#"}}, "attributes": ["id", "content", "n"], "limit": 2});
        let comment = json!({
            "when": {"attribute": "sk", "prefix": "COMMENT#"}, "entity": "comment", "tenant": "{tenant}", "id": "{sk:COMMENT#}",
            "collection": "threads/{pk:THREAD#}/comments", "redact": ["pk", "sk", "secret"],
            "related": {"entityComments": query},
        });
        let source = json!({"table": threads.name, "entities": [comment]});
        let (status, answer) = threads.call(Method::POST, "/sources", Some(&source)).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        assert_eq!(answer, source);
        threads
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let token = Claims::new("", &["OPERATOR"]).with("tenant_id", Value::Null).rs256();
        let body = body.map(Value::to_string);
        self.stack.call(method, path, Some(&token), body.as_deref()).await
    }

    /// Writes a comment, and returns the record of it.
    async fn comment(&self, tenant: &Tenant, thread: &str, number: u32) -> Value {
        let texts = [
            ("pk", format!("THREAD#{thread}")),
            ("sk", format!("COMMENT#{number}")),
            ("id", format!("c{number}")),
            ("content", "Done?".to_owned()),
            ("secret", "hidden".to_owned()),
            ("tenant", tenant.name.clone()),
        ];
        let exact = "12345678901234567890.12";
        let mut item: HashMap<_, _> =
            texts.iter().map(|(name, text)| ((*name).to_owned(), AttributeValue::S(text.clone()))).collect();
        item.insert("n".to_owned(), AttributeValue::N(exact.to_owned()));
        self.stack.dynamodb.put_item().table_name(&self.name).set_item(Some(item)).send().await.unwrap();
        let mut image: serde_json::Map<_, _> =
            texts.iter().map(|(name, text)| ((*name).to_owned(), json!({"S": text}))).collect();
        image.insert("n".to_owned(), json!({"N": exact}));
        let keys = json!({"pk": image["pk"], "sk": image["sk"]});
        inserted(&self.name, number, &keys, &image.into())
    }

    async fn delete(&self) {
        self.stack.dynamodb.delete_table().table_name(&self.name).send().await.unwrap();
    }
}

/// Returns the bodies of the messages in a queue, sorted.
async fn bodies(stack: &Stack, queue: &str) -> Vec<String> {
    let mut all = Vec::new();
    let receive = || stack.sqs.receive_message().queue_url(queue).max_number_of_messages(10).send();
    while let Some(messages) = receive().await.unwrap().messages.filter(|messages| !messages.is_empty()) {
        for message in messages {
            let Some(Body::Inline(body)) = Message::from_json(&message.body.unwrap()).unwrap().body else {
                panic!("it fits into its message")
            };
            all.push(body);
        }
    }
    all.sort();
    all
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_batch_that_comes_twice_has_the_same_bytes_though_a_comment_was_written_in_between() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let threads = Threads::register(&stack, "threads").await;
    tenant.webhook("http://127.0.0.1:9/", json!({"sources": [threads.name], "event_types": ["comment.created"]})).await;
    let queue = stack.sqs.create_queue().queue_name(unique("related")).send().await.unwrap().queue_url.unwrap();
    let environment = [("DELIVERIES_QUEUE_URL", queue.as_str())];
    let first = json!({"Records": [threads.comment(&tenant, "t1", 1).await]});
    let mut fanout = Function::start(&stack, "FanoutFunction", &environment).await;
    assert_eq!(fanout.invoke(first.clone()).await, json!({"batchItemFailures": []}));
    let sent = bodies(&stack, &queue).await;
    let expected = r#""entityComments":[{"content":"Done?","id":"c1","n":12345678901234567890.12}]"#;
    assert!(sent.len() == 1 && sent[0].contains(expected), "{sent:?}");
    assert!(!sent[0].contains("hidden") && !sent[0].contains("entityCommentsMore"), "{sent:?}");

    let records = [threads.comment(&tenant, "t1", 2).await, threads.comment(&tenant, "t1", 3).await];
    threads.comment(&tenant, "t2", 4).await;
    // Two other execution environments, at the same time.
    let mut others = [
        Function::start(&stack, "FanoutFunction", &environment).await,
        Function::start(&stack, "FanoutFunction", &environment).await,
    ];
    for other in &others {
        other.send(first.clone()).await;
    }
    for other in &mut others {
        assert_eq!(other.response().await, json!({"batchItemFailures": []}));
    }
    assert_eq!(bodies(&stack, &queue).await, [sent[0].clone(), sent[0].clone()], "what was found first is kept");

    assert_eq!(fanout.invoke(json!({"Records": records})).await, json!({"batchItemFailures": []}));
    let sent = bodies(&stack, &queue).await;
    assert_eq!(sent.len(), 2);
    for body in sent {
        let body: Value = serde_json::from_str(&body).unwrap();
        let ids: Vec<_> = body["entityComments"].as_array().unwrap().iter().map(|comment| &comment["id"]).collect();
        assert_eq!(json!({"ids": ids, "more": body["entityCommentsMore"]}), json!({"ids": ["c1", "c2"], "more": true}));
    }
    stack.sqs.delete_queue().queue_url(&queue).send().await.unwrap();
    threads.delete().await;
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_query_that_is_not_allowed_is_a_failure_that_says_which_permission_is_missing() {
    let stack = Stack::connect().await;
    let (tenant, receiver) = (stack.tenant(), Receiver::accepting().await);
    let threads = Threads::register(&stack, "private").await;
    tenant.webhook(&receiver.url, json!({"sources": [threads.name]})).await;
    let batch = json!({"Records": [threads.comment(&tenant, "t1", 1).await]});
    let credentials = role("OnPurposeFanout");
    let credentials: Vec<_> = credentials.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut fanout = Function::start(&stack, "FanoutFunction", &credentials).await;
    assert_eq!(fanout.invoke(batch).await, json!({"batchItemFailures": []}), "the shard goes on");
    let (_, list) = threads.call(Method::GET, &format!("/sources/{}/failures", threads.name), None).await;
    let expected = format!(
        "fan-out may not query table {} for `entityComments`: it lacks the permission dynamodb:Query; name the table in the \
         parameter RelatedTables of the main stack, and its key, if it has one, in SourceKeyArns",
        threads.name
    );
    assert_eq!(list["data"][0]["reason"], expected, "{list}");
    assert!(receiver.received().is_empty());
    threads.delete().await;
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_throttled_query_returns_the_batch_to_the_stream() {
    let stack = Stack::connect().await;
    let (tenant, receiver) = (stack.tenant(), Receiver::accepting().await);
    let threads = Threads::register(&stack, "threads").await;
    tenant.webhook(&receiver.url, json!({"sources": [threads.name], "event_types": ["comment.created"]})).await;
    let batch = json!({"Records": [threads.comment(&tenant, "t1", 1).await]});
    // The SDK tries three times.
    let fault = json!({"kind": "throttle", "resource": threads.name, "action": "dynamodb:Query", "calls": 3});
    let asked = stack.to(Method::POST, "/_gate/faults").json(&fault);
    assert!(asked.send().await.unwrap().status().is_success());
    let mut fanout = Function::start(&stack, "FanoutFunction", &[]).await;
    let answer = fanout.try_invoke(batch.clone()).await;
    assert!(answer != Ok(json!({"batchItemFailures": []})), "{answer:?}");
    assert_eq!(fanout.invoke(batch).await, json!({"batchItemFailures": []}));
    let request = receiver.wait_for(1).await[0].json();
    assert_eq!(request["entityComments"][0]["id"], "c1", "{request}");
    let (_, list) = threads.call(Method::GET, &format!("/sources/{}/failures", threads.name), None).await;
    assert_eq!(list["data"], json!([]), "nothing failed");
    threads.delete().await;
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn records_before_a_throttled_query_are_done_and_equal_queries_are_made_once() {
    let stack = Stack::connect().await;
    let (tenant, receiver) = (stack.tenant(), Receiver::accepting().await);
    let threads = Threads::register(&stack, "threads").await;
    tenant.webhook(&receiver.url, json!({"sources": [threads.name], "event_types": ["comment.created"]})).await;
    let mut first = threads.comment(&tenant, "t1", 1).await;
    // Without its tenant it becomes no event, and needs no query.
    first["dynamodb"]["NewImage"].as_object_mut().unwrap().remove("tenant");
    let records = [first, threads.comment(&tenant, "t1", 2).await, threads.comment(&tenant, "t1", 3).await];
    // The SDK tries three times. Two queries at the same time would take two tries each, and both succeed.
    let fault = json!({"kind": "throttle", "resource": threads.name, "action": "dynamodb:Query", "calls": 3});
    let asked = stack.to(Method::POST, "/_gate/faults").json(&fault);
    assert!(asked.send().await.unwrap().status().is_success());
    let mut fanout = Function::start(&stack, "FanoutFunction", &[]).await;
    let expected = json!({"batchItemFailures": [{"itemIdentifier": "2"}]});
    assert_eq!(fanout.invoke(json!({"Records": records})).await, expected);
    let (_, list) = threads.call(Method::GET, &format!("/sources/{}/failures", threads.name), None).await;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1), "the first record is done: {list}");
    assert!(receiver.received().is_empty());

    let rest = json!({"Records": &records[1..]});
    assert_eq!(fanout.invoke(rest).await, json!({"batchItemFailures": []}));
    for request in receiver.wait_for(2).await {
        let ids: Vec<_> =
            request.json()["entityComments"].as_array().unwrap().iter().map(|comment| comment["id"].clone()).collect();
        assert_eq!(ids, ["c1", "c2"]);
    }
    threads.delete().await;
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_preview_says_what_would_be_queried() {
    let stack = Stack::connect().await;
    let threads = Threads::register(&stack, "threads").await;
    let items = json!({"items": [{"item": {"tenant": "acme", "pk": "THREAD#t1", "sk": "COMMENT#1"}}, {"item": {"tenant": "acme", "sk": "COMMENT#1"}}]});
    let path = format!("/sources/{}/preview", threads.name);
    let (status, answer) = threads.call(Method::POST, &path, Some(&items)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let event = &answer["data"][0]["created"]["events"][0];
    let expected = json!([{
        "name": "entityComments", "index": null, "partition": {"attribute": "pk", "value": "THREAD#t1"},
        "sort": {"attribute": "sk", "value": "COMMENT#"}, "limit": 2,
    }]);
    assert_eq!((&event["related"], &event["related_queries"]), (&json!({"entityComments": []}), &expected));
    assert_eq!(answer["data"][1]["created"]["fails"], true);
    // All faults at once, each at its field.
    let wrong = json!({"table": threads.name, "entities": [{"entity": "comment", "tenant": "acme", "id": "{sk}", "collection": "comments",
        "related": {"a": {"query": {"pk": {"prefix": "x"}}, "limit": 0}, "data": {"query": {"pk": "x"}, "index": "!"}}}]});
    let (status, problem) = threads.call(Method::PUT, &format!("/sources/{}", threads.name), Some(&wrong)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    let mut pointers: Vec<_> =
        problem["errors"].as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    pointers.sort_unstable();
    let expected = ["a/limit", "a/query", "data", "data/index"].map(|rest| format!("#/entities/0/related/{rest}"));
    assert_eq!(pointers, expected);
    threads.delete().await;
}
