//! What a pattern may say.

use serde_json::{Map as JsonMap, Value as Json};

use super::alternative::Alternative;
use super::{Asked, Fields, FilterError};

impl Fields {
    /// Reads what is asked of the fields of the map at a place.
    pub(super) fn read(fields: JsonMap<String, Json>, above: &str) -> Result<Self, FilterError> {
        let error = |place: &str, detail: &str| {
            let place = if place.is_empty() { "the filter" } else { place };
            FilterError { place: place.to_owned(), detail: detail.to_owned() }
        };
        if fields.is_empty() {
            return Err(error(above, "must name a field"));
        }
        let read = |(name, value): (String, Json)| {
            let place = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
            let asked = match value {
                Json::Object(inner) => Asked::Fields(Self::read(inner, &place)?),
                Json::Array(alternatives) if alternatives.is_empty() => {
                    return Err(error(&place, "must list what it may be"));
                }
                Json::Array(alternatives) => {
                    let of = alternatives.len();
                    let read = |alternative| Alternative::read(alternative, of);
                    let read: Result<_, _> = alternatives.into_iter().map(read).collect();
                    Asked::OneOf(read.map_err(|detail| error(&place, detail))?)
                }
                Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {
                    return Err(error(&place, "must be a list of what it may be, such as [\"paid\"], or fields"));
                }
            };
            Ok((name.into(), asked))
        };
        fields.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}
