//! Tags: what an owner notes about a webhook to find it again.

use std::fmt;

use serde::Serialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use utoipa::openapi::Schema;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Type};

use crate::value::{Map, Value};

/// The tags of a webhook. The integration resource has free-form JSON here, so both usual forms are accepted.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Tags {
    /// A list of labels: `["rfp", "eu"]`.
    Labels(Vec<String>),
    /// Names with values of any kind: `{"team": "sales", "tier": 1}`.
    Values(Map),
}

impl Default for Tags {
    fn default() -> Self {
        Self::Labels(Vec::new())
    }
}

impl Tags {
    /// Returns whether there is this tag: a label, or a name, alone or with its value as `team:sales`.
    #[must_use]
    pub fn have(&self, tag: &str) -> bool {
        match self {
            Self::Labels(labels) => labels.iter().any(|label| label == tag),
            Self::Values(values) => values.iter().any(|(name, value)| {
                let rest = tag.strip_prefix(name.as_str());
                rest.is_some_and(|rest| {
                    rest.is_empty() || rest.strip_prefix(':').is_some_and(|text| as_text(value) == Some(text))
                })
            }),
        }
    }
}

/// Returns a value that a filter can name: not a list or an object.
fn as_text(value: &Value) -> Option<&str> {
    match value {
        Value::Null => Some("null"),
        Value::Bool(true) => Some("true"),
        Value::Bool(false) => Some("false"),
        Value::String(_) | Value::Number(_) => value.as_text(),
        Value::List(_) | Value::Map(_) => None,
    }
}

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Tags;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of strings or an object")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, labels: A) -> Result<Tags, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(labels)).map(Tags::Labels)
            }

            fn visit_map<A: MapAccess<'de>>(self, values: A) -> Result<Tags, A::Error> {
                Map::deserialize(MapAccessDeserializer::new(values)).map(Tags::Values)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// The schema of both forms.
pub(super) fn schema() -> Schema {
    let labels = ArrayBuilder::new().items(ObjectBuilder::new().schema_type(Type::String)).max_items(Some(50));
    let values = ObjectBuilder::new().schema_type(Type::Object);
    Schema::OneOf(OneOfBuilder::new().item(labels).item(values).build())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value as Json, json};

    use super::*;

    #[rstest]
    #[case::label(json!(["rfp", "eu"]), "eu", true)]
    #[case::other_label(json!(["rfp"]), "rf", false)]
    #[case::label_with_a_colon(json!(["team:sales"]), "team:sales", true)]
    #[case::name(json!({"team": "sales"}), "team", true)]
    #[case::name_and_value(json!({"team": "sales"}), "team:sales", true)]
    #[case::other_value(json!({"team": "sales"}), "team:sale", false)]
    #[case::number(json!({"tier": 1}), "tier:1", true)]
    #[case::truth(json!({"vip": true}), "vip:true", true)]
    #[case::name_with_a_colon(json!({"a:b": "c"}), "a:b:c", true)]
    #[case::longer_name(json!({"team": "sales"}), "teams", false)]
    #[case::within(json!({"team": {"name": "sales"}}), "team:sales", false)]
    fn are_found(#[case] tags: Json, #[case] tag: &str, #[case] there: bool) {
        let read: Tags = serde_json::from_value(tags.clone()).unwrap();
        assert_eq!(read.have(tag), there);
        assert_eq!(serde_json::to_value(&read).unwrap(), tags, "they are shown as they were written");
    }

    #[rstest]
    #[case::text(json!("rfp"))]
    #[case::null(json!(null))]
    #[case::number_in_a_list(json!(["a", 1]))]
    fn other_forms_are_refused(#[case] tags: Json) {
        assert!(serde_json::from_value::<Tags>(tags).is_err());
    }
}
