//! The text of a notice: what happened, to which webhook, and what to do.
//!
//! It is composed when the notice is sent, so that it can say how the webhook does then. It contains no payload, no
//! secret and no URL of a receiver, only its host.

use serde_json::json;
use url::Url;

use crate::event::operational::EXHAUSTED;
use crate::id::WebhookId;
use crate::payload::chat::{slack_text, teams_card};
use crate::text::clip;
use crate::value::{Map, Value};
use crate::webhook::Webhook;
use crate::webhook::notice::CODE_VALID_FOR;
use crate::webhook::statistics::Statistics;

/// The type of the message that asks an address for its confirmation. No event has it.
pub const CONFIRMATION: &str = "notice.confirmation";

/// The type of a test of a notice. No event has it.
pub const TEST: &str = "notice.test";

/// The longest value that is shown, in bytes.
const MAX_VALUE_BYTES: usize = 200;

/// The longest subject, in characters: SNS takes fewer than 100.
const MAX_SUBJECT_CHARACTERS: usize = 99;

/// What a notice is about: the body of its message, which is an event in the format `standard`.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    event_type: String,
    at: String,
    data: Map,
}

/// The text of a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeText {
    subject: String,
    lines: Vec<String>,
}

impl Facts {
    /// Reads the body of a notice's message. What it lacks is left out of the text.
    #[must_use]
    pub fn read(body: &str) -> Self {
        let body: Value = body.parse().unwrap_or(Value::Null);
        let text = |name| member(&body, name).and_then(Value::as_text).unwrap_or_default().to_owned();
        let value = member(&body, "data").and_then(|data| member(data, "value"));
        let data = if let Some(Value::Map(data)) = value { data.clone() } else { Map::new() };
        Self { event_type: text("type"), at: text("timestamp"), data }
    }

    /// Returns the body of a message that no event led to: a test, or the confirmation of an address.
    #[must_use]
    pub fn body(event_type: &str, at: &str, address: Option<&str>) -> String {
        json!({"type": event_type, "timestamp": at, "data": {"value": {"address": address}}}).to_string()
    }

    /// Returns the address that is asked for its confirmation.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        (self.event_type == CONFIRMATION).then(|| self.text("address")).flatten()
    }

    /// Returns the webhook that the event is about.
    #[must_use]
    pub fn webhook(&self) -> Option<WebhookId> {
        self.text("webhook_id")?.parse().ok()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.data.get(name).and_then(Value::as_text)
    }

    fn by_failures(&self) -> bool {
        self.data.get("by_failures") == Some(&Value::Bool(true))
    }

    /// Composes the text. `about` is the webhook that the event is about, as it is now.
    #[must_use]
    pub fn compose(&self, about: Option<(&Webhook, &Statistics)>) -> NoticeText {
        let name = about.map(|(webhook, _)| webhook.settings.name.as_str()).or_else(|| self.text("name"));
        let name = name
            .or_else(|| self.text("webhook_id"))
            .map_or_else(|| "a webhook".to_owned(), |name| format!("\"{}\"", clean(name)));
        let (subject, happened, todo) = self.wording(&name);
        let mut lines = vec![happened, String::new()];
        lines.extend(self.details(about));
        if !todo.is_empty() {
            lines.push(String::new());
            lines.extend(todo);
        }
        if self.webhook().is_some() {
            lines.push(String::new());
            lines.push("You get at most one notice of this kind about this webhook an hour.".to_owned());
        }
        NoticeText { subject: shorten(&clean(&subject)), lines }
    }

    /// Returns the subject, what happened, and what to do.
    fn wording(&self, name: &str) -> (String, String, Vec<String>) {
        let id = self.text("webhook_id").map_or_else(|| "{id}".to_owned(), clean);
        let mend = "What to do: read what the receiver answered, and fix the receiver. The failed attempts are at:";
        let look = vec![mend.to_owned(), format!("GET /api/v1/integration/webhooks/{id}/deliveries")];
        let resume = |what: &str| vec![what.to_owned(), format!("POST /api/v1/integration/webhooks/{id}/resume")];
        let (subject, happened, todo) = match self.event_type.as_str() {
            TEST => ("Test notice".to_owned(), "This is a test of this notice. It works.".to_owned(), Vec::new()),
            "webhook.failing" => (
                format!("Webhook {name} is failing"),
                format!(
                    "Deliveries of the webhook {name} fail. They are retried. If the failures continue, the webhook is paused."
                ),
                look,
            ),
            "webhook.recovered" => (
                format!("Webhook {name} works again"),
                format!("The receiver of the webhook {name} accepts deliveries again. No action is needed."),
                Vec::new(),
            ),
            "webhook.paused" if self.by_failures() => (
                format!("Webhook {name} is paused"),
                format!(
                    "Too many deliveries of the webhook {name} failed, so Dynahook paused it. Its deliveries wait, and none \
                     is lost. It resumes when the receiver accepts a delivery again."
                ),
                [look, resume("Then resume the webhook, or wait until it resumes by itself:")].concat(),
            ),
            "webhook.paused" => (
                format!("Webhook {name} is paused"),
                format!("{} paused the webhook {name}. Its deliveries wait, and none is lost.", self.by()),
                resume("What to do: resume it when its receiver is ready:"),
            ),
            "webhook.resumed" => (
                format!("Webhook {name} is resumed"),
                format!("{} resumed the webhook {name}. Its waiting deliveries are sent.", self.by()),
                Vec::new(),
            ),
            "webhook.disabled" if self.by_failures() => (
                format!("Webhook {name} is disabled"),
                format!("The receiver of the webhook {name} asked for no more events, so Dynahook disabled it."),
                vec![
                    "What to do: if that was a mistake, fix the receiver and enable the webhook:".to_owned(),
                    format!("POST /api/v1/integration/webhooks/{id}/enable"),
                ],
            ),
            "webhook.disabled" => (
                format!("Webhook {name} is disabled"),
                format!("{} disabled the webhook {name}. It gets no events.", self.by()),
                Vec::new(),
            ),
            "webhook.secret_rotated" => (
                format!("Webhook {name} has a new secret"),
                format!("{} rotated the secret of the webhook {name}.", self.by()),
                vec!["What to do: give the new secret to the receiver before the old one ends.".to_owned()],
            ),
            EXHAUSTED => (
                format!("Webhook {name} did not get an event"),
                format!("All attempts of a delivery of the webhook {name} failed. It is not retried any more."),
                [
                    look,
                    vec![
                        "Then send all exhausted deliveries again:".to_owned(),
                        "POST /api/v1/integration/dead-letters/redrive".to_owned(),
                    ],
                ]
                .concat(),
            ),
            "usage.threshold_reached" => (
                format!("{} % of a budget is used", self.text("percent").map_or_else(String::new, clean)),
                format!(
                    "You have used {} % of your budget {}.",
                    self.text("percent").map_or_else(String::new, clean),
                    self.text("budget").map_or_else(String::new, clean)
                ),
                vec![
                    "What to do: find what uses it, and ask the operator for a larger budget if you need one:"
                        .to_owned(),
                    "GET /api/v1/integration/usage".to_owned(),
                ],
            ),
            other => (format!("{} {name}", clean(other)), format!("{} {name}.", clean(other)), look),
        };
        (subject, happened, todo)
    }

    /// Returns who did it.
    fn by(&self) -> String {
        self.text("by").map_or_else(|| "A user".to_owned(), clean)
    }

    /// Returns the facts, line by line.
    fn details(&self, about: Option<(&Webhook, &Statistics)>) -> Vec<String> {
        let mut lines = Vec::new();
        let mut say = |label: &str, value: Option<String>| {
            lines.extend(value.filter(|value| !value.is_empty()).map(|value| format!("{label}: {}", clean(&value))));
        };
        let text = |name: &str| self.text(name).map(str::to_owned);
        say("Webhook", text("webhook_id"));
        say("Receiver", about.and_then(|(webhook, _)| host(&webhook.settings.url)));
        say("Contact", about.and_then(|(webhook, _)| webhook.settings.error_email.clone()));
        say("When", Some(self.at.clone()));
        if let Some((_, statistics)) = about.filter(|(_, statistics)| statistics.consecutive_failures > 0) {
            say("Failing since", statistics.failing_since.map(|since| since.to_string()));
            say("Failed attempts in a row", Some(statistics.consecutive_failures.to_string()));
            say("Last error", statistics.last_error.clone());
        }
        say("Delivery", text("delivery_id"));
        say("Event", text("event_id"));
        if self.event_type == EXHAUSTED {
            say("Event type", text("event_type"));
        }
        say("Attempts", text("attempts"));
        say("Last status", text("last_status"));
        let used = text("used").zip(text("limit")).map(|(used, limit)| format!("{used} of {limit}"));
        say("Used", used);
        say("Starts again", text("resets_at"));
        lines
    }
}

/// Returns the mail that asks an address for its confirmation.
#[must_use]
pub fn confirmation(tenant: &str, notice: &str, code: &str) -> NoticeText {
    let days = CODE_VALID_FOR.as_hours() / 24;
    let lines = [
        format!("An admin of {tenant} asked Dynahook to send notices about webhooks to this address."),
        String::new(),
        format!("To get them, give this code to the admin who asked you: {code}"),
        format!("The code is valid for {days} days. The admin confirms it with:"),
        format!("POST /api/v1/integration/notices/{notice}/confirm {{\"code\": \"{code}\"}}"),
        String::new(),
        "If you do not want notices, ignore this mail. Without the code, this address gets nothing else.".to_owned(),
    ];
    NoticeText { subject: "Confirm this address for notices about webhooks".to_owned(), lines: lines.to_vec() }
}

impl NoticeText {
    /// Returns the subject of a mail.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Returns the subject in the characters that SNS takes: printable ASCII.
    #[must_use]
    pub fn ascii_subject(&self) -> String {
        self.subject.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
    }

    /// Returns the text of a mail or of an SNS message.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.lines.join("\n");
        text.push('\n');
        text
    }

    /// Returns the message for a Slack incoming webhook.
    #[must_use]
    pub fn slack(&self) -> String {
        let text = format!("{}\n{}", self.subject, self.lines.join("\n"));
        json!({"text": slack_text(text.trim_end()), "mrkdwn": false}).to_string()
    }

    /// Returns the message for a Teams workflow.
    #[must_use]
    pub fn teams(&self) -> String {
        let lines: Vec<_> = self.lines.iter().filter(|line| !line.is_empty()).map(|line| vec![json!(line)]).collect();
        let subject = json!({"type": "TextRun", "text": self.subject, "weight": "bolder"});
        teams_card(std::iter::once(vec![subject]).chain(lines)).to_string()
    }
}

fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    if let Value::Map(map) = value { map.get(name) } else { None }
}

fn host(url: &str) -> Option<String> {
    Url::parse(url).ok()?.host_str().map(str::to_owned)
}

/// Returns a short text on one line: what a receiver or an owner chose can add no line and no header.
fn clean(text: &str) -> String {
    let line: String =
        text.chars().map(|c| if c.is_control() || c == '\u{2028}' || c == '\u{2029}' { ' ' } else { c }).collect();
    clip(&line, MAX_VALUE_BYTES)
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= MAX_SUBJECT_CHARACTERS {
        return text.to_owned();
    }
    text.chars().take(MAX_SUBJECT_CHARACTERS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests;
