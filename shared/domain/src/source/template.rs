//! Texts built from an item's attributes: `pipelinesPackets/{packetId}/comments`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::MapError;
use crate::value::Map;
use crate::value::path::FieldPath;

/// A text with attributes in braces. `{sk:ORDER#}` is the attribute `sk` without its prefix `ORDER#`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Attribute { path: FieldPath, prefix: String },
}

/// The text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 255 bytes of text with attributes in braces, such as orders/{{order_id}} or {{sk:ORDER#}}")]
pub struct ParseTemplateError;

/// The longest template, in bytes.
const MAX_BYTES: usize = 255;

impl Template {
    /// Returns whether the text is the same for every item.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        !self.0.iter().any(|part| matches!(part, Part::Attribute { .. }))
    }

    /// Returns whether some item has this text. An attribute is at least one character.
    #[must_use]
    pub fn makes(&self, text: &str) -> bool {
        let (mut rest, mut attributes) = (text, 0);
        for (index, part) in self.0.iter().enumerate() {
            let Part::Text(literal) = part else {
                attributes += 1;
                continue;
            };
            let after = if attributes == 0 {
                rest.strip_prefix(literal.as_str())
            } else if index + 1 == self.0.len() {
                rest.strip_suffix(literal.as_str()).filter(|filled| filled.chars().count() >= attributes).map(|_| "")
            } else {
                // The first place is as good as any later one: what follows only gets longer.
                let shortest: usize = rest.chars().take(attributes).map(char::len_utf8).sum();
                let long_enough = rest.chars().nth(attributes - 1).is_some();
                long_enough.then(|| rest[shortest..].split_once(literal.as_str())).flatten().map(|(_, after)| after)
            };
            let Some(after) = after else { return false };
            (rest, attributes) = (after, 0);
        }
        if attributes == 0 { rest.is_empty() } else { rest.chars().count() >= attributes }
    }

    /// Returns the text for an item of which only some attributes are known; the others are `unknown`.
    pub(crate) fn fill_partly(&self, image: &Map, unknown: &str) -> String {
        let filled = self.0.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Attribute { path, prefix } => {
                let text = path.get(image).and_then(|value| value.as_text()?.strip_prefix(prefix.as_str()));
                text.filter(|text| !text.is_empty()).unwrap_or(unknown)
            }
        });
        filled.collect()
    }

    /// Returns whether an item has all attributes, and this is the text for it.
    pub(super) fn is_filled(&self, image: &Map, text: &str) -> bool {
        let rest = self.0.iter().try_fold(text, |rest, part| match part {
            Part::Text(text) => rest.strip_prefix(text.as_str()),
            Part::Attribute { path, prefix } => {
                let value = path.get(image)?.as_text()?.strip_prefix(prefix.as_str())?;
                rest.strip_prefix(value).filter(|_| !value.is_empty())
            }
        });
        rest == Some("")
    }

    /// Returns the text for an item. `role` says in errors what the source uses it for.
    ///
    /// # Errors
    ///
    /// If an attribute is missing, is neither a non-empty string nor a number, or lacks its prefix.
    pub(super) fn fill(&self, image: &Map, role: &'static str) -> Result<String, MapError> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Attribute { path, prefix } => {
                    let attribute = || path.to_string();
                    let value =
                        path.get(image).ok_or_else(|| MapError::Missing { attribute: attribute(), role })?.as_text();
                    let text =
                        value.and_then(|text| text.strip_prefix(prefix.as_str())).filter(|text| !text.is_empty());
                    filled.push_str(text.ok_or_else(|| MapError::NotText {
                        attribute: attribute(),
                        role,
                        prefix: prefix.clone(),
                    })?);
                }
            }
        }
        Ok(filled)
    }
}

impl FromStr for Template {
    type Err = ParseTemplateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > MAX_BYTES || text.chars().any(char::is_control) {
            return Err(ParseTemplateError);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(open);
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let (inner, after) =
                from.strip_prefix('{').and_then(|from| from.split_once('}')).ok_or(ParseTemplateError)?;
            let (path, prefix) = inner.split_once(':').unwrap_or((inner, ""));
            let path = path.parse().map_err(|_| ParseTemplateError)?;
            if prefix.contains('{') {
                return Err(ParseTemplateError);
            }
            parts.push(Part::Attribute { path, prefix: prefix.to_owned() });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }
}

impl TryFrom<String> for Template {
    type Error = ParseTemplateError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.to_string()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Attribute { path, prefix } if prefix.is_empty() => write!(f, "{{{path}}}"),
            Part::Attribute { path, prefix } => write!(f, "{{{path}:{prefix}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::value::tests::map;

    #[rstest]
    #[case::fixed("orders", Ok("orders"))]
    #[case::attribute("{n}", Ok("7"))]
    #[case::between("p/{packet.id}/comments", Ok("p/p1/comments"))]
    #[case::without_its_prefix("{sk:ORDER#}", Ok("o1"))]
    #[case::two("{n}-{sk}", Ok("7-ORDER#o1"))]
    #[case::absent("{nix}", Err(r#"the item has no attribute "nix", which the source names for its entity id"#))]
    #[case::other_prefix("{sk:USER#}", Err(r#"attribute "sk", which the source names for the entity id, is not a non-empty string or a number that starts with "USER#""#))]
    #[case::nothing_after("{sk:ORDER#o1}", Err(r#"attribute "sk", which the source names for the entity id, is not a non-empty string or a number that starts with "ORDER#o1""#))]
    #[case::a_map(
        "{packet}",
        Err(r#"attribute "packet", which the source names for the entity id, is not a non-empty string or a number"#)
    )]
    fn fills(#[case] template: &str, #[case] expected: Result<&str, &str>) {
        let image = map(&json!({"n": 7, "packet": {"id": "p1"}, "sk": "ORDER#o1"}));
        let template: Template = template.parse().unwrap();
        for text in ["orders", "7", "p/p1/comments", "o1", "7-ORDER#o1", "", "7-ORDER#o", "o12"] {
            assert_eq!(template.is_filled(&image, text), expected == Ok(text), "{text}");
        }
        let filled = template.fill(&image, "entity id").map_err(|error| error.to_string());
        assert_eq!(filled, expected.map(str::to_owned).map_err(str::to_owned));
    }

    #[rstest]
    #[case::empty("")]
    #[case::open("{a")]
    #[case::closed("a}")]
    #[case::no_name("{}")]
    #[case::nested("{a:{b}}")]
    #[case::control("a\nb")]
    fn refuses(#[case] text: &str) {
        assert_eq!(text.parse::<Template>(), Err(ParseTemplateError));
    }

    #[rstest]
    #[case::fixed("orders", "orders", true)]
    #[case::longer("orders", "orders2", false)]
    #[case::attribute("{n}", "7", true)]
    #[case::empty_attribute("{n}", "", false)]
    #[case::between("p/{packet.id}/comments", "p/p1/comments", true)]
    #[case::nothing_between("p/{packet.id}/comments", "p//comments", false)]
    #[case::other_end("p/{packet.id}/comments", "p/p1/labels", false)]
    #[case::end_twice("{a}x", "axx", true)]
    #[case::two("{a}-{b}", "a-b", true)]
    #[case::two_of_which_one_is_empty("{a}-{b}", "-b", false)]
    #[case::side_by_side("{a}{b}/x", "a/x", false)]
    #[case::many("{a}-{b}-{c}", "ä-ö-ü", true)]
    #[case::too_short("{a}{b}-c-d", "é", false)]
    fn knows_what_it_makes(#[case] template: &str, #[case] text: &str, #[case] makes: bool) {
        assert_eq!(template.parse::<Template>().unwrap().makes(text), makes);
    }

    proptest! {
        #[test]
        fn makes_what_it_fills_in(template in "(p/)?\\{a\\}(-|--|/x/)?(\\{b\\}|\\{c\\}y)?", values in "[p/x-]{1,3}") {
            let image = map(&json!({"a": values, "b": "-", "c": "y"}));
            let template: Template = template.parse().unwrap();
            let filled = template.fill(&image, "id").unwrap();
            prop_assert!(template.makes(&filled), "{} of {}", filled, template);
            prop_assert_eq!(template.fill_partly(&image, "test"), filled);
        }
    }

    #[test]
    fn is_written_as_it_was_read() {
        for text in ["orders", "{n}", "p/{packet.id}/c", "{sk:ORDER#}x"] {
            assert_eq!(text.parse::<Template>().unwrap().to_string(), text);
        }
    }
}
