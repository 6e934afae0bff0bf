//! Rules for the whole document, so that later routes obey them too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use domain::webhook::Pause;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::registration::representation::WebhookBody;
use crate::registration::representation::tests::record;

/// Keywords whose values are not schemas.
const DATA: [&str; 5] = ["default", "enum", "example", "examples", "const"];

fn document() -> Value {
    serde_json::to_value(crate::openapi()).unwrap()
}

/// Visits every value of the document, with its JSON pointer, except examples.
fn visit(value: &Value, pointer: &str, look: &mut impl FnMut(&str, &Value)) {
    look(pointer, value);
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                // A property may have such a name.
                if !DATA.contains(&name.as_str()) || pointer.ends_with("/properties") {
                    visit(member, &format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")), look);
                }
            }
        }
        Value::Array(members) => {
            members.iter().enumerate().for_each(|(index, member)| visit(member, &format!("{pointer}/{index}"), look));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Returns the pointers of the values at fault.
fn faults(document: &Value, mut is_at_fault: impl FnMut(&str, &Value) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    visit(document, "", &mut |pointer, value| {
        if is_at_fault(pointer, value) {
            found.push(pointer.to_owned());
        }
    });
    found
}

/// Returns each operation with its id; those of `webhooks` too.
fn operations(document: &Value) -> Vec<(String, Value)> {
    let items = ["paths", "webhooks"].into_iter().flat_map(|section| document[section].as_object().unwrap().values());
    let operations = items.flat_map(|item| item.as_object().unwrap()).filter(|(field, _)| *field != "servers");
    operations
        .map(|(_, operation)| (operation["operationId"].as_str().unwrap().to_owned(), operation.clone()))
        .collect()
}

#[test]
fn infra_has_the_contract_of_the_code() {
    let written = include_str!("../../../../infra/openapi.json");
    assert!(
        written.trim() == crate::openapi().to_pretty_json().unwrap(),
        "run `make openapi`, and look at what changed"
    );
}

#[test]
fn every_operation_has_a_name_of_its_own() {
    let names: Vec<_> = operations(&document()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
}

#[test]
fn every_reference_leads_to_a_component() {
    let document = document();
    let lost = faults(&document, |_, value| {
        let reference = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        reference.is_some_and(|pointer| document.pointer(pointer).is_none())
    });
    assert_eq!(lost, [""; 0], "name the type in `components` of openapi.rs");
}

#[test]
fn an_enum_is_a_schema_with_a_name() {
    let document = document();
    let inline = faults(&document, |pointer, value| {
        let is_component = pointer.starts_with("/components/schemas/") && pointer.matches('/').count() == 3;
        // A single value tells the alternatives of a type apart.
        value["enum"].as_array().is_some_and(|values| values.len() > 1) && !is_component
    });
    assert_eq!(inline, [""; 0], "derive ToSchema for the type, without `inline`");
}

#[test]
fn an_object_has_properties_or_says_that_it_may_have_any() {
    let silent = faults(&document(), |_, value| {
        let is_object =
            value["type"] == "object" || value["type"].as_array().is_some_and(|types| types.contains(&json!("object")));
        let says_nothing = value["additionalProperties"].is_null() || value["additionalProperties"] == json!({});
        is_object && value["properties"].is_null() && says_nothing
    });
    assert_eq!(silent, [""; 0]);
}

#[test]
fn a_default_is_described_in_words() {
    let set = faults(&document(), |pointer, value| {
        let is_schema = pointer.starts_with("/components/schemas/") && !pointer.ends_with("/properties");
        is_schema && value.is_object() && !value["default"].is_null()
    });
    assert_eq!(set, [""; 0]);
}

#[test]
fn schemas_have_examples_and_no_example() {
    let old = faults(&document(), |pointer, value| {
        let is_schema = pointer.starts_with("/components/schemas/") && !pointer.ends_with("/properties");
        is_schema && value.get("example").is_some()
    });
    assert_eq!(old, [""; 0], "`example` of a schema is deprecated in OpenAPI 3.1; use `examples`");
}

#[test]
fn every_error_is_a_problem() {
    for (name, operation) in operations(&document()) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            if status.starts_with(['4', '5']) && !name.starts_with("deliveries.receive") {
                let content = &response["content"];
                let schema = json!({"schema": {"$ref": "#/components/schemas/Problem"}});
                assert_eq!(content["application/problem+json"]["schema"], schema["schema"], "{name} {status}");
                assert_eq!(content.as_object().unwrap().len(), 1, "{name} {status}");
            }
        }
    }
}

/// Validates each example against its schema.
#[test]
fn every_body_has_an_example_that_is_valid() {
    let document = document();
    let mut validators: BTreeMap<String, jsonschema::Validator> = BTreeMap::new();
    let mut check = |what: &str, content: &Value| {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "components": document["components"],
            "allOf": [content["schema"]],
        });
        let validator = validators.entry(content["schema"].to_string());
        let validator = validator.or_insert_with(|| jsonschema::validator_for(&schema).unwrap());
        if let Err(error) = validator.validate(&content["example"]) {
            panic!("{what}: {error}");
        }
    };
    for (name, operation) in operations(&document) {
        for (kind, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            if kind.ends_with("json") {
                assert!(content.get("example").is_some(), "examples.json lacks the request of {name}");
                check(&name, content);
            }
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            for content in response["content"].as_object().into_iter().flat_map(|content| content.values()) {
                if content.get("example").is_some() {
                    check(&format!("{name} {status}"), content);
                } else {
                    assert!(!status.starts_with(['4', '5']), "examples.json lacks the problem {status}");
                }
            }
        }
    }
}

/// A client that checks its requests against the contract can send back what it read.
#[test]
fn a_response_can_be_sent_back() {
    let document = document();
    for name in ["WebhookPatch", "WebhookReplacement"] {
        let schema = json!({"components": document["components"], "$ref": format!("#/components/schemas/{name}")});
        let validator = jsonschema::validator_for(&schema).unwrap();
        for settings in [json!({"name": "n"}), json!({"name": "n", "event_types": ["a.b", "c.*"], "tags": ["x"]})] {
            for by_failures in [None, Some(false), Some(true)] {
                let mut record = record(settings.clone());
                record.webhook.pause = by_failures.map(|by_failures| Pause { at: Timestamp::UNIX_EPOCH, by_failures });
                let shown = serde_json::to_value(WebhookBody::new(record, None, "https://api.example")).unwrap();
                let found: Vec<_> = validator.iter_errors(&shown).map(|error| error.to_string()).collect();
                assert_eq!(found, [""; 0], "{name}: {shown}");
            }
        }
    }
}

#[test]
fn every_operation_with_a_key_names_the_conflict_and_every_one_the_fault() {
    for (name, operation) in operations(&document()) {
        let responses = operation["responses"].as_object().unwrap();
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let has_key = parameters.into_iter().any(|parameter| parameter["name"] == "Idempotency-Key");
        assert!(!has_key || responses.contains_key("409"), "{name}");
        let is_ours = ["contract.", "health.", "deliveries.receive"].iter().all(|other| !name.starts_with(other));
        assert!(!is_ours || responses.contains_key("500"), "{name}");
    }
}

/// Returns the blocks of JSON in a page of the documentation that have that name.
fn documented(page: &str, name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let opening = format!("```json{name}\n");
    let blocks = text.split(&opening).skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.map(|block| serde_json::from_str(block).unwrap()).collect()
}

#[test]
fn the_examples_of_payloads_and_problems_are_those_of_the_documentation() {
    let document = document();
    for (format, item) in document["webhooks"].as_object().unwrap() {
        let content = item["post"]["requestBody"]["content"].as_object().unwrap().values().next().unwrap();
        assert_eq!(documented("use/payloads.md", &format!(" {format}")), [content["example"].clone()], "{format}");
    }
    for (_, operation) in operations(&document) {
        for response in operation["responses"].as_object().unwrap().values() {
            let example = &response["content"]["application/problem+json"]["example"];
            if let Some(kind) = example["type"].as_str() {
                let page = format!("problems/{}.md", kind.trim_start_matches("urn:dynahook:problem:"));
                assert!(documented(&page, "").contains(example), "{page}");
            }
        }
    }
}

#[test]
fn every_payload_format_is_described() {
    let document = document();
    let formats: BTreeSet<_> = document["webhooks"].as_object().unwrap().keys().map(String::as_str).collect();
    let settings = document["components"]["schemas"]["PayloadFormat"]["enum"].as_array().unwrap();
    assert_eq!(formats, settings.iter().map(|format| format.as_str().unwrap()).collect());
}

/// The wire snapshots of the domain, which are the payloads of real events.
#[test]
fn every_payload_keeps_to_its_schema() {
    let document = document();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/domain/src/snapshots");
    let mut checked = 0;
    for format in ["change", "diff", "thin", "standard", "cloudevents", "superoffice", "slack", "teams"] {
        let section = if ["diff", "thin"].contains(&format) { "change" } else { format };
        let content = &document["webhooks"][section]["post"]["requestBody"]["content"];
        let schema = &content.as_object().unwrap().values().next().unwrap()["schema"];
        let schema = json!({"components": document["components"], "allOf": [schema]});
        let validator = jsonschema::validator_for(&schema).unwrap();
        for operation in ["created", "updated", "deleted"] {
            let file = folder.join(format!("domain__payload__tests__{format}_{operation}.snap"));
            let text = std::fs::read_to_string(&file).unwrap();
            let payload: Value = serde_json::from_str(text.rsplit("---\n").next().unwrap()).unwrap();
            let found: Vec<_> = validator.iter_errors(&payload).map(|error| error.to_string()).collect();
            assert_eq!(found, [""; 0], "{}", file.display());
            checked += 1;
        }
    }
    assert_eq!(checked, 24);
}
