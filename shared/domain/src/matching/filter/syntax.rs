//! Parses patterns.

use super::alternative::Alternative;
use super::{Asked, Fields};
use crate::fault::{FieldError, step};
use crate::value::{Map, Value};

impl Fields {
    /// Parses the conditions on the fields of the map at a place, a JSON pointer. Invalid parts are left out and added
    /// to `faults`.
    pub(super) fn read(fields: Map, above: &str, faults: &mut Vec<FieldError>) -> Self {
        if fields.is_empty() {
            faults.push(FieldError::new(above, "must name a field"));
        }
        let mut read = Vec::with_capacity(fields.len());
        for (name, value) in fields {
            let pointer = format!("{above}{}", step(&name));
            let asked = match value {
                Value::Map(inner) => Asked::Fields(Self::read(inner, &pointer, faults)),
                Value::List(alternatives) => Asked::OneOf(read_alternatives(alternatives, &pointer, faults)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                    let detail = "must be a list of values, such as [\"paid\"], or an object of fields";
                    faults.push(FieldError::new(&pointer, detail));
                    continue;
                }
            };
            read.push((name.into(), asked));
        }
        Self(read.into())
    }
}

fn read_alternatives(alternatives: Vec<Value>, pointer: &str, faults: &mut Vec<FieldError>) -> Box<[Alternative]> {
    if alternatives.is_empty() {
        faults.push(FieldError::new(pointer, "must list at least one value"));
    }
    let of = alternatives.len();
    let mut read = Vec::with_capacity(of);
    for (index, alternative) in alternatives.into_iter().enumerate() {
        match Alternative::read(alternative, of) {
            Ok(alternative) => read.push(alternative),
            Err(detail) => faults.push(FieldError::new(&format!("{pointer}/{index}"), detail)),
        }
    }
    read.into()
}
