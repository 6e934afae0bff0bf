//! Which page of a list: `limit` and `cursor`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::problem::{Fault, Problem};

/// How many entries a page has unless the caller says otherwise.
const DEFAULT_LIMIT: usize = 50;

/// The most that a page has.
const MAX_LIMIT: usize = 100;

/// The most that the entries of a page have, in bytes of JSON. Lambda answers with 6 MB at most, in which each quote takes two.
const MAX_BYTES: usize = 5 * 1024 * 1024 / 2;

/// Leaves out the entries from where on a page would be too large, but never its first; returns the last one if it left out any:
/// there the next page starts.
pub(crate) fn fit<T: Serialize>(entries: &mut Vec<T>) -> Option<&T> {
    let mut room = MAX_BYTES;
    let count = entries.iter().take_while(|entry| {
        let bytes = serde_json::to_vec(entry).map_or(0, |json| json.len());
        let fits = bytes <= room;
        room = room.saturating_sub(bytes);
        fits
    });
    let count = count.count().max(1);
    if count >= entries.len() {
        return None;
    }
    entries.truncate(count);
    entries.last()
}

/// The parameters of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// The `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^dlv_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    cursor: Option<String>,
    /// The maximum number of entries.
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    // A text of JSON has two quotes.
    #[rstest]
    #[case::all(&[10, 20, 30], 3)]
    #[case::nothing(&[], 0)]
    #[case::just(&[MAX_BYTES - 12, 8], 2)]
    #[case::one_byte_more(&[MAX_BYTES - 11, 8], 1)]
    #[case::none_after_the_cut(&[10, MAX_BYTES, 10], 1)]
    #[case::a_first_that_is_too_large(&[MAX_BYTES * 2, 10], 1)]
    fn a_page_fits_into_an_answer_and_is_never_empty_for_its_size(#[case] lengths: &[usize], #[case] kept: usize) {
        let mut entries: Vec<String> = lengths.iter().map(|length| "x".repeat(*length)).collect();
        let last = fit(&mut entries).map(String::len);
        assert_eq!(entries.len(), kept);
        assert_eq!(last, (kept < lengths.len()).then(|| lengths[kept - 1]));
    }
}
