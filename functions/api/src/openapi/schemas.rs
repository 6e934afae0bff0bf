//! Visits every schema of the document.

use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{AdditionalProperties, ArrayItems};
use utoipa::openapi::{Content, OpenApi, RefOr, Schema};

/// Changes each schema of the components, and then of the operations: inner schemas first.
pub(super) fn each(openapi: &mut OpenApi, change: &mut impl FnMut(&mut RefOr<Schema>)) {
    if let Some(components) = &mut openapi.components {
        components.schemas.values_mut().for_each(|schema| inside_out(schema, change));
    }
    let webhooks = openapi.webhooks.iter_mut().flat_map(|webhooks| webhooks.paths.values_mut());
    for operation in openapi.paths.paths.values_mut().chain(webhooks).flat_map(operations) {
        for parameter in operation.parameters.iter_mut().flatten() {
            if let RefOr::T(parameter) = parameter
                && let Some(schema) = &mut parameter.schema
            {
                inside_out(schema, change);
            }
        }
        if let Some(RefOr::T(body)) = &mut operation.request_body {
            body.content.values_mut().for_each(|content| in_content(content, change));
        }
        for response in operation.responses.responses.values_mut() {
            if let RefOr::T(response) = response {
                response.content.values_mut().for_each(|content| in_content(content, change));
            }
        }
    }
}

/// Returns the operations of a path.
pub(super) fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    [get, put, post, delete, patch].into_iter().flatten()
}

fn in_content(content: &mut RefOr<Content>, change: &mut impl FnMut(&mut RefOr<Schema>)) {
    if let RefOr::T(content) = content
        && let Some(schema) = &mut content.schema
    {
        inside_out(schema, change);
    }
}

/// Changes a schema after those within it.
pub(super) fn inside_out(schema: &mut RefOr<Schema>, change: &mut impl FnMut(&mut RefOr<Schema>)) {
    if let RefOr::T(whole) = schema {
        match whole {
            Schema::Object(object) => {
                object.properties.values_mut().for_each(|property| inside_out(property, change));
                if let Some(AdditionalProperties::RefOr(values)) = object.additional_properties.as_deref_mut() {
                    inside_out(values, change);
                }
            }
            Schema::Array(array) => {
                if let ArrayItems::RefOrSchema(items) = &mut array.items {
                    inside_out(items, change);
                }
            }
            Schema::OneOf(one) => one.items.iter_mut().for_each(|item| inside_out(item, change)),
            Schema::AllOf(all) => all.items.iter_mut().for_each(|item| inside_out(item, change)),
            Schema::AnyOf(any) => any.items.iter_mut().for_each(|item| inside_out(item, change)),
            _ => {}
        }
    }
    change(schema);
}
