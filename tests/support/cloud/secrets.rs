//! Secrets Manager: secrets whose versions have ids and labels.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::reply::Reply;

const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";

/// The secrets, by their paths.
#[derive(Default)]
pub struct Secrets(Mutex<HashMap<String, Secret>>);

#[derive(Default)]
struct Secret {
    versions: Vec<Version>,
    is_deleted: bool,
    /// In seconds since 1970.
    made_at: i64,
}

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

impl Secret {
    /// Gives a label to a version alone. The version that was the current one becomes the previous one.
    fn label(&mut self, id: &str, label: &str) {
        let before = self.labelled(label).map(str::to_owned).filter(|before| before != id);
        for version in &mut self.versions {
            version.labels.retain(|own| own != label && !(version.id == id && own == PREVIOUS));
            if version.id == id {
                version.labels.push(label.to_owned());
            }
        }
        if let Some(before) = before.filter(|_| label == CURRENT) {
            self.label(&before, PREVIOUS);
        }
    }

    fn labelled(&self, label: &str) -> Option<&str> {
        let found = self.versions.iter().find(|version| version.labels.iter().any(|own| own == label));
        found.map(|version| version.id.as_str())
    }

    /// Stores a version. One that exists stays as it is.
    fn put(&mut self, id: &str, text: &str, label: &str) {
        if !self.versions.iter().any(|version| version.id == id) {
            self.versions.push(Version { id: id.to_owned(), text: text.to_owned(), labels: Vec::new() });
            self.label(id, label);
        }
    }
}

impl Secrets {
    /// Puts a secret at a path as the current version.
    pub fn put(&self, path: &str, id: &str, text: &str) {
        self.0.lock().unwrap().entry(path.to_owned()).or_default().put(id, text, CURRENT);
    }

    /// Returns how many secrets there are that are not being deleted.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.lock().unwrap().values().filter(|secret| !secret.is_deleted).count()
    }

    pub(super) fn answer(&self, operation: &str, request: &Value, now: i64) -> Reply {
        let text = |name: &str| request[name].as_str().unwrap_or_default();
        let mut secrets = self.0.lock().unwrap();
        if operation == "CreateSecret" {
            let (path, id) = (text("Name"), text("ClientRequestToken"));
            if let Some(secret) = secrets.get(path) {
                // The same request again is no error.
                let is_same =
                    secret.versions.iter().any(|version| version.id == id && version.text == text("SecretString"));
                return match secret.is_deleted {
                    true => Reply::error(400, "InvalidRequestException"),
                    false if is_same => Reply::ok(&json!({"Name": path, "VersionId": id})),
                    false => Reply::error(400, "ResourceExistsException"),
                };
            }
            let secret = secrets.entry(path.to_owned()).or_default();
            secret.made_at = now;
            secret.put(id, text("SecretString"), CURRENT);
            return Reply::ok(&json!({"Name": path, "VersionId": id}));
        }
        let path = text("SecretId");
        let Some(secret) = secrets.get_mut(path) else { return Reply::error(400, "ResourceNotFoundException") };
        if secret.is_deleted != (operation == "RestoreSecret") && operation != "DescribeSecret" {
            return Reply::error(400, "InvalidRequestException");
        }
        match operation {
            "GetSecretValue" => {
                let label = request["VersionStage"].as_str().unwrap_or(CURRENT);
                let id = match text("VersionId") {
                    "" => secret.labelled(label).unwrap_or_default().to_owned(),
                    id => id.to_owned(),
                };
                match secret.versions.iter().find(|version| version.id == id) {
                    Some(version) => Reply::ok(&json!({"Name": path, "VersionId": id, "SecretString": version.text})),
                    None => Reply::error(400, "ResourceNotFoundException"),
                }
            }
            "PutSecretValue" => {
                let label = request["VersionStages"][0].as_str().unwrap_or(CURRENT);
                secret.put(text("ClientRequestToken"), text("SecretString"), label);
                Reply::ok(&json!({"Name": path, "VersionId": text("ClientRequestToken")}))
            }
            "DescribeSecret" => {
                let labelled = secret.versions.iter().filter(|version| !version.labels.is_empty());
                let labels: serde_json::Map<_, _> =
                    labelled.map(|version| (version.id.clone(), json!(version.labels))).collect();
                Reply::ok(&json!({"Name": path, "VersionIdsToStages": labels, "CreatedDate": secret.made_at}))
            }
            "UpdateSecretVersionStage" => {
                let (label, to) = (text("VersionStage"), text("MoveToVersionId"));
                let has = secret.labelled(label).unwrap_or_default();
                if !secret.versions.iter().any(|version| version.id == to) {
                    return Reply::error(400, "ResourceNotFoundException");
                }
                if has != to && has != text("RemoveFromVersionId") {
                    return Reply::error(400, "InvalidParameterException");
                }
                secret.label(to, label);
                Reply::ok(&json!({"Name": path}))
            }
            "DeleteSecret" | "RestoreSecret" => {
                secret.is_deleted = operation == "DeleteSecret";
                Reply::ok(&json!({"Name": path}))
            }
            other => panic!("{other} of Secrets Manager is not expected here"),
        }
    }
}
