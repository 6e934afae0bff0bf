//! The format `cloudevents`: [CloudEvents 1.0][1] as structured JSON, with the [sequence extension][2].
//!
//! [1]: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
//! [2]: https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/sequence.md

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::json::{entry_if, properties};
use super::view::View;

/// The fields of the data. The owner's properties are added to the data, because names of CloudEvents attributes must
/// be lower case letters and digits, and their values cannot be objects.
pub(super) const RESERVED: &[&str] = &["value", "oldValue", "changes", "updateMask"];

/// An event in this format.
pub(super) struct Payload<'a>(pub(super) &'a View<'a>);

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(view) = self;
        let event = view.event;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", "1.0")?;
        map.serialize_entry("id", &event.id)?;
        map.serialize_entry("source", &source(&event.source))?;
        map.serialize_entry("type", view.event_type)?;
        map.serialize_entry("subject", &view.path)?;
        map.serialize_entry("time", &view.at)?;
        map.serialize_entry("datacontenttype", "application/json")?;
        map.serialize_entry("tenantid", event.tenant.as_str())?;
        map.serialize_entry("operation", &event.operation)?;
        map.serialize_entry("entityid", &event.entity.id)?;
        map.serialize_entry("entitykey", &event.entity.key)?;
        map.serialize_entry("collection", &event.entity.collection)?;
        // An attribute must not be empty.
        entry_if(&mut map, "sequence", Some(&event.sequence).filter(|sequence| !sequence.is_empty()))?;
        entry_if(&mut map, "state", view.state())?;
        entry_if(&mut map, "previous", view.previous())?;
        entry_if(&mut map, "removal", view.removal())?;
        map.serialize_entry("data", &Data(view))?;
        map.end()
    }
}

struct Data<'a>(&'a View<'a>);

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(view) = self;
        let mut map = serializer.serialize_map(None)?;
        entry_if(&mut map, "value", view.value())?;
        entry_if(&mut map, "oldValue", view.old_value())?;
        entry_if(&mut map, "changes", view.changes())?;
        entry_if(&mut map, "updateMask", view.update_mask.as_deref())?;
        let mut related = view.related.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str()));
        related.try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        properties(&mut map, view.properties, |name| RESERVED.contains(&name) || view.related.contains_key(name))?;
        map.end()
    }
}

/// Returns the source as a URI reference: the path of the table, or that of published events.
fn source(name: &str) -> String {
    if name == "published" {
        return "/published".to_owned();
    }
    let mut uri = "/tables/".to_owned();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push('%');
            uri.push_str(&hex::encode_upper([byte]));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::published("published", "/published")]
    #[case::table("films-2.a_b", "/tables/films-2.a_b")]
    #[case::strange("a b/é", "/tables/a%20b%2F%C3%A9")]
    fn a_source_is_a_uri_reference(#[case] name: &str, #[case] uri: &str) {
        assert_eq!(source(name), uri);
    }
}
