//! Fixes the schemas of fields that have a description and an inline type.
//!
//! utoipa generates `allOf` for such a field: the type's schema, and a schema of type `object` that has only the
//! description. No string, for example, would be valid, because a string is not an object.

use utoipa::openapi::schema::{AllOf, ArrayItems, Components};
use utoipa::openapi::{Object, ObjectBuilder, RefOr, Schema, Type};

/// Fixes all schemas.
pub(super) fn mend(components: &mut Components) {
    components.schemas.values_mut().for_each(mend_schema);
}

fn mend_schema(schema: &mut RefOr<Schema>) {
    let RefOr::T(schema) = schema else { return };
    match schema {
        Schema::Object(object) => object.properties.values_mut().for_each(mend_schema),
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                mend_schema(items);
            }
        }
        Schema::OneOf(one) => one.items.iter_mut().for_each(mend_schema),
        Schema::AnyOf(any) => any.items.iter_mut().for_each(mend_schema),
        Schema::AllOf(all) => {
            all.items.iter_mut().for_each(mend_schema);
            take_description(all);
        }
        _ => {}
    }
}

/// Moves the description and the default out of an object schema that has nothing else.
fn take_description(all: &mut AllOf) {
    let said = all.items.iter().position(|item| matches!(item, RefOr::T(Schema::Object(object)) if only_says(object)));
    if let Some(RefOr::T(Schema::Object(object))) = said.map(|index| all.items.remove(index)) {
        (all.description, all.default) = (object.description, object.default);
    }
}

fn only_says(object: &Object) -> bool {
    let nothing = ObjectBuilder::new().schema_type(Type::Object).description(object.description.clone());
    let nothing = nothing.default(object.default.clone()).build();
    object.description.is_some() && *object == nothing
}
