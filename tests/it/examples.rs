//! The examples of the contract succeed when they are sent as they are, which is what `/docs` does.

use std::collections::{BTreeMap, BTreeSet};

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use tests::{Claims, Stack, ask, eventually, unique};

/// The operations with a body, in an order in which each finds what it needs.
const ORDER: [&str; 28] = [
    "sources.create",
    "sources.put",
    "sources.preview",
    "tenants.put_budgets",
    "api_keys.create",
    "event_types.put",
    "events.publish",
    "webhooks.publish_about",
    "webhooks.preview",
    "webhooks.create",
    "webhooks.preview_saved",
    "webhooks.explain",
    "webhooks.dry_run",
    "webhooks.test",
    "webhooks.recover",
    "webhooks.replay",
    "dead_letters.redrive",
    "webhooks.put_authorization",
    "webhooks.patch",
    "webhooks.put",
    "webhooks.rotate",
    "webhooks.rotate_signing_key",
    "signing_keys.rotate",
    "inbound.call",
    "notices.create",
    "notices.patch",
    "notices.confirm",
    "portal_links.create",
];

/// Further operations whose responses have examples.
const READ: [&str; 5] = ["webhooks.get", "webhooks.list", "statistics.get", "deliveries.list", "deliveries.get"];

/// Fields whose own names depend on data.
const FREE: [&str; 6] = ["filter", "headers", "properties", "request_headers", "timing", "value"];

/// Returns where the names in a response differ from those in its example. A list is compared by its first entry.
fn differences(example: &Value, answer: &Value, at: &str) -> Vec<String> {
    match (example, answer) {
        (Value::Object(example), Value::Object(answer)) => {
            let names = |of: &serde_json::Map<String, Value>| of.keys().cloned().collect::<BTreeSet<_>>();
            let (known, found) = (names(example), names(answer));
            let differing = known.symmetric_difference(&found).map(|name| format!("{at}/{name}"));
            let common = known.intersection(&found).filter(|name| !FREE.contains(&name.as_str()));
            let below = common.flat_map(|name| differences(&example[name], &answer[name], &format!("{at}/{name}")));
            differing.chain(below).collect()
        }
        (Value::Array(example), Value::Array(answer)) => {
            let first = example.first().zip(answer.first());
            first.map(|(example, answer)| differences(example, answer, &format!("{at}/0"))).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// Returns the example of a successful response.
fn response_example<'a>(contract: &'a Value, operation: &str) -> Option<&'a Value> {
    let items = contract["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    let responses = items.filter(|found| found["operationId"] == operation).map(|found| &found["responses"]);
    let mut successes =
        responses.flat_map(|found| found.as_object().unwrap()).filter(|(status, _)| status.starts_with('2'));
    successes.find_map(|(_, response)| response["content"]["application/json"].get("example"))
}

/// Returns the method, the path and the body of each operation that has a body in JSON.
fn requests(contract: &Value) -> BTreeMap<String, (Method, String, Value)> {
    let mut requests = BTreeMap::new();
    for (path, item) in contract["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(field, _)| *field != "servers") {
            let body = &operation["requestBody"]["content"]["application/json"]["example"];
            if !operation["requestBody"].is_null() {
                let method = method.to_uppercase().parse().unwrap();
                let prefix = if item.get("servers").is_some() { "" } else { "/api/v1/integration" };
                let id = operation["operationId"].as_str().unwrap().to_owned();
                requests.insert(id, (method, format!("{prefix}{path}"), body.clone()));
            }
        }
    }
    requests
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn every_example_succeeds_as_it_is() {
    let stack = Stack::connect().await;
    let tenant = unique("examples");
    let token = Claims::new(&tenant, &["ADMIN", "OPERATOR"]).rs256();
    let contract: Value = serde_json::from_str(include_str!("../../infra/openapi.json")).unwrap();
    let requests = requests(&contract);
    let tried: BTreeSet<_> = ORDER.into_iter().collect();
    let all: BTreeSet<_> = requests.keys().map(String::as_str).collect();
    assert_eq!(tried, all, "each operation with a body has a place in ORDER");

    // An earlier run may have registered it.
    let operator = Claims::new(&tenant, &["OPERATOR"]).rs256();
    let remove = async || stack.request(Method::DELETE, "/sources/orders", Some(&operator), None).await;
    remove().await;
    // What others have created: a key pair to rotate, and an inbound webhook to call.
    let create = async |body: &Value| {
        let request = stack.to(Method::POST, "/api/v1/integration/webhooks").bearer_auth(&token);
        let created: Value = ask(request.body(body.to_string())).await.json().await.unwrap();
        assert!(created["id"].is_string(), "{created}");
        created
    };
    let signing = json!({"url": "https://example.com/", "signature_scheme": "standard-webhooks-ed25519"});
    let own = create(&signing).await;
    create(&json!({"url": "https://example.com/", "signature_scheme": "standard-webhooks-ed25519", "signing_key": "tenant"})).await;
    let secret = "a secret of the other system, long enough";
    let inbound =
        create(&json!({"name": "calls", "direction": "inbound", "signature_scheme": "hmac-sha256", "secret": secret}))
            .await;

    let (mut webhook, mut notice) = (own["id"].clone(), Value::Null);
    let mut failed = Vec::new();
    for id in ORDER {
        let (method, template, body) = &requests[id];
        let named = match id {
            "webhooks.rotate_signing_key" => &own["id"],
            "inbound.call" => &inbound["id"],
            "notices.patch" | "notices.confirm" => &notice,
            _ => &webhook,
        };
        let path = template.replace("{entity}", "1234").replace("{table}", "orders").replace("{tenant}", &tenant);
        let path = match id {
            "webhooks.publish_about" => path.replace("{id}", "contact.changed"),
            _ => path.replace("{id}", named.as_str().unwrap()),
        };
        let path = path.replace("{webhook}", named.as_str().unwrap()).replace("{type}", "invoice.paid");
        let body = body.to_string();
        let mut request = stack.to(method.clone(), &path).header("content-type", "application/json");
        if id == "inbound.call" {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
            mac.update(body.as_bytes());
            request = request.header("x-signature-256", hex::encode(mac.finalize().into_bytes()));
        } else {
            request = request.bearer_auth(&token);
        }
        if id == "webhooks.put" {
            request = request.header("if-match", "*");
        }
        let response = ask(request.body(body)).await;
        let status = response.status();
        let answer: Value = response.json().await.unwrap_or_default();
        if let Some(example) = response_example(&contract, id) {
            failed.extend(differences(example, &answer, id));
        }
        if !status.is_success() {
            failed.push(format!("{id}: {status} {answer}"));
        } else if id == "webhooks.create" {
            webhook = answer["id"].clone();
        } else if id == "notices.create" {
            notice = answer["id"].clone();
        }
    }
    remove().await;
    // The test of the webhook made a delivery.
    let read = async |path: &str| stack.call(Method::GET, path, Some(&token), None).await.1;
    let webhook = format!("/webhooks/{}", webhook.as_str().unwrap());
    let deliveries = eventually("an attempt", async || {
        let list = read(&format!("{webhook}/deliveries")).await;
        (list["data"][0]["attempts"][0]["verdict"].is_string()).then_some(list)
    })
    .await;
    let delivery = format!("{webhook}/deliveries/{}", deliveries["data"][0]["id"].as_str().unwrap());
    let answers =
        [read(&webhook).await, read("/webhooks").await, read("/statistics").await, deliveries, read(&delivery).await];
    for (id, answer) in READ.into_iter().zip(answers) {
        let example = response_example(&contract, id).unwrap_or_else(|| panic!("{id} has no example"));
        failed.extend(differences(example, &answer, id));
    }
    assert_eq!(failed, [""; 0]);
}
