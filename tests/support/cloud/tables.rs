//! DynamoDB: an embedded engine, and a journal of the writes to the ledger.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};

use dynoxide::actions::get_item::GetItemRequest;
use dynoxide::types::item_size;
use dynoxide::{Database, DynoxideError, Item};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use yaml_rust2::{Yaml, YamlLoader};

use super::reply::Reply;

/// The table whose writes are recorded in the journal.
const LEDGER: &str = "deliveries";

/// The tables of the template, and their names here.
const TABLES: [(&str, &str); 4] = [
    ("RegistryTable", "registry"),
    ("EventsTable", "events"),
    ("DeliveriesTable", LEDGER),
    ("SecretsTable", "secrets"),
];

/// A write to the ledger.
#[derive(Debug, Clone)]
pub struct Write {
    /// The partition key.
    pub pk: String,
    /// The sort key.
    pub sk: String,
    /// The whole item after the write, in DynamoDB's JSON.
    pub item: Value,
}

/// The tables.
pub struct Tables {
    database: Database,
    journal: Mutex<Vec<Write>>,
    journals: AtomicBool,
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tables")
    }
}

impl Tables {
    /// Creates the tables, with the keys and indexes of `infra/template.yaml`.
    pub(super) fn of_the_template() -> Self {
        let tables =
            Self { database: Database::memory().unwrap(), journal: Mutex::default(), journals: AtomicBool::new(false) };
        for (logical_id, name) in TABLES {
            let properties = &template()["Resources"][logical_id]["Properties"];
            let mut request = Map::from_iter([("TableName".to_owned(), json!(name))]);
            for part in
                ["BillingMode", "AttributeDefinitions", "KeySchema", "LocalSecondaryIndexes", "GlobalSecondaryIndexes"]
            {
                if let Some(value) = properties.get(part) {
                    request.insert(part.to_owned(), value.clone());
                }
            }
            let reply = tables.answer("CreateTable", Value::Object(request).to_string().as_bytes());
            assert_eq!(reply.status, 200, "{name}: {}", reply.body);
        }
        tables
    }

    /// Starts recording writes to the ledger.
    pub fn keep_journal(&self) {
        self.journals.store(true, Ordering::Relaxed);
    }

    /// Returns the writes to the ledger since the last call, in order.
    pub fn take_journal(&self) -> Vec<Write> {
        std::mem::take(&mut self.journal.lock().unwrap())
    }

    /// Returns all items of a table.
    #[must_use]
    pub fn items(&self, table: &str) -> Vec<Value> {
        let mut request = json!({"TableName": table});
        let mut items = Vec::new();
        loop {
            let reply = self.answer("Scan", request.to_string().as_bytes());
            let mut answer: Value = serde_json::from_str(&reply.body).unwrap();
            items.append(answer["Items"].as_array_mut().unwrap());
            match answer.get("LastEvaluatedKey") {
                Some(key) => request["ExclusiveStartKey"] = key.clone(),
                None => return items,
            }
        }
    }

    /// Puts an item, given as DynamoDB's JSON, as an operator might.
    pub fn put(&self, table: &str, item: &Value) {
        let reply = self.answer("PutItem", json!({"TableName": table, "Item": item}).to_string().as_bytes());
        assert_eq!(reply.status, 200, "{}", reply.body);
    }

    pub(super) fn answer(&self, operation: &str, body: &[u8]) -> Reply {
        // The lock covers a write and its journal entry, so that entries are in the order of the writes.
        let mut journal = self.journal.lock().unwrap();
        match self.call(operation, body) {
            Ok(answer) => {
                if self.journals.load(Ordering::Relaxed) {
                    journal.extend(self.written(operation, body));
                }
                Reply { status: 200, body: answer }
            }
            Err(error) => Reply { status: error.status_code(), body: error.to_json() },
        }
    }

    fn call(&self, operation: &str, body: &[u8]) -> Result<String, DynoxideError> {
        let db = &self.database;
        match operation {
            "CreateTable" => said(&db.create_table(asked(body)?)?),
            "GetItem" => said(&db.get_item(asked(body)?)?),
            "PutItem" => said(&db.put_item(asked(body)?)?),
            "UpdateItem" => said(&db.update_item(asked(body)?)?),
            "DeleteItem" => said(&db.delete_item(asked(body)?)?),
            "BatchGetItem" => said(&db.batch_get_item(asked(body)?)?),
            "BatchWriteItem" => said(&db.batch_write_item(asked(body)?)?),
            "TransactWriteItems" => said(&db.transact_write_items(asked(body)?)?),
            "Query" => said(&db.query(asked(body)?)?),
            "Scan" => said(&db.scan(asked(body)?)?),
            other => panic!("{other} of a table is not expected here"),
        }
    }

    /// Returns what a call has written to the ledger.
    fn written(&self, operation: &str, body: &[u8]) -> Vec<Write> {
        if !matches!(operation, "PutItem" | "UpdateItem" | "DeleteItem" | "BatchWriteItem" | "TransactWriteItems") {
            return Vec::new();
        }
        let request: Value = serde_json::from_slice(body).unwrap();
        let mut keys = Vec::new();
        match operation {
            "PutItem" if request["TableName"] == LEDGER => keys.push(&request["Item"]),
            "UpdateItem" | "DeleteItem" if request["TableName"] == LEDGER => keys.push(&request["Key"]),
            "BatchWriteItem" => {
                let writes = request["RequestItems"][LEDGER].as_array().into_iter().flatten();
                keys.extend(writes.map(|write| &write["PutRequest"]["Item"]));
            }
            "TransactWriteItems" => {
                for write in request["TransactItems"].as_array().unwrap() {
                    for (write, key) in [(&write["Put"], "Item"), (&write["Update"], "Key")] {
                        keys.extend((write["TableName"] == LEDGER).then_some(&write[key]));
                    }
                }
            }
            _ => {}
        }
        let text = |key: &Value| key["S"].as_str().unwrap().to_owned();
        let write = |key: &Value| Write {
            pk: text(&key["pk"]),
            sk: text(&key["sk"]),
            item: serde_json::to_value(self.read(LEDGER, &key["pk"], &key["sk"])).unwrap(),
        };
        keys.into_iter().map(write).collect()
    }

    /// Returns the size of an item in bytes, 0 if it does not exist.
    pub(super) fn size(&self, table: &str, pk: &Value, sk: &Value) -> usize {
        self.read(table, pk, sk).as_ref().map_or(0, item_size)
    }

    fn read(&self, table: &str, pk: &Value, sk: &Value) -> Option<Item> {
        let request = json!({"TableName": table, "Key": {"pk": pk, "sk": sk}, "ConsistentRead": true});
        let request: GetItemRequest = serde_json::from_value(request).unwrap();
        self.database.get_item(request).unwrap().item
    }
}

fn asked<T: DeserializeOwned>(body: &[u8]) -> Result<T, DynoxideError> {
    serde_json::from_slice(body).map_err(|error| DynoxideError::SerializationException(error.to_string()))
}

fn said(answer: &impl Serialize) -> Result<String, DynoxideError> {
    serde_json::to_string(answer).map_err(|error| DynoxideError::InternalServerError(error.to_string()))
}

/// Returns `infra/template.yaml`, without the tags of CloudFormation.
#[must_use]
pub fn template() -> &'static Value {
    static TEMPLATE: LazyLock<Value> = LazyLock::new(|| {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/template.yaml")).unwrap();
        plain(&YamlLoader::load_from_str(&text).unwrap()[0])
    });
    &TEMPLATE
}

/// Converts YAML to JSON. CloudFormation's tags are dropped, because none of the parts used here needs one.
fn plain(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::String(text) | Yaml::Real(text) => json!(text),
        Yaml::Integer(number) => json!(number),
        Yaml::Boolean(flag) => json!(flag),
        Yaml::Array(list) => list.iter().map(plain).collect(),
        Yaml::Hash(map) => Value::Object(
            map.iter().map(|(key, value)| (key.as_str().unwrap_or_default().to_owned(), plain(value))).collect(),
        ),
        Yaml::Alias(_) | Yaml::Null | Yaml::BadValue => Value::Null,
    }
}
