//! The formats `slack` and `teams`: a readable description of what happened.
//!
//! Neither product lets a message escape every formatting character, so no value is put where formatting is read: Slack
//! is asked not to format the text, and a card for Teams consists of text runs, which have no markup.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::json;

use super::Detail;
use super::json::properties;
use super::view::{FieldChange, View};
use crate::event::types::Operation;
use crate::value::{Map, Value};

/// The fields of a Slack message.
pub(super) const SLACK_RESERVED: &[&str] = &["text", "mrkdwn"];

/// The fields of a Teams message.
pub(super) const TEAMS_RESERVED: &[&str] = &["type", "attachments"];

/// The longest text, in characters, that both products show without folding or cutting it.
const MAX_CHARACTERS: usize = 3000;

/// The longest value, in characters.
const MAX_VALUE_CHARACTERS: usize = 100;

/// The attributes that usually hold what people call an entity, most telling first.
const TITLES: &[&str] = &["title", "name", "display_name", "displayname", "subject", "label", "summary"];

/// A message for a Slack incoming webhook. The owner's properties are at the same level as the text.
pub(super) struct Slack<'a>(pub(super) &'a View<'a>);

impl Serialize for Slack<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(view) = self;
        let (subject, word) = headline(view);
        let mut text = slack_text(&format!("{subject} {word}"));
        for (index, change) in told(view).enumerate() {
            let line = format!("{}{}", if index == 0 { ": " } else { ", " }, slack_text(&change));
            // Leave out whole changes only, so that no escape sequence is cut in half.
            if text.chars().count() + line.chars().count() > MAX_CHARACTERS - 3 {
                text.push_str(", …");
                break;
            }
            text.push_str(&line);
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("text", &text)?;
        map.serialize_entry("mrkdwn", &false)?;
        properties(&mut map, view.properties, |name| SLACK_RESERVED.contains(&name))?;
        map.end()
    }
}

/// A message for a Teams workflow: an adaptive card. The owner's properties are at the same level as the attachments.
pub(super) struct Teams<'a>(pub(super) &'a View<'a>);

impl Serialize for Teams<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(view) = self;
        let (subject, word) = headline(view);
        let subject = json!({"type": "TextRun", "text": subject, "weight": "bolder"});
        let mut lines = vec![vec![subject, json!(format!(" {word}"))]];
        let mut characters = 0;
        for change in told(view) {
            characters += change.chars().count();
            if characters > MAX_CHARACTERS {
                lines.push(vec![json!("…")]);
                break;
            }
            lines.push(vec![json!(change)]);
        }
        let message = teams_card(lines);
        let mut map = serializer.serialize_map(None)?;
        for name in TEAMS_RESERVED {
            map.serialize_entry(name, &Value::of(&message[*name]))?;
        }
        properties(&mut map, view.properties, |name| TEAMS_RESERVED.contains(&name))?;
        map.end()
    }
}

/// Returns a message for a Teams workflow: a card with these lines, each of which consists of text runs.
pub(crate) fn teams_card(lines: impl IntoIterator<Item = Vec<serde_json::Value>>) -> serde_json::Value {
    let block = |inlines: Vec<serde_json::Value>| json!({"type": "RichTextBlock", "inlines": inlines});
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": lines.into_iter().map(block).collect::<Vec<_>>(),
    });
    let attachment = json!({"contentType": "application/vnd.microsoft.card.adaptive", "content": card});
    json!({"type": "message", "attachments": [attachment]})
}

/// The entity with its title, and what happened to it.
fn headline<'a>(view: &View<'a>) -> (String, &'a str) {
    let own = view.event.event_type.as_str();
    let word = own.rsplit_once('.').map_or(own, |(_, last)| last);
    let id = one_line(&format!("{} {}", view.entity_name(), view.event.entity.id));
    let shown = view.new.as_ref().or(view.old.as_ref()).filter(|_| view.detail != Detail::Thin);
    let title = shown.and_then(|shown| title(&shown.properties));
    (title.map_or_else(|| id.clone(), |title| format!("{id} ({})", one_line(title))), word)
}

/// Returns what people call the entity, so that a message about a deletion says more than an id.
fn title(attributes: &Map) -> Option<&str> {
    TITLES.iter().find_map(|wanted| {
        let mut values = attributes.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        values.find_map(|(_, value)| {
            let Value::String(text) = value else { return None };
            (!text.trim().is_empty()).then_some(text.as_str())
        })
    })
}

/// Describes what changed, field by field, and what a deleted entity was: only names if values are hidden.
fn told<'a>(view: &'a View<'_>) -> impl Iterator<Item = String> + 'a {
    let deleted = view.event.operation == Operation::Deleted;
    view.all_changes().into_iter().map(move |FieldChange { field, old, new }| {
        let field = one_line(&field);
        match (view.detail, old, new) {
            (Detail::Thin, ..) | (_, None, None) => field,
            (_, None, Some(new)) => format!("{field}: {}", short(new)),
            (_, Some(old), None) if deleted => format!("{field}: {}", short(old)),
            (_, Some(old), None) => format!("{field}: {} → nothing", short(old)),
            (_, Some(old), Some(new)) => format!("{field}: {} → {}", short(old), short(new)),
        }
    })
}

fn short(value: &Value) -> String {
    match value.as_text() {
        Some(text) => one_line(text),
        None => one_line(&super::json::text(value)),
    }
}

fn one_line(text: &str) -> String {
    let mut line: String =
        text.chars().take(MAX_VALUE_CHARACTERS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MAX_VALUE_CHARACTERS).is_some() {
        line.push('…');
    }
    line
}

/// Escapes the three characters that Slack reads as the beginning of a link, a mention or an escape sequence, also in
/// text that it does not format.
pub(crate) fn slack_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
