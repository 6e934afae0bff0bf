//! Pagination of lists: `limit` and `cursor`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::problem::{Fault, Problem};

/// The default number of entries on a page.
const DEFAULT_LIMIT: usize = 50;

/// The largest number of entries on a page.
const MAX_LIMIT: usize = 100;

/// The largest total size of a page's entries, in bytes of JSON. A Lambda response has at most 6 MB, in which every
/// quotation mark takes two bytes.
const MAX_BYTES: usize = 5 * 1024 * 1024 / 2;

/// Removes the entries that would make a page too large, but never the first one. Returns the last remaining entry if
/// any were removed: the next page starts after it.
pub(crate) fn fit<T: Serialize>(entries: &mut Vec<T>) -> Option<&T> {
    let mut room = MAX_BYTES;
    let count = entries.iter().take_while(|entry| {
        let bytes = bytes_of(entry);
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

/// Returns whether a response has room for a value.
pub(crate) fn has_room_for<T: Serialize + ?Sized>(value: &T) -> bool {
    bytes_of(value) <= MAX_BYTES
}

fn bytes_of<T: Serialize + ?Sized>(value: &T) -> usize {
    serde_json::to_vec(value).map_or(0, |json| json.len())
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
    /// Creates a page from the parameters of a list that also has other parameters.
    pub(crate) fn new(cursor: Option<String>, limit: Option<usize>) -> Self {
        Self { cursor, limit }
    }

    /// Returns the entry that the page follows in the list's order, if any, and the largest number of entries.
    pub(crate) fn read<Id: FromStr>(self) -> Result<(Option<Id>, usize), Problem> {
        let mut faults = Vec::new();
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            faults.push(Fault::parameter("limit", format!("must be 1 to {MAX_LIMIT}")));
        }
        let cursor = self.cursor.map(|cursor| cursor.parse()).transpose().unwrap_or_else(|_| {
            faults.push(Fault::parameter("cursor", "must be the next_cursor of the previous page"));
            None
        });
        if faults.is_empty() { Ok((cursor, limit)) } else { Err(Problem::Invalid(faults)) }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    // A JSON string has two quotation marks in addition to its characters.
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
