//! The exact bytes that receivers get.

use ::cloudevents::{AttributesReader, Data};

use super::*;

#[rstest]
fn each_format(
    #[values("change", "standard", "cloudevents", "superoffice", "slack", "teams")] format: &str,
    #[values(Operation::Created, Operation::Updated, Operation::Deleted)] operation: Operation,
) {
    let rendering = rendering(json!({"format": format, "webhook_name": "to the ERP", "properties": {"region": "eu"}}));
    snapshot(&format!("{format}_{operation}"), &render(&rendering, &event(operation)));
}

#[rstest]
fn each_detail(
    #[values("diff", "thin")] detail: &str,
    #[values(Operation::Created, Operation::Updated, Operation::Deleted)] operation: Operation,
) {
    let rendering = rendering(json!({"detail": detail}));
    snapshot(&format!("{detail}_{operation}"), &render(&rendering, &event(operation)));
}

/// In any format, `thin` shows no value of the entity or of the related values.
#[rstest]
fn thin_shows_no_value(
    #[values("change", "standard", "cloudevents", "superoffice", "slack", "teams", "template")] format: &str,
) {
    let template = (format == "template").then_some("{{ [related, updateMask, entityId, value is defined] }}");
    let mut event = event(Operation::Updated);
    event.entity.related = map(&json!({"entityComments": ["Oslo"]}));
    let body = render(&rendering(json!({"format": format, "detail": "thin", "template": template})), &event);
    assert!(["Oslo", "Bergen", "paid\"", "open", "8.3"].iter().all(|value| !body.contains(value)), "{body}");
    assert!(body.contains("p1"), "{body}");
}

/// The payload of a comment, as in the Flows guide.
#[test]
fn comment() {
    let mut event = event(Operation::Deleted);
    let comment = json!({
        "replies": [],
        "content": "Looks good",
        "parentCommentRef": null,
        "softRemoved": true,
        "createdBy": "users/anna",
        "createdAt": "2026-11-20T08:00:00.000Z",
    });
    event.event_type = "comment.deleted".parse().unwrap();
    event.entity = Entity {
        id: "c7".to_owned(),
        key: "flows/comments".to_owned(),
        collection: "pipelinesPackets/p1/comments".to_owned(),
        collection_template: Some("pipelinesPackets/{packetId}/comments".to_owned()),
        related: map(&json!({"entityComments": [{"id": "c6", "content": "Done?"}]})),
    };
    event.removal = Some(Removal::Soft);
    event.old = Some(state("s1", map(&comment)));
    snapshot("comment", &render(&Rendering::default(), &event));
}

/// The guide has both times in every value, and `oldValue` and `updateMask` in every payload.
#[rstest]
#[case::nothing_known(Operation::Updated, None, None, "2026-11-21T10:00:00.500Z", "2026-11-21T10:00:00.500Z")]
#[case::last_update_known(Operation::Updated, None, Some("2026-11-20"), "2026-11-20", "2026-11-20")]
#[case::creation_known(Operation::Updated, Some("2026-11-19"), Some("2026-11-20"), "2026-11-19", "2026-11-20")]
#[case::deleted(Operation::Deleted, None, None, "2026-11-21T10:00:00.500Z", "2026-11-21T10:00:00.500Z")]
#[case::created(Operation::Created, None, None, "2026-11-21T10:00:00.500Z", "")]
fn a_value_has_both_times(
    #[case] operation: Operation,
    #[case] created: Option<&str>,
    #[case] updated: Option<&str>,
    #[case] create_time: &str,
    #[case] old_update_time: &str,
) {
    let mut event = event(operation);
    for state in event.old.iter_mut().chain(&mut event.new) {
        state.create_time = created.map(str::to_owned);
        state.update_time = None;
    }
    if let Some(old) = &mut event.old {
        old.update_time = updated.map(str::to_owned);
    }
    let body: serde_json::Value = serde_json::from_str(&render(&Rendering::default(), &event)).unwrap();
    let data = body["data"].as_object().unwrap();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["oldValue", "updateMask", "value"]);
    for (value, update_time) in [("value", "2026-11-21T10:00:00.500Z"), ("oldValue", old_update_time)] {
        if let Some(value) = data[value].as_object() {
            assert_eq!((&value["createTime"], &value["updateTime"]), (&json!(create_time), &json!(update_time)));
        }
    }
    assert_eq!((data["value"].is_null(), data["oldValue"].is_null()), (event.new.is_none(), event.old.is_none()));
    assert_eq!(data["updateMask"].is_null(), event.update_mask.is_none());
}

#[rstest]
#[case::change("change", Removal::Expired, r#""expired":true,"#)]
#[case::standard("standard", Removal::Expired, r#""removal":"expired","#)]
#[case::cloudevents("cloudevents", Removal::Soft, r#""removal":"soft","#)]
#[case::superoffice("superoffice", Removal::Soft, r#""Event":"packet.softdeleted","#)]
fn says_how_an_entity_went(#[case] format: &str, #[case] removal: Removal, #[case] part: &str) {
    let mut event = event(Operation::Deleted);
    event.removal = Some(removal);
    let body = render(&rendering(json!({"format": format})), &event);
    assert!(body.contains(part), "{body}");
}

#[rstest]
#[case::change("change", r#""eventType":"packet.status_changed","#)]
#[case::standard("standard", r#""type":"packet.status_changed","#)]
#[case::cloudevents("cloudevents", r#""type":"packet.status_changed","#)]
#[case::superoffice("superoffice", r#""Event":"packet.status_changed","#)]
fn shows_the_type_under_which_the_event_is_wanted(#[case] format: &str, #[case] part: &str) {
    let event_type = "packet.status_changed".parse().unwrap();
    let body = rendering(json!({"format": format})).render(&event(Operation::Updated), &event_type).unwrap();
    assert!(body.contains(part), "{body}");
}

#[rstest]
#[case::number("42", "42")]
#[case::negative("-1", "-1")]
#[case::another_spelling("007", r#""007""#)]
#[case::too_large("9223372036854775808", r#""9223372036854775808""#)]
#[case::text("p1", r#""p1""#)]
fn a_primary_key_is_a_number_if_the_id_is_one(#[case] id: &str, #[case] key: &str) {
    let mut event = event(Operation::Created);
    id.clone_into(&mut event.entity.id);
    let body = render(&rendering(json!({"format": "superoffice"})), &event);
    assert!(body.contains(&format!(r#""PrimaryKey":{key},"#)), "{body}");
}

/// Slack formats nothing but `&`, `<` and `>` in a text without `mrkdwn`, and Teams nothing in a text run.
#[rstest]
#[case::a_mention("<!channel>", "&lt;!channel&gt;")]
#[case::an_entity("a &amp; b", "a &amp;amp; b")]
#[case::a_link("[pay](http://a)", "[pay](http://a)")]
#[case::formatting("*b* _i_ ~s~ `c` # > - 1.", "*b* _i_ ~s~ `c` # &gt; - 1.")]
fn text_of_users_is_not_formatted(#[case] text: &str, #[case] in_slack: &str) {
    let mut event = event(Operation::Created);
    event.new = Some(state("s2", map(&json!({"title": text}))));
    let message = |format| -> serde_json::Value {
        serde_json::from_str(&render(&rendering(json!({"format": format})), &event)).unwrap()
    };
    let shown = format!("packet p1 ({in_slack}) created: title: {in_slack}");
    assert_eq!(message("slack"), json!({"text": shown, "mrkdwn": false}));
    let card = message("teams")["attachments"][0]["content"]["body"].clone();
    let subject = json!({"type": "TextRun", "text": format!("packet p1 ({text})"), "weight": "bolder"});
    assert_eq!(card[0], json!({"type": "RichTextBlock", "inlines": [subject, " created"]}));
    assert_eq!(card[1], json!({"type": "RichTextBlock", "inlines": [format!("title: {text}")]}));
}

#[rstest]
#[case::title(json!({"name": "n", "title": "Amélie"}), json!({}), "packet p1 (Amélie) deleted: name: n, title: Amélie")]
#[case::capitals(json!({"DisplayName": "Anna"}), json!({}), "packet p1 (Anna) deleted: DisplayName: Anna")]
#[case::no_text(json!({"name": 7, "label": " "}), json!({}), "packet p1 deleted: label:  , name: 7")]
#[case::excluded(json!({"title": "secret", "id": 7}), json!({"exclude": ["title"]}), "packet p1 deleted: id: 7")]
#[case::thin(json!({"title": "secret"}), json!({"detail": "thin"}), "packet p1 deleted: title")]
fn a_message_says_what_was_deleted(
    #[case] old: serde_json::Value,
    #[case] mut settings: serde_json::Value,
    #[case] text: &str,
) {
    let mut event = event(Operation::Deleted);
    event.old = Some(state("s1", map(&old)));
    settings["format"] = json!("slack");
    let message: serde_json::Value = serde_json::from_str(&render(&rendering(settings), &event)).unwrap();
    assert_eq!(message["text"], text);
}

#[rstest]
fn messages_are_short(#[values("slack", "teams")] format: &str) {
    let mut event = event(Operation::Created);
    let many = (0..1000).map(|n| (format!("field{n}"), json!("<é\n".repeat(100)))).collect();
    event.new = Some(state("s2", map(&serde_json::Value::Object(many))));
    let body = render(&rendering(json!({"format": format})), &event);
    assert!(body.contains('…') && !body.contains("\\n") && body.chars().count() < 6000, "{}", body.len());
    if format == "slack" {
        let message: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert!(message["text"].as_str().unwrap().chars().count() <= 3000);
    }
}

/// Parsed with the official SDK.
#[rstest]
fn a_cloud_event_is_valid(
    #[values(Operation::Created, Operation::Updated, Operation::Deleted)] operation: Operation,
    #[values("full", "diff", "thin")] detail: &str,
) {
    let change = event(operation);
    let rendering = rendering(json!({"format": "cloudevents", "detail": detail, "properties": {"region": {"A": 1}}}));
    let event: ::cloudevents::Event = serde_json::from_str(&render(&rendering, &change)).unwrap();
    assert_eq!((event.id(), event.ty()), (change.id.to_string().as_str(), change.event_type.as_str()));
    assert_eq!((event.source().as_str(), event.subject()), ("/tables/packets", Some("pipelinesPackets/p1")));
    assert_eq!(event.time().unwrap().to_rfc3339(), "2026-11-21T10:00:00.500+00:00");
    assert_eq!(event.datacontenttype(), Some("application/json"));
    assert_eq!(event.extension("sequence").unwrap().to_string(), change.sequence);
    for (name, value) in event.iter_extensions() {
        assert!(
            name.len() <= 20 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()),
            "{name}"
        );
        assert!(!value.to_string().is_empty(), "{name}");
    }
    let Some(Data::Json(data)) = event.data() else { panic!("no data") };
    assert_eq!(data["region"], json!({"A": 1}));
    assert_eq!(data.get("value").is_some(), detail == "full" && operation != Operation::Deleted);
}

/// The examples in `docs/use/payloads.md` are real payloads: each names its format and, if needed, its detail.
#[test]
fn the_examples_in_the_documentation_are_true() {
    let page = include_str!("../../../../../docs/use/payloads.md");
    let template = page.split("```jinja\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let mut seen = Vec::new();
    for block in page.split("```json ").skip(1) {
        let (name, rest) = block.split_once('\n').unwrap();
        let example: crate::value::Value = rest.split("```").next().unwrap().parse().unwrap();
        let (format, detail) = name.split_once(' ').unwrap_or((name, "full"));
        let mut rendering = rendering(json!({"format": format, "detail": detail, "webhook_name": "to the ERP"}));
        rendering.template = (format == "template").then(|| template.to_owned());
        assert_eq!(rendering.check(), []);
        let body = render(&rendering, &event(Operation::Updated));
        assert_eq!(body.parse::<crate::value::Value>().unwrap(), example, "{name}: {body}");
        seen.push(name.to_owned());
    }
    let formats = ["change", "standard", "cloudevents", "superoffice", "slack", "teams", "template"];
    assert!(formats.iter().all(|format| seen.iter().any(|name| name == format)), "{seen:?}");
}
