//! What a receiver can do with `detail: diff`.

use proptest::prelude::*;

use super::*;
use crate::value::Value;

fn any_value() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::Bool), "[a-c]{0,2}".prop_map(Value::String)];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::List),
            prop::collection::btree_map("[ab.`]{0,2}", inner, 0..4).prop_map(Value::Map),
        ]
    })
}

fn any_map() -> impl Strategy<Value = Map> {
    prop::collection::btree_map("[a-d.`]{0,2}", any_value(), 0..5)
}

/// Updates a receiver's copy: removes the old values and inserts the new ones.
fn apply(map: &mut Map, names: &[String], new: Option<Value>) {
    let (first, rest) = names.split_first().unwrap();
    match (rest, new) {
        ([], Some(value)) => drop(map.insert(first.clone(), value)),
        ([], None) => drop(map.remove(first)),
        (_, new) => {
            let Some(Value::Map(inner)) = map.get_mut(first) else { panic!("{first} is no map") };
            apply(inner, rest, new);
        }
    }
}

fn changed(old: Option<&Map>, new: Option<&Map>, settings: serde_json::Value) -> (Map, Vec<String>) {
    let operation = match (old, new) {
        (None, _) => Operation::Created,
        (_, None) => Operation::Deleted,
        _ => Operation::Updated,
    };
    let mut event = event(operation);
    event.old = old.map(|old| state("s1", old.clone()));
    event.new = new.map(|new| state("s2", new.clone()));
    event.update_mask = old.zip(new).map(|(old, new)| changed_paths(old, new));
    let Ok(Value::Map(mut body)) = render(&rendering(settings), &event).parse() else { panic!("no object") };
    let Some(Value::Map(data)) = body.remove("data") else { panic!("no data") };
    let mask = match data.get("updateMask") {
        Some(Value::List(paths)) => paths.iter().map(|path| path.as_text().unwrap().to_owned()).collect(),
        _ => Vec::new(),
    };
    (data, mask)
}

/// Applies the changes of one payload; returns their fields.
fn follow(image: &mut Map, data: &Map) -> Vec<String> {
    let Some(Value::List(changes)) = data.get("changes") else { panic!("no changes") };
    let mut fields = Vec::new();
    for change in changes {
        let Value::Map(change) = change else { panic!("no change") };
        let field: FieldPath = change["field"].as_text().unwrap().parse().unwrap();
        assert_eq!(field.get(image), change.get("old"));
        apply(image, field.names(), change.get("new").cloned());
        fields.push(field.to_string());
    }
    fields
}

proptest! {
    /// A receiver that applies the changes in order has the current entity, and no change repeats an equal value.
    #[test]
    fn changes_rebuild_the_entity(states in prop::collection::vec(any_map(), 1..5)) {
        let mut image = Map::new();
        let settings = || json!({"detail": "diff"});
        let ends = std::iter::once(None).chain(states.iter().map(Some)).collect::<Vec<_>>();
        for pair in ends.windows(2) {
            let (data, mask) = changed(pair[0], pair[1], settings());
            let fields = follow(&mut image, &data);
            prop_assert_eq!(&image, pair[1].unwrap());
            if let Some(old) = pair[0] {
                prop_assert_eq!(&mask, &fields);
                prop_assert_eq!(mask, changed_paths(old, pair[1].unwrap()));
            }
        }
        let (data, _) = changed(states.last(), None, settings());
        follow(&mut image, &data);
        prop_assert_eq!(image, Map::new());
    }

    /// The same holds for the visible part of the entity if fields are left out.
    #[test]
    fn changes_rebuild_the_shown_part(
        old in any_map(),
        new in any_map(),
        include in prop::collection::vec("[a-d](\\.[ab])?", 0..3),
        exclude in prop::collection::vec("[a-d](\\.[ab])?", 0..3),
    ) {
        let settings = |detail: &str| json!({"detail": detail, "include": include, "exclude": exclude});
        let (full, mask) = changed(Some(&old), Some(&new), settings("full"));
        let properties = |name: &str| {
            let Value::Map(entity) = &full[name] else { panic!("{name} is no entity") };
            let Value::Map(properties) = &entity["properties"] else { panic!("{name} has no properties") };
            properties.clone()
        };
        let mut image = properties("oldValue");
        let (diff, diff_mask) = changed(Some(&old), Some(&new), settings("diff"));
        prop_assert_eq!(follow(&mut image, &diff), &mask[..]);
        prop_assert_eq!(image, properties("value"));
        prop_assert_eq!(diff_mask, mask);
    }
}
