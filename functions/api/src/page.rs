//! Pagination of lists: `limit` and `cursor`.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
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

/// The number of entries that a page has at most: 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit(usize);

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(LimitVisitor)
    }
}

/// Says of every text that is not a limit what a limit is.
struct LimitVisitor;

impl Visitor<'_> for LimitVisitor {
    type Value = Limit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1 to {MAX_LIMIT}")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Limit, E> {
        let limit = usize::try_from(number).ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        limit.map(Limit).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }
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
    limit: Option<Limit>,
}

impl Page {
    /// Creates a page from the parameters of a list that also has other parameters.
    pub(crate) fn new(cursor: Option<String>, limit: Option<Limit>) -> Self {
        Self { cursor, limit }
    }

    /// Returns the entry that the page follows in the list's order, if any, and the largest number of entries.
    pub(crate) fn read<Id: FromStr>(self) -> Result<(Option<Id>, usize), Problem> {
        self.read_or(DEFAULT_LIMIT)
    }

    /// Returns the same, for a list with its own default number of entries.
    pub(crate) fn read_or<Id: FromStr>(self, default: usize) -> Result<(Option<Id>, usize), Problem> {
        let limit = self.limit.map_or(default, |Limit(limit)| limit);
        let cursor = self.cursor.map(|cursor| cursor.parse()).transpose().map_err(|_| {
            Problem::Invalid(vec![Fault::parameter("cursor", "must be the next_cursor of the previous page")])
        })?;
        Ok((cursor, limit))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::read::read_query;

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

    #[rstest]
    #[case::least("1", None)]
    #[case::most("100", None)]
    #[case::none("0", Some("must be 1 to 100"))]
    #[case::too_many("101", Some("must be 1 to 100"))]
    #[case::negative("-1", Some("must be 1 to 100"))]
    #[case::fraction("1.5", Some("must be 1 to 100"))]
    #[case::word("abc", Some("must be 1 to 100"))]
    #[case::null("null", Some("must be 1 to 100"))]
    #[case::truth("true", Some("must be 1 to 100"))]
    #[case::huge("18446744073709551616", Some("must be 1 to 100"))]
    fn a_limit_that_is_refused_is_told_what_it_must_be(#[case] limit: &str, #[case] detail: Option<&str>) {
        let reading = read_query::<Page>(vec![("limit".to_owned(), limit.to_owned())]);
        let (_, faults) = reading.into_parts();
        assert_eq!(faults.first().map(|fault| fault.detail.as_str()), detail);
    }
}
