//! Writes schemas in the forms that generators of clients understand (ADR 30).

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::openapi::schema::{AdditionalProperties, AllOf, OneOf, SchemaType};
use utoipa::openapi::{Object, ObjectBuilder, OpenApi, Ref, RefOr, Schema, Type};

use super::schemas::{each, inside_out};

/// Changes all schemas.
pub(super) fn make(openapi: &mut OpenApi) {
    each(openapi, &mut |schema| {
        unwrap(schema);
        open(schema);
    });
    // Parameters keep their defaults: no generator makes a parameter required because of it.
    if let Some(components) = &mut openapi.components {
        components.schemas.values_mut().for_each(|schema| inside_out(schema, &mut describe_default));
        let before = components.schemas.clone();
        components.schemas.values_mut().for_each(|schema| alternatives(schema, &before));
    }
}

type Schemas = BTreeMap<String, RefOr<Schema>>;

/// Makes each alternative of a type one object with all of its fields, and so a type with common fields and
/// alternatives. Generators understand neither `allOf` within `oneOf` nor `oneOf` within `allOf`.
fn alternatives(schema: &mut RefOr<Schema>, schemas: &Schemas) {
    if let RefOr::T(Schema::OneOf(one)) = schema {
        for item in &mut one.items {
            if let RefOr::T(Schema::AllOf(all)) = item
                && let Some(object) = merged(&all.items, all.description.clone(), schemas)
            {
                *item = RefOr::T(object.into());
            }
        }
    } else if let RefOr::T(Schema::AllOf(all)) = schema
        && let Some((index, one)) =
            all.items.iter().enumerate().find_map(|(index, item)| match resolved(item, schemas) {
                Some(Schema::OneOf(one)) => Some((index, one)),
                Some(_) | None => None,
            })
    {
        let with_common = |alternative: &RefOr<Schema>| {
            let mut parts = all.items.clone();
            parts[index] = alternative.clone();
            merged(&parts, None, schemas).map(|object| RefOr::T(object.into()))
        };
        if let Some(items) = one.items.iter().map(with_common).collect() {
            *schema = RefOr::T(Schema::OneOf(OneOf { items, description: all.description.clone(), ..OneOf::new() }));
        }
    }
}

fn resolved<'s>(schema: &'s RefOr<Schema>, schemas: &'s Schemas) -> Option<&'s Schema> {
    match schema {
        RefOr::T(schema) => Some(schema),
        RefOr::Ref(reference) => match schemas.get(reference.ref_location.rsplit('/').next()?)? {
            RefOr::T(schema) => Some(schema),
            RefOr::Ref(_) => None,
        },
    }
}

/// Returns one object with the fields of all parts. `None` if a part is not an object.
fn merged(parts: &[RefOr<Schema>], description: Option<String>, schemas: &Schemas) -> Option<Object> {
    let mut whole = ObjectBuilder::new().schema_type(Type::Object).description(description).build();
    for part in parts {
        let object = match resolved(part, schemas)? {
            Schema::Object(object) => object.clone(),
            Schema::AllOf(all) => merged(&all.items, all.description.clone(), schemas)?,
            Schema::Array(_) | Schema::OneOf(_) | Schema::AnyOf(_) | _ => return None,
        };
        whole.properties.extend(object.properties);
        whole.required.extend(object.required);
        whole.description = whole.description.or(object.description);
    }
    Some(whole)
}

/// Removes `allOf` around a single schema. utoipa writes it for a field that has a description and a type of its own:
/// the type's schema, and a schema of type `object` that has only the description. No string, for example, would be
/// valid, because a string is not an object. Generators make types without a name of what remains.
fn unwrap(schema: &mut RefOr<Schema>) {
    let RefOr::T(Schema::AllOf(all)) = schema else { return };
    take_description(all);
    if let [inner] = all.items.as_mut_slice() {
        let (description, default) = (all.description.take(), all.default.take());
        let mut inner = std::mem::replace(inner, RefOr::Ref(Ref::default()));
        describe(&mut inner, description, default);
        *schema = inner;
    }
}

/// Moves the description and the default out of an object schema that has nothing else.
fn take_description(all: &mut AllOf) {
    let found =
        all.items.iter().position(|item| matches!(item, RefOr::T(Schema::Object(object)) if only_describes(object)));
    if let Some(RefOr::T(Schema::Object(object))) = found.map(|index| all.items.remove(index)) {
        (all.description, all.default) = (object.description, object.default);
    }
}

fn only_describes(object: &Object) -> bool {
    let nothing = ObjectBuilder::new().schema_type(Type::Object).description(object.description.clone());
    let nothing = nothing.default(object.default.clone()).build();
    object.description.is_some() && *object == nothing
}

fn describe(schema: &mut RefOr<Schema>, description: Option<String>, default: Option<Value>) {
    match schema {
        RefOr::Ref(reference) => {
            reference.description = description.unwrap_or_default();
            reference.default = default;
        }
        RefOr::T(schema) => {
            if let Some((text, set)) = description_and_default(schema) {
                *text = description.or(text.take());
                *set = default.or(set.take());
            }
        }
    }
}

/// Returns the description and the default of a schema.
fn description_and_default(schema: &mut Schema) -> Option<(&mut Option<String>, &mut Option<Value>)> {
    match schema {
        Schema::Array(array) => Some((&mut array.description, &mut array.default)),
        Schema::Object(object) => Some((&mut object.description, &mut object.default)),
        Schema::OneOf(one) => Some((&mut one.description, &mut one.default)),
        Schema::AllOf(all) => Some((&mut all.description, &mut all.default)),
        Schema::AnyOf(any) => Some((&mut any.description, &mut any.default)),
        _ => None,
    }
}

/// Says that an object without properties may have any. Some generators read silence as an empty object.
fn open(schema: &mut RefOr<Schema>) {
    let RefOr::T(Schema::Object(object)) = schema else { return };
    let may_be_object = match &object.schema_type {
        SchemaType::Type(kind) => *kind == Type::Object,
        SchemaType::Array(kinds) => kinds.contains(&Type::Object),
        SchemaType::AnyValue => false,
    };
    // Every name of a JSON object is a string.
    object.property_names = None;
    let any = Schema::Object(ObjectBuilder::new().schema_type(SchemaType::AnyValue).build());
    let says_nothing = match object.additional_properties.as_deref() {
        None => true,
        Some(AdditionalProperties::RefOr(RefOr::T(values))) => *values == any,
        Some(_) => false,
    };
    if may_be_object && object.properties.is_empty() && says_nothing {
        object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(true)));
    }
}

/// Moves a default into the description. Generated clients send a default that their caller did not set, and so would
/// reset fields with PATCH; others make the field required.
fn describe_default(schema: &mut RefOr<Schema>) {
    let (mut description, default) = match schema {
        RefOr::Ref(reference) => (Some(reference.description.clone()), reference.default.take()),
        RefOr::T(schema) => match description_and_default(schema) {
            Some((description, default)) => (description.clone(), default.take()),
            None => (None, None),
        },
    };
    let Some(default) = default.filter(|default| *default != Value::Null) else { return };
    let text = description.get_or_insert_default();
    if !text.contains("Default: ") {
        let space = if text.is_empty() { "" } else { " " };
        *text = format!("{text}{space}Default: `{default}`.");
    }
    describe(schema, description, None);
}
