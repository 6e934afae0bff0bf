//! The examples of `docs/use/sources.md`.

use super::*;

const DOCS: &str = include_str!("../../../../../docs/use/sources.md");

#[test]
fn the_sources_of_the_documentation_are_allowed() {
    let mut count = 0;
    for block in DOCS.split("```json source\n").skip(1) {
        let text = block.split("```").next().unwrap();
        let source: Source = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(source.check(), [], "{text}");
        count += 1;
    }
    assert!(count > 0);
}

/// The table in the documentation agrees with the sample.
#[test]
fn the_documented_table_agrees_with_the_sample() {
    let sample = include_str!("../../../../../infra/samples/flows.json");
    for mapping in serde_json::from_str::<Source>(sample).unwrap().entities {
        let Mapping { when, entity, collection, entity_key, .. } = mapping;
        let (prefix, key) = (when.unwrap().prefix.unwrap(), entity_key.unwrap());
        let row = format!("| `{prefix}…` | `{entity}` | `{collection}` | `{key}` |");
        assert!(DOCS.contains(&row), "no row ends with {row}");
    }
}
