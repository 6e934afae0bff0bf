use rstest::rstest;
use serde_json::json;

use super::*;

fn ready(number: u128, own_id: Option<&str>) -> Ready {
    let id = EventId::from_parts(Timestamp::UNIX_EPOCH, number);
    let event = json!({"event_type": "a.b", "data": {}}).to_string();
    let NewEvent { event_type, data, .. } = serde_json::from_str(&event).unwrap();
    let draft = Draft { event_type, entity_id: None, entity_key: None, collection: None, data, old_data: None };
    let event = draft.event(id, "acme".parse().unwrap(), None, Timestamp::UNIX_EPOCH);
    Ready { event, own_id: own_id.map(str::to_owned), bytes: 1 }
}

#[rstest]
#[case::without_ids(&[None, None], &[0, 1])]
#[case::with_ids(&[Some("a"), Some("b")], &[0, 1])]
#[case::twice_in_the_request(&[Some("a"), None, Some("a")], &[0, 1])]
#[case::published_before(&[Some("old"), Some("a"), Some("old")], &[1])]
#[case::nothing_new(&[Some("old")], &[])]
fn only_what_is_new_is_published_and_counted(#[case] own_ids: &[Option<&str>], #[case] expected: &[u128]) {
    let sent: Vec<_> = (0..).zip(own_ids).map(|(number, own_id)| ready(number, *own_id)).collect();
    let published = HashMap::from([("old", EventId::from_parts(Timestamp::UNIX_EPOCH, 99))]);
    let new = unpublished(&sent.iter().collect::<Vec<_>>(), &published);
    let expected: Vec<_> = expected.iter().map(|number| EventId::from_parts(Timestamp::UNIX_EPOCH, *number)).collect();
    assert_eq!(new.iter().map(|new| new.event.id).collect::<Vec<_>>(), expected);
}
