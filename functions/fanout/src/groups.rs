//! A batch in parts that fit into memory once they are read.
//!
//! A record of 300 KB can take 15 MB when it is read: a map with one entry takes 700 bytes, and is written in 20.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

/// What the records of a group take at most when they are read, in bytes; one record may take more.
const MAX_BYTES: usize = 48 * 1024 * 1024;

/// What a map takes when it is read: as a part of the change, and once more of its event.
const BYTES_A_MAP: usize = 2 * 720;

/// What a byte of a record takes when it is read: the shortest value is a number, of which nine bytes take 57, twice.
const BYTES_A_BYTE: usize = 13;

/// What a byte of a published event takes when it is read: of maps with one entry each, which have eight.
const BYTES_A_PUBLISHED_BYTE: usize = 96;

/// How the packed event begins in a record of the Events table, and how much of it says how long it is.
const PACKED: &str = r#""zstd":{"B":""#;
const HEADER: usize = 24;

/// Divides a batch into groups, in its order.
#[must_use]
pub fn groups(records: &[Box<RawValue>]) -> Vec<&[Box<RawValue>]> {
    let mut groups = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (index, record) in records.iter().enumerate() {
        let more = weight(record.get());
        if index > from && bytes + more > MAX_BYTES {
            groups.push(&records[from..index]);
            (from, bytes) = (index, 0);
        }
        bytes += more;
    }
    groups.push(&records[from..]);
    groups
}

/// Returns at most how many bytes a record takes when it is read.
fn weight(record: &str) -> usize {
    let own = record.len() * BYTES_A_BYTE + record.matches(r#""M""#).count() * BYTES_A_MAP;
    let published = record.split_once(PACKED).and_then(|(_, packed)| {
        let header = STANDARD.decode(packed.get(..HEADER)?).ok()?;
        aws::events::unpacked_bytes(&header)
    });
    own + published.unwrap_or(0).saturating_mul(BYTES_A_PUBLISHED_BYTE)
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    use super::*;

    fn lengths(records: &[Value]) -> Vec<usize> {
        let records: Vec<_> = records.iter().map(|record| to_raw_value(record).unwrap()).collect();
        groups(&records).iter().map(|group| group.len()).collect()
    }

    #[test]
    fn what_is_small_stays_together_and_what_is_large_does_not() {
        let small = json!({"dynamodb": {"NewImage": {"a": {"S": "x".repeat(1_000)}, "m": {"M": {"n": {"N": "1"}}}}}});
        assert_eq!(lengths(&vec![small.clone(); 100]), [100]);
        let maps: Value = (0..15_000).map(|_| json!({"M": {"a": {"N": "1"}}})).collect();
        let large = json!({"dynamodb": {"NewImage": {"a": {"L": maps}}}});
        assert_eq!(lengths(&[small.clone(), large.clone(), large.clone(), large, small]), [2, 1, 2]);
    }

    /// It is read how much there is in it before it is unpacked.
    #[test]
    fn a_published_event_counts_as_what_it_unpacks_to() {
        let packed = |length: usize| STANDARD.encode(zstd::bulk::compress(&vec![b' '; length], 3).unwrap());
        let record = |length: usize| json!({"dynamodb": {"NewImage": {"zstd": {"B": packed(length)}}}});
        assert_eq!(lengths(&[record(250_000), record(250_000), record(250_000)]), [2, 1]);
        assert_eq!(lengths(&vec![record(1_000); 100]), [100]);
    }
}
