//! Divides a batch into groups that fit into memory when they are parsed.
//!
//! A record of 300 KB can take 15 MB of memory: a map with one entry takes 700 bytes, and 20 bytes in the record.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

/// The most memory that the parsed records of a group may take, in bytes. A single record may take more.
const MAX_BYTES: usize = 48 * 1024 * 1024;

/// The memory that a map takes, in bytes: once as a part of the change, and once in its event.
const BYTES_A_MAP: usize = 2 * 720;

/// The memory that each byte of a record takes, in bytes. The shortest value is a number: nine bytes of the record take
/// 57 bytes, twice. The JSON of the event's states takes another byte.
const BYTES_A_BYTE: usize = 14;

/// The memory that each byte of a published event takes, in bytes. The worst case is maps with one entry each, of eight
/// bytes. One byte is for the JSON of its states.
const BYTES_A_PUBLISHED_BYTE: usize = 97;

/// The text before the packed event in a record of the Events table, and the number of base64 characters after it that
/// contain the event's length.
const PACKED: &str = r#""zstd":{"B":""#;
const HEADER: usize = 24;

/// Divides a batch into groups, in order.
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

/// Returns an upper bound of the memory that a record takes when it is parsed, in bytes.
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

    /// The unpacked length is known before anything is unpacked.
    #[test]
    fn a_published_event_counts_as_what_it_unpacks_to() {
        let packed = |length: usize| STANDARD.encode(zstd::bulk::compress(&vec![b' '; length], 3).unwrap());
        let record = |length: usize| json!({"dynamodb": {"NewImage": {"zstd": {"B": packed(length)}}}});
        assert_eq!(lengths(&[record(250_000), record(250_000), record(250_000)]), [2, 1]);
        assert_eq!(lengths(&vec![record(1_000); 100]), [100]);
    }
}
