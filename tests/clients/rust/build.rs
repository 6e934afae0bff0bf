//! Generates the client from the contract.

use std::path::Path;
use std::{env, fs};

use serde_json::{Map, Value, json};

/// The operations that the program calls, and some that have every kind of schema.
const PATHS: [&str; 4] = ["/webhooks", "/webhooks/{id}", "/webhooks/{id}/deliveries", "/events"];

fn main() {
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../infra/openapi.json");
    println!("cargo::rerun-if-changed={}", contract.display());
    let mut document: Value = serde_json::from_str(&fs::read_to_string(contract).unwrap()).unwrap();
    down(&mut document);
    fs::write(Path::new(&env::var("OUT_DIR").unwrap()).join("openapi-3.0.json"), document.to_string()).unwrap();
    let spec = serde_json::from_value(document).unwrap();
    let mut settings = progenitor::GenerationSettings::default();
    settings.with_interface(progenitor::InterfaceStyle::Builder);
    let tokens = progenitor::Generator::new(&settings).generate_tokens(&spec).unwrap();
    let code = prettyplease::unparse(&syn::parse2(tokens).unwrap());
    fs::write(Path::new(&env::var("OUT_DIR").unwrap()).join("client.rs"), code).unwrap();
}

/// Turns the contract into OpenAPI 3.0, which is what progenitor reads.
fn down(document: &mut Value) {
    document["openapi"] = json!("3.0.3");
    let root = document.as_object_mut().unwrap();
    root.remove("webhooks");
    root["paths"].as_object_mut().unwrap().retain(|path, _| PATHS.contains(&path.as_str()));
    for item in root["paths"].as_object_mut().unwrap().values_mut() {
        for operation in item.as_object_mut().unwrap().values_mut() {
            one_success(operation["responses"].as_object_mut().unwrap());
        }
    }
    schema(document);
}

/// Keeps one type of success, because progenitor's functions return one, and calls problem documents JSON.
fn one_success(responses: &mut Map<String, Value>) {
    responses.remove("207");
    for response in responses.values_mut() {
        response.as_object_mut().unwrap().remove("links");
        if let Some(content) = response.get_mut("content").and_then(Value::as_object_mut)
            && let Some(problem) = content.remove("application/problem+json")
        {
            content.insert("application/json".to_owned(), problem);
        }
    }
}

/// Rewrites what JSON Schema calls differently since OpenAPI 3.1: `null` as a type, lists of types, and `examples`.
fn schema(value: &mut Value) {
    match value {
        Value::Array(members) => members.iter_mut().for_each(schema),
        Value::Object(members) => {
            if members.get("$ref").is_some_and(Value::is_string) {
                members.retain(|name, _| name == "$ref");
                return;
            }
            if members.get("examples").is_some_and(Value::is_array) {
                members.remove("examples");
            }
            members.values_mut().for_each(schema);
            for union in ["oneOf", "anyOf"] {
                if let Some(Value::Array(items)) = members.get_mut(union) {
                    let all = items.len();
                    items.retain(|item| *item != json!({"type": "null"}));
                    if items.len() < all {
                        let items = std::mem::take(items);
                        let name = if items.len() == 1 { "allOf" } else { union };
                        members.remove(union);
                        members.insert(name.to_owned(), Value::Array(items));
                        members.insert("nullable".to_owned(), json!(true));
                    }
                }
            }
            if let Some(Value::Array(types)) = members.get("type") {
                let types: Vec<_> = types.clone();
                let mut others = types.iter().filter(|name| **name != "null");
                match (others.next(), others.next()) {
                    (Some(only), None) => members.insert("type".to_owned(), only.clone()),
                    _ => members.remove("type"),
                };
                if types.contains(&json!("null")) {
                    members.insert("nullable".to_owned(), json!(true));
                }
            }
        }
        _ => {}
    }
}
