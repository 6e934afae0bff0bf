//! The api function alone: what its routes cost, and its limits. Requests are those of API Gateway, to the letter.

use aws::Keyring;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::delivery::job::MAX_ACTIVE;
use domain::signing::secret::WebhookSecret;
use domain::signing::signature::SignatureScheme;
use jiff::Timestamp;
use reqwest::Method;
use rstest::rstest;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::{Function, Proxy, Stack, keep, path, unique};

/// The api function with a tenant of its own.
struct Api {
    function: Function,
    tenant: String,
    idempotency_key: Option<String>,
    /// What the authorizer says instead of what it says of an admin.
    context: Value,
}

impl Api {
    async fn start(stack: &Stack, environment: &[(&str, &str)]) -> Self {
        Self {
            function: Function::start(stack, "ApiFunction", environment).await,
            tenant: unique("tenant"),
            idempotency_key: None,
            context: json!({}),
        }
    }

    /// Returns the key of the caller's claims: of tenant, application and subject, each after its length.
    fn claims(&self) -> String {
        let mut hash = Sha256::new();
        for part in [self.tenant.as_str(), "", "anna"] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        format!("I#{}", hex::encode(hash.finalize()))
    }

    /// Sends a request as API Gateway does; returns the status, the headers and the body.
    async fn call(&mut self, method: Method, path: &str, body: &Value) -> (u64, Value, Value) {
        let mut event: Value = serde_json::from_str(include_str!("../fixtures/api-v2.json")).unwrap();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let path = format!("/api/v1/integration{path}");
        event["requestContext"]["authorizer"]["lambda"]["tenant"] = json!(self.tenant);
        let context = event["requestContext"]["authorizer"]["lambda"].as_object_mut().unwrap();
        context.extend(self.context.as_object().unwrap().clone());
        context.retain(|_, value| !value.is_null());
        event["requestContext"]["http"]["method"] = json!(method.as_str());
        event["requestContext"]["http"]["path"] = json!(path);
        event["rawPath"] = json!(path);
        event["rawQueryString"] = json!(query);
        event["body"] = json!(body.to_string());
        if let Some(key) = &self.idempotency_key {
            event["headers"]["idempotency-key"] = json!(key);
        }
        let answer = self.function.invoke(event).await;
        keep(method.as_str(), &path, &answer["headers"].to_string(), answer["body"].as_str().unwrap_or_default());
        let body = serde_json::from_str(answer["body"].as_str().unwrap_or_default()).unwrap_or(Value::Null);
        (answer["statusCode"].as_u64().unwrap(), answer["headers"].clone(), body)
    }
}

/// Says that the webhook signs with these secrets, the newest last, and that each of them is found.
async fn assert_signs(stack: &Stack, api: &Api, id: &str, secrets: &[String]) {
    let registry = stack.aws.registry(stack.output("RegistryTable").to_owned());
    let record = registry.webhook(&api.tenant.parse().unwrap(), id.parse().unwrap()).await.unwrap().unwrap();
    let keyring = Keyring::new(stack.aws.secrets(), stack.output("FingerprintKeyArn").to_owned());
    let found = keyring.secrets(&record.webhook, tests::now()).await.unwrap();
    let expected: Vec<_> = secrets.iter().rev().take(2).map(|text| WebhookSecret::parse(text).unwrap()).collect();
    // Secrets cannot be compared, and what they sign can.
    let signed = |secrets: &[&WebhookSecret]| {
        tests::signed(SignatureScheme::StandardWebhooks, secrets, "msg_1", Timestamp::UNIX_EPOCH, b"{}")
    };
    let found: Vec<_> = found.iter().map(AsRef::as_ref).collect();
    assert_eq!(signed(&found), signed(&expected.iter().collect::<Vec<_>>()));
}

/// The second secret is a key pair of its own, which a webhook may have had. The last call finds out whether another
/// request has restored the webhook in the meantime.
const DELETED: &[&str] =
    &["BatchGetItem", "BatchGetItem", "TransactWriteItems", "DeleteSecret", "DeleteSecret", "BatchGetItem"];

/// The last two are for secrets that another request has deleted in the meantime.
const RESTORED: &[&str] = &[
    "BatchGetItem",
    "BatchGetItem",
    "RestoreSecret",
    "BatchGetItem",
    "TransactWriteItems",
    "RestoreSecret",
    "BatchGetItem",
];

fn webhook() -> Value {
    json!({"name": "n", "url": "https://example.com/", "event_types": ["a.b"]})
}

/// Returns whether a request was counted. Its first call raises the counter of the tenant's requests, unless such a call
/// has taken too long in the last second, as one may on a busy machine. The others are `calls`.
fn is_counted(made: &[String], calls: &[&str], route: &str) -> bool {
    if made == calls {
        return false;
    }
    let counted: Vec<_> = ["UpdateItem"].iter().chain(calls).copied().collect();
    assert_eq!(made, counted, "{route}");
    true
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn every_route_makes_as_few_calls_as_there_can_be() {
    let stack = Stack::connect().await;
    let proxy = Proxy::start().await;
    let mut api = Api::start(&stack, &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    // The fingerprint key is read once in the life of a process, and what the tenant uses once a minute.
    let (status, _, first) = api.call(Method::POST, "/webhooks", &webhook()).await;
    assert_eq!(status, 201, "{first}");
    let _ = proxy.calls();
    let path = |rest: &str| format!("/webhooks/{}{rest}", first["id"].as_str().unwrap());
    let channel = json!({"channel": {"type": "slack", "url": "https://example.com/"}});
    let (status, _, notice) = api.call(Method::POST, "/notices", &channel).await;
    assert_eq!(status, 201, "{notice}");
    // The rates of requests and of new notices.
    assert_eq!(proxy.calls(), ["UpdateItem", "UpdateItem", "BatchGetItem", "TransactWriteItems"]);
    let notice = format!("/notices/{}", notice["id"].as_str().unwrap());
    let write: &[&str] = &["BatchGetItem", "BatchGetItem", "TransactWriteItems"];
    let lanes: &[&str] = &["Query"; 4];
    let mut uncounted = 0;
    for (method, path, body, calls) in [
        (
            Method::POST,
            "/webhooks".to_owned(),
            webhook(),
            // The last two for the names that it wants: sources, and the catalog of types.
            &["UpdateItem", "CreateSecret", "BatchGetItem", "TransactWriteItems", "Query", "Query"][..],
        ),
        (Method::GET, path(""), json!({}), &["BatchGetItem"]),
        // One call for the webhooks, one for their statistics and breakers.
        (Method::GET, "/webhooks".to_owned(), json!({}), &["Query", "BatchGetItem"]),
        (Method::PATCH, path(""), json!({"name": "m"}), write),
        // One for each lane of parked deliveries, which only a webhook has that may have some.
        (Method::POST, path("/pause"), json!({}), &[write, lanes].concat()),
        (Method::POST, path("/pause"), json!({}), &["BatchGetItem", "Query", "Query", "Query", "Query"]),
        // One for the sources, one for the example in the catalog.
        (Method::POST, "/webhooks/preview".to_owned(), json!({"webhook": webhook()}), &["Query", "GetItem"]),
        (Method::POST, path("/preview"), json!({}), &["BatchGetItem", "Query", "GetItem"]),
        (Method::POST, path("/preview"), json!({"properties": {}}), &["BatchGetItem", "Query"]),
        (
            Method::POST,
            path("/secret/rotate"),
            json!({}),
            &[
                "BatchGetItem",
                "UpdateItem",
                "DescribeSecret",
                "PutSecretValue",
                "BatchGetItem",
                "BatchGetItem",
                "TransactWriteItems",
                "UpdateSecretVersionStage",
                "Query",
                "Query",
                "Query",
                "Query",
            ],
        ),
        // The webhook; its lanes of parked, waiting and dead deliveries; its partitions.
        (Method::GET, path("/statistics"), json!({}), &[&["BatchGetItem"][..], &["Query"; 4 + 4 + 4 + 8]].concat()),
        // The tenant's webhooks with their statistics, and the hours of its percentiles, at the same time.
        (Method::GET, "/statistics".to_owned(), json!({}), &["Query", "Query", "BatchGetItem"]),
        // The tenant's webhooks, and the partitions of each of the two.
        (Method::GET, "/deliveries".to_owned(), json!({}), &["Query"; 1 + 2 * 8]),
        // The tenant's webhooks, the replays, the rows, and the event: as a row, and in the packs of eight shards.
        (
            Method::GET,
            "/deliveries?event_id=evt_01JD3V7Q5N8Z4T6W9X2Y1R0PMK".to_owned(),
            json!({}),
            &[&["Query", "Query", "BatchGetItem", "GetItem"][..], &["Query"; 8]].concat(),
        ),
        (Method::POST, path("/explain"), json!({"sample": {}}), &["BatchGetItem", "Query", "GetItem"]),
        // One for the schemas of the types, one to count.
        (
            Method::POST,
            "/events".to_owned(),
            json!({"event_type": "a.b", "data": {}}),
            &["BatchGetItem", "UpdateItem", "BatchWriteItem"],
        ),
        (
            Method::POST,
            "/events".to_owned(),
            json!({"event_type": "a.b", "data": {}, "id": "1"}),
            // And one to see whether it was published before.
            &["BatchGetItem", "BatchGetItem", "UpdateItem", "TransactWriteItems"],
        ),
        (Method::GET, "/notices".to_owned(), json!({}), &["Query", "BatchGetItem"]),
        (Method::GET, notice.clone(), json!({}), &["BatchGetItem"]),
        (Method::PATCH, notice.clone(), json!({"name": "m"}), write),
        (Method::DELETE, notice, json!({}), write),
        // The last query is for the types that tables make.
        (Method::PUT, "/event-types/a.b".to_owned(), json!({}), &["UpdateItem", "TransactWriteItems", "Query"]),
        (Method::PUT, "/event-types/a.b".to_owned(), json!({}), &["UpdateItem", "Query"]),
        (Method::GET, "/event-types/a.b".to_owned(), json!({}), &["GetItem", "Query"]),
        (Method::GET, "/event-types".to_owned(), json!({}), &["Query", "Query"]),
        (Method::GET, "/entities".to_owned(), json!({}), &["Query"]),
        // One for each outcome.
        (Method::GET, path("/calls"), json!({}), &["BatchGetItem", "Query", "Query", "Query"]),
        (Method::DELETE, "/event-types/a.b".to_owned(), json!({}), &["TransactWriteItems"]),
        (Method::DELETE, path(""), json!({}), DELETED),
        (Method::POST, path("/restore"), json!({}), &[RESTORED, lanes].concat()),
    ] {
        let (status, _, answer) = api.call(method.clone(), &path, &body).await;
        assert!(status < 300, "{method} {path}: {answer}");
        uncounted += usize::from(!is_counted(&proxy.calls(), calls, &format!("{method} {path}")));
    }
    assert!(uncounted < 10, "{uncounted} requests were not counted");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn portal_links_make_as_few_calls_as_there_can_be() {
    let stack = Stack::connect().await;
    let proxy = Proxy::start().await;
    let mut api = Api::start(&stack, &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    let (_, _, webhook) = api.call(Method::POST, "/webhooks", &webhook()).await;
    let (status, _, link) = api.call(Method::POST, "/portal-links", &json!({})).await;
    assert_eq!(status, 201, "{link}");
    let id = link["id"].as_str().unwrap();
    let links = "/portal-links";
    // The link itself reads its row, and so does each of its writes.
    let of_link = json!({"subject": id, "api_key": id.replace("lnk_", "key_")});
    let write: &[&str] = &["GetItem", "BatchGetItem", "BatchGetItem", "TransactWriteItems"];
    for (context, method, path, calls) in [
        // The first call counts the tenant's links of the day.
        (json!({}), Method::POST, links.to_owned(), &["UpdateItem", "TransactWriteItems"][..]),
        (json!({}), Method::GET, links.to_owned(), &["Query"]),
        (json!({}), Method::GET, format!("{links}/{id}"), &["GetItem"]),
        (of_link.clone(), Method::GET, format!("{links}/current"), &["GetItem"]),
        (of_link, Method::PATCH, path(&webhook, ""), write),
        (json!({}), Method::DELETE, format!("{links}/{id}"), &["GetItem", "TransactWriteItems"]),
    ] {
        let _ = proxy.calls();
        api.context = context;
        let body = if method == Method::PATCH { json!({"name": "m"}) } else { json!({}) };
        let (status, _, answer) = api.call(method.clone(), &path, &body).await;
        assert!(status < 300, "{method} {path}: {answer}");
        let expected: Vec<_> = ["UpdateItem"].iter().chain(calls).copied().collect();
        assert_eq!(proxy.calls(), expected, "{method} {path}");
    }
}

/// Makes the api's one claim of an idempotency key so old that another try may take over.
async fn half_a_minute_later(stack: &Stack, api: &Api) {
    let table = stack.output("RegistryTable");
    let query = stack.dynamodb.query().table_name(table).key_condition_expression("pk = :pk");
    let claims = query.expression_attribute_values(":pk", AttributeValue::S(api.claims())).send().await.unwrap();
    assert_eq!(claims.items().len(), 1);
    for claim in claims.items() {
        let key = ["pk", "sk"].map(|name| (name.to_owned(), claim[name].clone()));
        let update = stack.dynamodb.update_item().table_name(table).set_key(Some(key.into()));
        let update = update.update_expression("SET claimed_at = claimed_at - :t");
        update.expression_attribute_values(":t", AttributeValue::N("31000".to_owned())).send().await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_publication_that_died_before_its_answer_publishes_the_same_events() {
    let stack = Stack::connect().await;
    let proxy = Proxy::refusing("UpdateItem").await;
    let mut dying = Api::start(&stack, &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    dying.idempotency_key = Some("k".to_owned());
    let body = json!([{"event_type": "a.b", "data": {}}, {"event_type": "a.b", "data": {}, "id": "1"}]);
    let (status, _, lost) = dying.call(Method::POST, "/events", &body).await;
    assert_eq!(status, 207, "{lost}");
    let mut api = Api { function: Function::start(&stack, "ApiFunction", &[]).await, ..dying };
    half_a_minute_later(&stack, &api).await;
    let (status, _, found) = api.call(Method::POST, "/events", &body).await;
    assert_eq!((status, &found), (207, &lost), "the same, and no duplicates");
    api.idempotency_key = None;
    let (_, _, all) = api.call(Method::GET, "/events", &json!({})).await;
    assert_eq!(all["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_job_that_died_before_its_answer_is_found_again_though_no_other_had_room() {
    let stack = Stack::connect().await;
    let mut api = Api::start(&stack, &[]).await;
    let (_, _, webhook) = api.call(Method::POST, "/webhooks", &webhook()).await;
    // Paused, so that they do not end meanwhile.
    api.call(Method::POST, &path(&webhook, "/pause"), &json!({})).await;
    let (replay, body) = (path(&webhook, "/replay"), json!({"from": "2026-01-01T00:00:00Z"}));
    for _ in 1..MAX_ACTIVE {
        assert_eq!(api.call(Method::POST, &replay, &body).await.0, 202);
    }
    let proxy = Proxy::refusing("UpdateItem").await;
    let function = Function::start(&stack, "ApiFunction", &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    let mut dying = Api { function, idempotency_key: Some("k".to_owned()), ..api };
    let (status, _, lost) = dying.call(Method::POST, &replay, &body).await;
    assert_eq!(status, 202, "{lost}");
    let mut api = Api { function: Function::start(&stack, "ApiFunction", &[]).await, ..dying };
    half_a_minute_later(&stack, &api).await;
    let (status, _, found) = api.call(Method::POST, &replay, &body).await;
    assert_eq!((status, &found["id"]), (202, &lost["id"]), "{found}");
    api.idempotency_key = None;
    assert_eq!(api.call(Method::POST, &replay, &body).await.0, 409);
    let (_, _, jobs) = api.call(Method::GET, "/jobs?state=running", &json!({})).await;
    for job in jobs["data"].as_array().unwrap() {
        let cancel = format!("/jobs/{}/cancel", job["id"].as_str().unwrap());
        assert_eq!(api.call(Method::POST, &cancel, &json!({})).await.0, 200);
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_create_that_died_before_its_answer_is_finished_by_the_next_try() {
    let stack = Stack::connect().await;
    // It does everything except keeping its answer, which is lost.
    let proxy = Proxy::refusing("UpdateItem").await;
    let mut dying = Api::start(&stack, &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    dying.idempotency_key = Some("k".to_owned());
    let (_, _, lost) = dying.call(Method::POST, "/webhooks", &webhook()).await;
    let mut api = Api { function: Function::start(&stack, "ApiFunction", &[]).await, ..dying };
    let (status, _, problem) = api.call(Method::POST, "/webhooks", &webhook()).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:dynahook:problem:key-in-use")));

    half_a_minute_later(&stack, &api).await;
    let (status, headers, found) = api.call(Method::POST, "/webhooks", &webhook()).await;
    assert_eq!((status, &found["id"], &headers["etag"]), (201, &lost["id"], &json!("\"2\"")), "{found}");
    assert!(found["secret"].is_string() && found["secret"] != lost["secret"], "a secret that was shown");
    assert_ne!(found["secret_fingerprint"], lost["secret_fingerprint"]);
    let (_, headers, again) = api.call(Method::POST, "/webhooks", &webhook()).await;
    assert_eq!((&again["id"], &headers["idempotent-replayed"]), (&lost["id"], &json!("true")));
    api.idempotency_key = None;
    let (_, _, all) = api.call(Method::GET, "/webhooks", &json!({})).await;
    assert_eq!(all["data"].as_array().unwrap().len(), 1);
}

#[rstest]
// What the first try left must harm neither the second nor the third.
#[case::first_before_the_webhook_names_it(0, "TransactWriteItems", 2)]
#[case::first_when_the_webhook_names_it(0, "UpdateSecretVersionStage", 1)]
#[case::second_before_the_webhook_names_it(1, "TransactWriteItems", 2)]
#[case::second_when_the_webhook_names_it(1, "UpdateSecretVersionStage", 1)]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_rotation_that_died_half_way_loses_no_secret(
    #[case] before: usize,
    #[case] refused: &'static str,
    #[case] deaths: usize,
) {
    let stack = Stack::connect().await;
    let mut api = Api::start(&stack, &[]).await;
    let (_, _, created) = api.call(Method::POST, "/webhooks", &webhook()).await;
    let id = created["id"].as_str().unwrap();
    let rotate = format!("/webhooks/{id}/secret/rotate");
    let secret = |answer: &Value| answer["secret"].as_str().unwrap().to_owned();
    let mut secrets = vec![secret(&created)];
    for _ in 0..before {
        secrets.push(secret(&api.call(Method::POST, &rotate, &json!({})).await.2));
    }
    let proxy = Proxy::refusing(refused).await;
    let function = Function::start(&stack, "ApiFunction", &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    let mut dying = Api { function, tenant: api.tenant.clone(), idempotency_key: None, context: json!({}) };
    for _ in 0..deaths {
        let (status, _, answer) = dying.call(Method::POST, &rotate, &json!({})).await;
        // Once the webhook names it, it is the secret, and must be shown.
        assert_eq!(status, if refused == "TransactWriteItems" { 503 } else { 200 }, "{answer}");
        secrets.extend((status == 200).then(|| secret(&answer)));
        assert_signs(&stack, &api, id, &secrets).await;
    }
    for _ in 0..2 {
        secrets.push(secret(&api.call(Method::POST, &rotate, &json!({})).await.2));
        assert_signs(&stack, &api, id, &secrets).await;
    }
}

/// The answer was lost. The receiver has the secret before it, which must not be lost with the one that was never
/// shown.
#[rstest]
#[case::generated(json!({}))]
#[case::given(json!({"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}))]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_rotation_that_died_before_its_answer_is_finished_by_the_next_try(#[case] body: Value) {
    let stack = Stack::connect().await;
    let mut api = Api::start(&stack, &[]).await;
    let (_, _, created) = api.call(Method::POST, "/webhooks", &webhook()).await;
    let id = created["id"].as_str().unwrap();
    let rotate = format!("/webhooks/{id}/secret/rotate");
    let proxy = Proxy::refusing("UpdateItem").await;
    let function = Function::start(&stack, "ApiFunction", &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    let key = Some("k".to_owned());
    let mut dying = Api { function, tenant: api.tenant.clone(), idempotency_key: key.clone(), context: json!({}) };
    assert_eq!(dying.call(Method::POST, &rotate, &body).await.0, 200);
    half_a_minute_later(&stack, &api).await;
    api.idempotency_key = key;
    let (status, _, shown) = api.call(Method::POST, &rotate, &body).await;
    assert_eq!(status, 200, "{shown}");
    let secrets = [&created, &shown].map(|answer| answer["secret"].as_str().unwrap().to_owned());
    assert_signs(&stack, &api, id, &secrets).await;
    // The next rotation finds everything in order.
    api.idempotency_key = None;
    let (_, _, next) = api.call(Method::POST, &rotate, &json!({})).await;
    let secrets = [&shown, &next].map(|answer| answer["secret"].as_str().unwrap().to_owned());
    assert_signs(&stack, &api, id, &secrets).await;
}

/// Says that the webhook names an authorization whose secret is that text, and that it is found.
async fn assert_authorized(stack: &Stack, api: &Api, id: &str, token: &str) {
    let registry = stack.aws.registry(stack.output("RegistryTable").to_owned());
    let record = registry.webhook(&api.tenant.parse().unwrap(), id.parse().unwrap()).await.unwrap().unwrap();
    let keyring = Keyring::new(stack.aws.secrets(), stack.output("FingerprintKeyArn").to_owned());
    let found = keyring.authorizing(&record.webhook.authorization.unwrap()).await.unwrap();
    assert_eq!(found.to_text().expose_secret(), token);
}

#[rstest]
#[case::first_before_it_is_named(false, "TransactWriteItems")]
#[case::first_when_it_is_named(false, "UpdateSecretVersionStage")]
#[case::second_before_it_is_named(true, "TransactWriteItems")]
#[case::second_when_it_is_named(true, "UpdateSecretVersionStage")]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_authorization_that_died_half_way_loses_no_secret(#[case] before: bool, #[case] refused: &'static str) {
    let stack = Stack::connect().await;
    let mut api = Api::start(&stack, &[]).await;
    let (_, _, created) = api.call(Method::POST, "/webhooks", &webhook()).await;
    let id = created["id"].as_str().unwrap();
    let path = format!("/webhooks/{id}/authorization");
    let bearer = |token: &str| json!({"type": "bearer", "token": token});
    if before {
        assert_eq!(api.call(Method::PUT, &path, &bearer("before")).await.0, 200);
    }
    let proxy = Proxy::refusing(refused).await;
    let function = Function::start(&stack, "ApiFunction", &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    let mut dying = Api { function, tenant: api.tenant.clone(), idempotency_key: None, context: json!({}) };
    let mut named = before.then_some("before");
    for token in ["one", "other"] {
        let (status, _, answer) = dying.call(Method::PUT, &path, &bearer(token)).await;
        // What was named and not promoted is promoted before another takes its place; that is refused too.
        let fails = refused == "TransactWriteItems" || (before && token == "other");
        assert_eq!(status, if fails { 503 } else { 200 }, "{answer}");
        if !fails {
            named = Some(token);
        }
        let (status, _, _) = api.call(Method::GET, &path, &json!({})).await;
        assert_eq!(status, if named.is_some() { 200 } else { 404 });
        if let Some(token) = named {
            assert_authorized(&stack, &api, id, token).await;
        }
    }
    for token in ["after", "other", "after"] {
        assert_eq!(api.call(Method::PUT, &path, &bearer(token)).await.0, 200);
        assert_authorized(&stack, &api, id, token).await;
    }
    // What was removed, or removed by a request that died before it deleted the secret, can be set again.
    assert_eq!(api.call(Method::DELETE, &path, &json!({})).await.0, 204);
    assert_eq!(api.call(Method::PUT, &path, &bearer("again")).await.0, 200);
    assert_authorized(&stack, &api, id, "again").await;
    let proxy = Proxy::refusing("DeleteSecret").await;
    let function = Function::start(&stack, "ApiFunction", &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    let mut dying = Api { function, tenant: api.tenant.clone(), idempotency_key: None, context: json!({}) };
    assert_eq!(dying.call(Method::DELETE, &path, &json!({})).await.0, 503);
    assert_eq!(api.call(Method::DELETE, &path, &json!({})).await.0, 404, "and the secret is deleted now");
    assert_eq!(api.call(Method::PUT, &path, &bearer("again")).await.0, 200);
    assert_authorized(&stack, &api, id, "again").await;
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_secret_may_come_back() {
    let stack = Stack::connect().await;
    let mut api = Api::start(&stack, &[]).await;
    let (_, _, created) = api.call(Method::POST, "/webhooks", &webhook()).await;
    let id = created["id"].as_str().unwrap();
    let mut secrets = vec![created["secret"].as_str().unwrap().to_owned()];
    let [one, other] = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"];
    for secret in [one, other, one, one, other] {
        let body = json!({"secret": secret});
        let (status, _, answer) = api.call(Method::POST, &format!("/webhooks/{id}/secret/rotate"), &body).await;
        assert_eq!(status, 200, "{answer}");
        // The current secret again changes nothing.
        if secrets.last().is_none_or(|current| current != secret) {
            secrets.push(secret.to_owned());
        }
        assert_signs(&stack, &api, id, &secrets).await;
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_webhook_whose_secret_is_gone_for_good_comes_back_with_a_new_one() {
    let stack = Stack::connect().await;
    let mut api = Api::start(&stack, &[]).await;
    let (_, _, created) = api.call(Method::POST, "/webhooks", &webhook()).await;
    let id = created["id"].as_str().unwrap();
    assert_eq!(api.call(Method::DELETE, &format!("/webhooks/{id}"), &json!({})).await.0, 204);
    let secrets = aws_sdk_secretsmanager::Client::new(&aws_config::load_from_env().await);
    let vault_path = created["vault_path"].as_str().unwrap();
    secrets.delete_secret().secret_id(vault_path).force_delete_without_recovery(true).send().await.unwrap();
    // The emulator knows seconds: what is made from the next one on is newer than the deletion.
    let deleted_at = tests::now().as_second();
    tests::eventually("the next second", async || (tests::now().as_second() > deleted_at).then_some(())).await;

    let restore = format!("/webhooks/{id}/restore");
    let proxy = Proxy::refusing("TransactWriteItems").await;
    let function = Function::start(&stack, "ApiFunction", &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    let mut dying = Api { function, tenant: api.tenant.clone(), idempotency_key: None, context: json!({}) };
    assert_eq!(dying.call(Method::POST, &restore, &json!({})).await.0, 503, "after it made a secret");
    let (status, _, restored) = api.call(Method::POST, &restore, &json!({})).await;
    assert_eq!((status, &restored["is_deleted"]), (201, &json!(false)), "{restored}");
    assert_signs(&stack, &api, id, &[restored["secret"].as_str().unwrap().to_owned()]).await;
    let (status, _, again) = api.call(Method::POST, &restore, &json!({})).await;
    assert_eq!((status, &again["secret"]), (200, &Value::Null));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_tenant_has_as_many_webhooks_as_it_may() {
    let stack = Stack::connect().await;
    let mut api = Api::start(&stack, &[("BUDGETS", "webhooks=2")]).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (status, _, webhook) = api.call(Method::POST, "/webhooks", &webhook()).await;
        assert_eq!(status, 201, "{webhook}");
        ids.push(webhook["id"].as_str().unwrap().to_owned());
    }
    let (status, _, problem) = api.call(Method::POST, "/webhooks", &webhook()).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:dynahook:problem:limit-reached")));
    // A deleted one makes room, and cannot come back to a full house.
    assert_eq!(api.call(Method::DELETE, &format!("/webhooks/{}", ids[0]), &json!({})).await.0, 204);
    assert_eq!(api.call(Method::POST, "/webhooks", &webhook()).await.0, 201);
    let (status, _, problem) = api.call(Method::POST, &format!("/webhooks/{}/restore", ids[0]), &json!({})).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:dynahook:problem:limit-reached")));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn the_contract_is_shown_to_everybody() {
    let stack = Stack::connect().await;
    let get = async |path: &str| stack.to(Method::GET, path).send().await.unwrap();
    let contract: Value = get("/openapi.json").await.json().await.unwrap();
    let written: Value = serde_json::from_str(include_str!("../../infra/openapi.json")).unwrap();
    assert_eq!(contract, written);
    let page = get("/docs").await.text().await.unwrap();
    let files = ["vendor/swagger-ui.css", "vendor/swagger-ui-bundle.js", "reference.js"];
    for (file, kind) in files.into_iter().zip(["text/css", "text/javascript", "text/javascript"]) {
        assert!(page.contains(&format!("\"console/{file}?v=")), "{page}");
        let answer = get(&format!("/console/{file}")).await;
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with(kind), "{file}");
        assert!(answer.text().await.unwrap().len() > 100, "{file}");
    }
}
