//! Truncates and compares texts.

/// Returns the text, or as much of its start as fits into this many bytes, followed by `…`.
#[must_use]
pub fn clip(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes.saturating_sub('…'.len_utf8()));
    format!("{}…", &text[..end])
}

/// The longest texts that are compared, in bytes: a comparison takes time in proportion to the product of the
/// lengths, and a tenant may have hundreds of names.
const MAX_COMPARED: usize = 64;

/// Returns the candidate that takes the fewest edits, whatever its case, and the number of edits. Long texts are not
/// compared.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<(&'a str, usize)> {
    let is_short = |text: &str| text.len() <= MAX_COMPARED;
    let name = Some(name).filter(|name| is_short(name))?.to_lowercase();
    let edits = |candidate: &str| strsim::osa_distance(&name, &candidate.to_lowercase());
    candidates
        .into_iter()
        .filter(|candidate| is_short(candidate))
        .map(|candidate| (candidate, edits(candidate)))
        .min_by_key(|(_, edits)| *edits)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn the_nearest_is_found_among_short_texts() {
        let long = "a".repeat(65);
        assert_eq!(nearest("Ordr", ["offer", "order", long.as_str()]), Some(("order", 1)));
        assert_eq!(nearest(&long, ["order"]), None);
        assert_eq!(nearest("a", [long.as_str()]), None);
    }

    #[rstest]
    #[case::fits("été", 5, "été")]
    #[case::too_long("été chaud", 8, "été…")]
    #[case::never_half_a_character("ééé", 5, "é…")]
    fn a_long_text_ends_early(#[case] text: &str, #[case] bytes: usize, #[case] clipped: &str) {
        assert_eq!(clip(text, bytes), clipped);
        assert!(clipped.len() <= bytes);
    }
}
