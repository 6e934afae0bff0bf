//! Which page of a list: `limit` and `cursor`.

use std::str::FromStr;

use serde::Deserialize;
use utoipa::IntoParams;

use crate::problem::{Fault, Problem};

/// How many entries a page has unless the caller says otherwise.
const DEFAULT_LIMIT: usize = 50;

/// The most that a page has.
const MAX_LIMIT: usize = 100;

/// The parameters of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// The `next_cursor` of the page before.
    #[param(value_type = String, required = false, pattern = "^dlv_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    cursor: Option<String>,
    /// How many at most.
    #[param(value_type = u8, required = false, minimum = 1, maximum = 100, default = 50)]
    limit: Option<usize>,
}

impl Page {
    /// Takes the parameters of a list that has others too.
    pub(crate) fn new(cursor: Option<String>, limit: Option<usize>) -> Self {
        Self { cursor, limit }
    }

    /// Returns where the page starts (after, or before, the entry with that id) and how many entries it has at most.
    pub(crate) fn read<Id: FromStr>(self) -> Result<(Option<Id>, usize), Problem> {
        let mut faults = Vec::new();
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            faults.push(Fault::parameter("limit", format!("must be 1 to {MAX_LIMIT}")));
        }
        let cursor = self.cursor.map(|cursor| cursor.parse()).transpose().unwrap_or_else(|_| {
            faults.push(Fault::parameter("cursor", "must be the next_cursor of the page before"));
            None
        });
        if faults.is_empty() { Ok((cursor, limit)) } else { Err(Problem::Invalid(faults)) }
    }
}
