//! Secrets Manager: secrets whose versions have ids and labels.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::reply::Reply;

const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";

/// The secrets, by their paths.
#[derive(Default)]
pub struct Secrets(Mutex<HashMap<String, Vec<Version>>>);

struct Version {
    id: String,
    text: String,
    labels: Vec<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    /// Puts a secret at a path as the current version.
    pub fn put(&self, path: &str, id: &str, text: &str) {
        let mut secrets = self.0.lock().unwrap();
        let versions = secrets.entry(path.to_owned()).or_default();
        for version in &mut *versions {
            for label in &mut version.labels {
                if label == CURRENT {
                    PREVIOUS.clone_into(label);
                } else if label == PREVIOUS {
                    label.clear();
                }
            }
        }
        let version = Version { id: id.to_owned(), text: text.to_owned(), labels: vec![CURRENT.to_owned()] };
        versions.retain(|version| version.id != id);
        versions.push(version);
    }

    pub(super) fn answer(&self, operation: &str, request: &Value) -> Reply {
        let text = |name: &str| request[name].as_str().unwrap_or_default();
        match operation {
            "GetSecretValue" => {
                let (id, label) = (text("VersionId"), request["VersionStage"].as_str().unwrap_or(CURRENT));
                let wanted = |version: &&Version| {
                    if id.is_empty() { version.labels.iter().any(|own| own == label) } else { version.id == id }
                };
                let secrets = self.0.lock().unwrap();
                let Some(version) = secrets.get(text("SecretId")).and_then(|all| all.iter().find(wanted)) else {
                    return Reply::error(400, "ResourceNotFoundException");
                };
                Reply::ok(&json!({"Name": text("SecretId"), "VersionId": version.id, "SecretString": version.text}))
            }
            "CreateSecret" if self.0.lock().unwrap().contains_key(text("Name")) => {
                Reply::error(400, "ResourceExistsException")
            }
            "CreateSecret" => {
                self.put(text("Name"), text("ClientRequestToken"), text("SecretString"));
                Reply::ok(&json!({"Name": text("Name"), "VersionId": text("ClientRequestToken")}))
            }
            "PutSecretValue" => {
                assert!(request["VersionStages"].as_array().is_none_or(|labels| labels.contains(&json!(CURRENT))));
                self.put(text("SecretId"), text("ClientRequestToken"), text("SecretString"));
                Reply::ok(&json!({"Name": text("SecretId"), "VersionId": text("ClientRequestToken")}))
            }
            other => panic!("{other} of Secrets Manager is not expected here"),
        }
    }
}
