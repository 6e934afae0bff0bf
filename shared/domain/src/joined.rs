//! Joins several texts into one, for table keys and for digests. Different lists of texts never give the same result.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Joins parts with `#`. Within a part, `#` becomes `%23` and `%` becomes `%25`, so that a part cannot be mistaken for
/// two.
///
/// Parts of letters, digits and other punctuation stay readable. An empty list gives the same text as a single empty
/// part.
#[must_use]
pub fn key(parts: &[&str]) -> String {
    let mut joined = String::with_capacity(parts.iter().map(|part| part.len() + 1).sum());
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            joined.push('#');
        }
        for character in part.chars() {
            match character {
                '#' | '%' => {
                    let _ = write!(joined, "%{:02X}", u32::from(character));
                }
                _ => joined.push(character),
            }
        }
    }
    joined
}

/// Returns the SHA-256 over the parts in hexadecimal. Each part is preceded by its length, so that `["ab", "c"]` and
/// `["a", "bc"]` differ.
#[must_use]
pub fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_names_stay_readable() {
        assert_eq!(key(&["RATE", "api", "acme", "crm@example.com"]), "RATE#api#acme#crm@example.com");
        assert_eq!(key(&["a#b", "50%"]), "a%23b#50%25");
    }

    /// Texts that are likely to collide if parts are joined carelessly.
    fn parts() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[a#%23 ./-]{0,4}", 1..4)
    }

    proptest! {
        #[test]
        fn different_lists_are_different_texts(one in parts(), other in parts()) {
            let [one, other] = [&one, &other].map(|parts| parts.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(key(&one) == key(&other), one == other);
            prop_assert_eq!(digest(&one) == digest(&other), one == other);
        }
    }
}
