//! The formats `slack` and `teams`: a readable description of what happened.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::json;

use super::Detail;
use super::json::properties;
use super::view::{FieldChange, View};
use crate::event::types::Operation;
use crate::value::Value;

/// The fields of a Slack message.
pub(super) const SLACK_RESERVED: &[&str] = &["text"];

/// The fields of a Teams message.
pub(super) const TEAMS_RESERVED: &[&str] = &["type", "attachments"];

/// The longest text, in characters, that both products show without folding or cutting it.
const MAX_CHARACTERS: usize = 3000;

/// The longest value, in characters.
const MAX_VALUE_CHARACTERS: usize = 100;

/// A message for a Slack incoming webhook. The owner's properties are at the same level as the text.
pub(super) struct Slack<'a>(pub(super) &'a View<'a>);

impl Serialize for Slack<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(view) = self;
        let (subject, word) = headline(view);
        let mut text = format!("*{}* {word}", mrkdwn(&subject));
        for (index, change) in told(view).enumerate() {
            let line = format!("{}{}", if index == 0 { ": " } else { ", " }, mrkdwn(&change));
            // Leave out whole changes only, so that no escape sequence is cut in half.
            if text.chars().count() + line.chars().count() > MAX_CHARACTERS - 3 {
                text.push_str(", …");
                break;
            }
            text.push_str(&line);
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("text", &text)?;
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
        let block = |text: &str| json!({"type": "TextBlock", "text": text, "wrap": true});
        let mut body = vec![block(&format!("**{}** {word}", markdown(&subject)))];
        let mut characters = 0;
        for change in told(view) {
            let change = markdown(&change);
            characters += change.chars().count();
            if characters > MAX_CHARACTERS {
                body.push(block("…"));
                break;
            }
            body.push(block(&change));
        }
        let card = json!({
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": body,
        });
        let attachment = json!({"contentType": "application/vnd.microsoft.card.adaptive", "content": card});
        let message = json!({"type": "message", "attachments": [attachment]});
        let mut map = serializer.serialize_map(None)?;
        for name in TEAMS_RESERVED {
            map.serialize_entry(name, &Value::of(&message[*name]))?;
        }
        properties(&mut map, view.properties, |name| TEAMS_RESERVED.contains(&name))?;
        map.end()
    }
}

/// The entity, and what happened to it.
fn headline<'a>(view: &View<'a>) -> (String, &'a str) {
    let own = view.event.event_type.as_str();
    let word = own.rsplit_once('.').map_or(own, |(_, last)| last);
    (one_line(&format!("{} {}", view.entity_name(), view.event.entity.id)), word)
}

/// Describes what changed, field by field: only names if values are hidden, and nothing for a deletion.
fn told<'a>(view: &'a View<'_>) -> impl Iterator<Item = String> + 'a {
    let changes = if view.event.operation == Operation::Deleted { Vec::new() } else { view.all_changes() };
    changes.into_iter().map(|FieldChange { field, old, new }| {
        let field = one_line(&field);
        match (view.detail, old, new) {
            (Detail::Thin, ..) | (_, None, None) => field,
            (_, None, Some(new)) => format!("{field}: {}", short(new)),
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

/// Escapes what Slack would read as a link or as a mention of everyone.
fn mrkdwn(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Escapes what Teams would read as emphasis, or as a link whose target is hidden.
fn markdown(text: &str) -> String {
    text.chars()
        .flat_map(|c| matches!(c, '\\' | '*' | '[' | ']' | '`').then_some('\\').into_iter().chain([c]))
        .collect()
}
