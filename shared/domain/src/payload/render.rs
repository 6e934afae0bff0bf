//! Rendering in each format, and the validation of rendering settings.

use super::view::View;
use super::work::Work;
use super::{MAX_FIELDS, PayloadFormat, RenderError, Rendering};
use super::{change, chat, cloudevents, json, standard, superoffice, template};
use crate::event::Event;
use crate::event::types::EventType;
use crate::fault::FieldError;

impl PayloadFormat {
    /// Returns the fields of the payload that a property must not replace.
    #[must_use]
    pub fn reserved(self) -> &'static [&'static str] {
        match self {
            Self::Change => change::RESERVED,
            Self::Standard => standard::RESERVED,
            Self::CloudEvents => cloudevents::RESERVED,
            Self::SuperOffice => superoffice::RESERVED,
            Self::Slack => chat::SLACK_RESERVED,
            Self::Teams => chat::TEAMS_RESERVED,
            Self::Template => &[],
        }
    }
}

impl Rendering {
    /// Returns the body that a webhook receives for the event.
    ///
    /// `event_type` is the type under which it receives the event: the event's own, or a derived one
    /// (`packet.status_changed`).
    ///
    /// # Errors
    ///
    /// Only for a template: if it fails, or its output is not JSON or too large.
    pub fn render(&self, event: &Event, event_type: &EventType) -> Result<String, RenderError> {
        self.render_metered(event, event_type).0
    }

    /// Returns the same as [`render`](Self::render), and the work that it took. The work for an event is the same on
    /// every machine.
    pub fn render_metered(&self, event: &Event, event_type: &EventType) -> (Result<String, RenderError>, Work) {
        let view = View::of(self, event, event_type);
        let least = Work::of_event(event);
        let text = match self.format {
            PayloadFormat::Change => json::text(&change::Payload(&view)),
            PayloadFormat::Standard => json::text(&standard::Payload(&view)),
            PayloadFormat::CloudEvents => json::text(&cloudevents::Payload(&view)),
            PayloadFormat::SuperOffice => json::text(&superoffice::Payload(&view, self.webhook_name.as_deref())),
            PayloadFormat::Slack => json::text(&chat::Slack(&view)),
            PayloadFormat::Teams => json::text(&chat::Teams(&view)),
            PayloadFormat::Template => {
                let Some(template) = self.template.as_deref() else { return (Err(RenderError::NoTemplate), least) };
                let (result, work) = template::render(template, &view);
                return (result, least + work);
            }
        };
        let work = least + Work::of_text(text.len());
        (Ok(text), work)
    }

    /// Returns all faults of the settings; empty if they are valid. Called when a webhook is written.
    #[must_use]
    pub fn check(&self) -> Vec<FieldError> {
        let mut faults = Vec::new();
        for (pointer, fields) in [("/include", &self.include), ("/exclude", &self.exclude)] {
            if fields.len() > MAX_FIELDS {
                faults.push(FieldError::new(pointer, format!("must have at most {MAX_FIELDS} entries")));
            }
        }
        for (index, field) in self.include.iter().enumerate() {
            if self.exclude.iter().any(|excluded| excluded.covers(field)) {
                faults.push(FieldError::new(&format!("/include/{index}"), "must not also be in `exclude`"));
            }
        }
        for name in self.format.reserved().iter().filter(|name| self.properties.contains_key(**name)) {
            let detail = "must not have the name of a field of the payload";
            faults.push(FieldError::new(&format!("/properties/{name}"), detail));
        }
        let fault = match (self.format, &self.template) {
            (PayloadFormat::Template, None) => Some("is required for the format `template`".to_owned()),
            (PayloadFormat::Template, Some(template)) => template::fault(template),
            (_, Some(_)) => Some("must be omitted unless the format is `template`".to_owned()),
            (_, None) => None,
        };
        faults.extend(fault.map(|detail| FieldError::new("/template", detail)));
        faults
    }
}
