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

/// Returns the candidate that takes the fewest edits, whatever its case, and the number of edits.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<(&'a str, usize)> {
    let name = name.to_lowercase();
    let edits = |candidate: &str| strsim::osa_distance(&name, &candidate.to_lowercase());
    candidates.into_iter().map(|candidate| (candidate, edits(candidate))).min_by_key(|(_, edits)| *edits)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::fits("été", 5, "été")]
    #[case::too_long("été chaud", 8, "été…")]
    #[case::never_half_a_character("ééé", 5, "é…")]
    fn a_long_text_ends_early(#[case] text: &str, #[case] bytes: usize, #[case] clipped: &str) {
        assert_eq!(clip(text, bytes), clipped);
        assert!(clipped.len() <= bytes);
    }
}
