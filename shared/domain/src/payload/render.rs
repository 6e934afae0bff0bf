//! Rendering in each format, and what settings of a rendering are allowed.

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
    /// Returns the body that a webhook gets for the event.
    ///
    /// `event_type` is the type under which it gets it: the event's own, or one derived from it (`packet.status_changed`).
    ///
    /// # Errors
    ///
    /// Only for a template: if it fails, or makes no JSON, or too much.
    pub fn render(&self, event: &Event, event_type: &EventType) -> Result<String, RenderError> {
        self.render_metered(event, event_type).0
    }

    /// Returns what [`render`](Self::render) does, and the work that it took: the same for the same event, wherever it runs.
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

    /// Returns everything that is not allowed; nothing if all is. For when a webhook is written.
    #[must_use]
    pub fn check(&self) -> Vec<FieldError> {
        let mut faults = Vec::new();
        for (pointer, fields) in [("/include", &self.include), ("/exclude", &self.exclude)] {
            if fields.len() > MAX_FIELDS {
                faults.push(FieldError::new(pointer, format!("must be at most {MAX_FIELDS}")));
            }
        }
        for (index, field) in self.include.iter().enumerate() {
            if self.exclude.iter().any(|excluded| excluded.covers(field)) {
                faults.push(FieldError::new(&format!("/include/{index}"), "is excluded, and so never shown"));
            }
        }
        for name in self.format.reserved().iter().filter(|name| self.properties.contains_key(**name)) {
            let detail = "is a field of the payload and cannot be replaced";
            faults.push(FieldError::new(&format!("/properties/{name}"), detail));
        }
        let fault = match (self.format, &self.template) {
            (PayloadFormat::Template, None) => Some("must be given for the format template".to_owned()),
            (PayloadFormat::Template, Some(template)) => template::fault(template),
            (_, Some(_)) => Some("is only for the format template".to_owned()),
            (_, None) => None,
        };
        faults.extend(fault.map(|detail| FieldError::new("/template", detail)));
        faults
    }
}
