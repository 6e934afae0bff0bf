//! Escapes a body for the JSON of its message.
//!
//! A body is JSON itself: long, and with a quote every few bytes. `serde_json` looks at each byte of it on its own,
//! which takes a seventh of fan-out's time for a record.

use crate::value::quotes::first_quote;

/// Returns whether only quotes and backslashes of a text must be escaped for a queue: whether it has no control
/// characters, and no U+FFFE or U+FFFF. Both start with the byte 0xef, which is rare.
pub(super) fn is_plain(text: &str) -> bool {
    // All bytes in any case, because this is how the compiler looks at many at once.
    text.bytes().fold(0, |found, byte| found | u8::from(byte < 0x20 || byte == 0xef)) == 0
}

/// Appends a [plain](is_plain) text with its quotes and backslashes escaped.
pub(super) fn escape(text: &str, json: &mut Vec<u8>) {
    const FULL: usize = 512;
    // A place in it costs less than the end of a vector, and a copy of a fixed size much less than one up to the next
    // quote.
    let (mut block, mut end) = ([0; FULL + 9], 0);
    let mut rest = text.as_bytes();
    while let Some(word) = rest.first_chunk::<8>() {
        block[end..end + 8].copy_from_slice(word);
        let found = first_quote(*word);
        if let Some(escaped) = word.get(found) {
            block[end + found] = b'\\';
            block[end + found + 1] = *escaped;
            end += found + 2;
            rest = &rest[found + 1..];
        } else {
            end += 8;
            rest = &rest[8..];
        }
        if end >= FULL {
            json.extend_from_slice(&block[..end]);
            end = 0;
        }
    }
    json.extend_from_slice(&block[..end]);
    for byte in rest {
        if matches!(byte, b'"' | b'\\') {
            json.push(b'\\');
        }
        json.push(*byte);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str) -> Option<String> {
        let mut json = Vec::new();
        escape(text, &mut json);
        is_plain(text).then(|| format!("\"{}\"", String::from_utf8(json).unwrap()))
    }

    #[test]
    fn each_character_is_escaped_as_serde_json_does_at_any_place() {
        for character in ('\u{0}'..='\u{ff}').chain(['\u{2028}', '\u{fffd}', '\u{fffe}', '\u{ffff}', '\u{1f600}']) {
            for before in 0..10 {
                let text = format!("{}{character}{}", "a".repeat(before), "ü\"".repeat(before));
                let is_plain = character >= ' ' && !('\u{f000}'..='\u{ffff}').contains(&character);
                assert_eq!(escaped(&text), is_plain.then(|| serde_json::to_string(&text).unwrap()), "{text:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn texts_are_escaped_as_serde_json_does(text in "([\u{20}-\u{ff}]|[\"\\\\a]|\\PC){0,60}") {
            let is_other = |c| c < ' ' || ('\u{f000}'..='\u{ffff}').contains(&c);
            let expected = (!text.contains(is_other)).then(|| serde_json::to_string(&text).unwrap());
            prop_assert_eq!(escaped(&text), expected);
        }
    }
}
