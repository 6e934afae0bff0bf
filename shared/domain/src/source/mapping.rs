//! One kind of entity in a table.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::MapError;
use super::related::{self, Related};
use super::template::Template;
use crate::access::tenant::{AppId, NameError, TenantId};
use crate::event::operational::is_reserved;
use crate::event::state::{State, state_id};
use crate::event::types::{EntityName, EventType, Operation};
use crate::fault::FieldError;
use crate::time::rfc3339;
use crate::value::path::FieldPath;
use crate::value::written::Written;
use crate::value::{Map, Value};

/// The largest number of fields that a kind may ignore or redact.
const MAX_FIELDS: usize = 100;

/// How the items of one kind become events. A template is a string with attributes in braces, such as
/// `orders/{order_id}`; `{sk:ORDER#}` is an attribute without the prefix `ORDER#`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EntityMapping)]
pub struct Mapping {
    /// Which items are of this kind. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Selector>,
    /// The first word of their event types.
    #[schema(value_type = String, min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_-]+$", examples("order"))]
    pub entity: EntityName,
    /// The tenant: a template such as `{tenant_id}`, or a fixed name if all items belong to one tenant.
    #[schema(value_type = String, min_length = 1, max_length = 255, examples("{tenant_id}"))]
    pub tenant: Template,
    /// The application to which the entity belongs: a template or a fixed name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255, examples("{app_id}"))]
    pub app: Option<Template>,
    /// The entity's id: a template.
    #[schema(value_type = String, min_length = 1, max_length = 255, examples("{order_id}"))]
    pub id: Template,
    /// The path of its collection: a template. `entityPath` is `<collection>/<id>`.
    #[schema(value_type = String, min_length = 1, max_length = 255, examples("orders", "pipelinesPackets/{packetId}/comments"))]
    pub collection: Template,
    /// The kind's name in payloads. Default: `entity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255, examples("flows/comments"))]
    pub entity_key: Option<String>,
    /// The attribute with the time at which the entity was created: a string, or seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255)]
    pub create_time_attribute: Option<FieldPath>,
    /// The attribute with the time of its last change, in the same forms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255)]
    pub update_time_attribute: Option<FieldPath>,
    /// The attribute that marks the entity as deleted when it is true. The change to true is a `deleted` event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255, examples("softRemoved"))]
    pub soft_delete_attribute: Option<FieldPath>,
    /// A change of only these fields causes no event. Payloads contain them like all other fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, max_items = 100, examples(json!(["last_seen_at"])))]
    pub ignore: Vec<FieldPath>,
    /// Fields that are never sent or stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, max_items = 100, examples(json!(["password_hash", "address.phone"])))]
    pub redact: Vec<FieldPath>,
    /// What payloads contain next to the entity, by the names in the payload: attributes of the item, and items that a
    /// query of the table finds. Queries need the deployment's parameter `RelatedTables`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = std::collections::HashMap<String, Related>, examples(json!({"entityComments": "thread"})))]
    pub related: BTreeMap<String, Related>,
}

/// Selects items by the value or the prefix of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EntitySelector)]
pub struct Selector {
    /// The attribute.
    #[schema(value_type = String, min_length = 1, max_length = 255, examples("sk"))]
    pub attribute: FieldPath,
    /// The attribute's value; send this or `prefix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    pub equals: Option<String>,
    /// The start of the attribute's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255, examples("ORDER#"))]
    pub prefix: Option<String>,
}

/// The identity of the entity in an image. Images with the same place are states of the same entity.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) mapping: &'a Mapping,
    pub(super) tenant: TenantId,
    pub(super) app: Option<AppId>,
    pub(super) id: String,
    pub(super) collection: String,
}

impl Selector {
    /// Returns whether the selector matches an item.
    #[must_use]
    pub fn holds(&self, image: &Map) -> bool {
        let text = self.attribute.get(image).and_then(Value::as_text);
        text.is_some_and(|text| {
            self.equals.as_ref().is_none_or(|equals| text == equals)
                && self.prefix.as_ref().is_none_or(|prefix| text.starts_with(prefix.as_str()))
        })
    }
}

impl Mapping {
    /// Returns the identity of the entity in an image of this kind.
    pub(super) fn place(&self, image: &Map) -> Result<Place<'_>, MapError> {
        fn name<T: std::str::FromStr<Err = NameError>>(
            template: &Template,
            image: &Map,
            role: &'static str,
        ) -> Result<T, MapError> {
            template.fill(image, role)?.parse().map_err(|source| MapError::Name { role, source })
        }
        Ok(Place {
            mapping: self,
            tenant: name(&self.tenant, image, "tenant")?,
            app: self.app.as_ref().map(|app| name(app, image, "application")).transpose()?,
            id: self.id.fill(image, "entity id")?,
            collection: self.collection.fill(image, "collection")?,
        })
    }

    /// Returns whether this is the identity of the entity in an image of this kind. Most changes leave it as it is.
    pub(super) fn is_at(&self, place: &Place<'_>, image: &Map) -> bool {
        let Place { mapping, tenant, app, id, collection } = place;
        let is_app = match (&self.app, app) {
            (Some(template), Some(app)) => template.is_filled(image, app.as_str()),
            (template, app) => template.is_none() && app.is_none(),
        };
        std::ptr::eq(self, *mapping)
            && self.tenant.is_filled(image, tenant.as_str())
            && is_app
            && self.id.is_filled(image, id)
            && self.collection.is_filled(image, collection)
    }

    /// Returns whether entities of this kind may belong to the tenant, and to the application if one asks.
    #[must_use]
    pub fn may_concern(&self, tenant: &TenantId, app: Option<&AppId>) -> bool {
        let mut apps = self.app.iter().zip(app);
        self.tenant.makes(tenant.as_str()) && apps.all(|(template, app)| template.makes(app.as_str()))
    }

    pub(crate) fn redact(&self, image: &mut Map) {
        self.redact.iter().for_each(|path| path.remove(image));
    }

    /// Returns whether a change is visible: whether a field changed that is not ignored. `update_mask` names all that
    /// changed.
    pub(super) fn is_visible(&self, old: &Map, new: &Map, update_mask: &[String]) -> bool {
        if self.ignore.is_empty() { !update_mask.is_empty() } else { self.counted(old) != self.counted(new) }
    }

    /// Returns the attributes whose change results in an event.
    fn counted(&self, image: &Map) -> Written {
        let mut counted = image.clone();
        self.ignore.iter().for_each(|path| path.remove(&mut counted));
        counted.into()
    }

    pub(super) fn is_soft_deleted(&self, image: &Map) -> bool {
        let value = self.soft_delete_attribute.as_ref().and_then(|path| path.get(image));
        value == Some(&Value::Bool(true))
    }

    /// Returns the state with its id, derived from the attributes whose change results in an event.
    pub(crate) fn state(&self, entity_path: &str, properties: Map) -> Result<State, MapError> {
        let time = |path: &Option<FieldPath>| {
            let Some(path) = path else { return Ok(None) };
            let value = path.get(&properties).filter(|value| !value.is_null());
            let error = || MapError::NotTime { attribute: path.to_string() };
            value.map(|value| time(value).ok_or_else(error)).transpose()
        };
        let (create_time, update_time) = (time(&self.create_time_attribute)?, time(&self.update_time_attribute)?);
        let counted = (!self.ignore.is_empty()).then(|| self.counted(&properties));
        let properties = Written::from(properties);
        let id = state_id(entity_path, counted.as_ref().unwrap_or(&properties).json());
        Ok(State { id, properties, create_time, update_time })
    }

    /// Removes and returns the related attributes.
    pub(crate) fn take_related(&self, properties: &mut Written) -> Map {
        // Most kinds have none, and keep the JSON that was written for the state's id.
        if self.related.is_empty() { Map::new() } else { related::take(&self.related, properties) }
    }

    pub(super) fn check(&self, pointer: &str, last: bool, faults: &mut Vec<FieldError>) {
        let mut fault =
            |field: &str, detail: String| faults.push(FieldError::new(&format!("{pointer}{field}"), detail));
        if is_reserved(&EventType::of(&self.entity, Operation::Created)) {
            fault("/entity", "is reserved for Dynahook; choose another name".to_owned());
        }
        if self.when.is_none() && !last {
            fault("/when", "is required for all kinds but the last, which may select all other items".to_owned());
        }
        if self.when.as_ref().is_some_and(|when| when.equals.is_some() == when.prefix.is_some()) {
            fault("/when", "must have either `equals` or `prefix`".to_owned());
        }
        let key = self.entity_key.iter().map(|text| ("/entity_key", text));
        let when = self.when.iter();
        let when = when.flat_map(|when| [("/when/equals", &when.equals), ("/when/prefix", &when.prefix)]);
        let when = when.filter_map(|(field, text)| Some((field, text.as_ref()?)));
        for (field, _) in key.chain(when).filter(|(_, text)| !(1..=255).contains(&text.len())) {
            fault(field, "must be 1 to 255 bytes".to_owned());
        }
        if self.collection.to_string().ends_with('/') {
            fault("/collection", "must not end with a slash".to_owned());
        }
        let fixed = |template: &Template| template.is_fixed().then(|| template.to_string());
        let tenant = fixed(&self.tenant).and_then(|text| text.parse::<TenantId>().err());
        let app = self.app.as_ref().and_then(fixed).and_then(|text| text.parse::<AppId>().err());
        for (field, error) in [("/tenant", tenant), ("/app", app)] {
            if let Some(error) = error {
                fault(field, format!("{error}; write an attribute in braces, such as {{tenant_id}}"));
            }
        }
        let read = [
            ("/create_time_attribute", &self.create_time_attribute),
            ("/update_time_attribute", &self.update_time_attribute),
            ("/soft_delete_attribute", &self.soft_delete_attribute),
        ];
        for (field, path) in read {
            if path.as_ref().is_some_and(|path| self.redact.iter().any(|redact| redact.covers(path))) {
                fault(field, "must not also be in `redact`".to_owned());
            }
        }
        for (field, count) in [("/ignore", self.ignore.len()), ("/redact", self.redact.len())] {
            if count > MAX_FIELDS {
                fault(field, format!("must have at most {MAX_FIELDS} entries"));
            }
        }
        related::check(&self.related, pointer, faults);
    }
}

/// Reads a time attribute. A string is the application's own format and is kept. A number is the time since 1970: its
/// size tells whether it is in seconds, milliseconds, microseconds or nanoseconds, until the year 5138.
fn time(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => {
            let number = number.decimal();
            let places = match number.power() {
                ..=10 => 9,
                11..=13 => 6,
                14..=16 => 3,
                17..=19 => 0,
                _ => return None,
            };
            Timestamp::from_nanosecond(number.scaled(places)?).ok().map(rfc3339)
        }
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => None,
    }
}
