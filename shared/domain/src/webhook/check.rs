//! Validates a webhook's settings.

use super::headers::{self, SECRET, is_ours, is_token};
use super::limits::AutoPause;
use super::notice::is_address;
use super::settings::{Direction, MAX_EVENT_TYPES, MAX_EVENTS_CHARACTERS, Settings};
use super::signing::pointers;
use super::tags::Tags;
use crate::attempt::answer::MAX_STATUS_PATTERNS;
use crate::attempt::target::TargetPolicy;
use crate::event::operational::is_reserved;
use crate::fault::{FieldError, step};
use crate::signing::signature::{Encoding, Signature, SignatureScheme};
use crate::source::{TABLE_NAME, is_table_name};
use crate::value::Map;

/// The longest name, in characters.
const MAX_NAME_CHARACTERS: usize = 400;

/// The largest number of sources, collections, tags and other names in a list.
const MAX_NAMES: usize = 50;

/// The longest of these names and of other short texts, in bytes.
const MAX_TEXT_BYTES: usize = 255;

/// The size limit of `properties` as JSON, in bytes.
const MAX_PROPERTIES_BYTES: usize = 4096;

/// The size limit of `tags` as JSON, if they are an object, in bytes.
const MAX_TAGS_BYTES: usize = 4096;

/// The largest number of signatures in addition to the first.
const MAX_FURTHER: usize = 3;

/// The longest name of a signature header, in bytes. Leaves room for the suffixes that are appended to it.
const MAX_HEADER_BYTES: usize = 100;

impl Settings {
    /// Returns all faults of the settings; empty if they are valid.
    #[must_use]
    pub fn check(&self, targets: &TargetPolicy) -> Vec<FieldError> {
        let mut faults = Vec::new();
        let mut fault = |pointer: &str, detail: String| faults.push(FieldError::new(pointer, detail));
        if self.name.trim().is_empty() || self.name.chars().count() > MAX_NAME_CHARACTERS {
            fault("/name", format!("must be 1 to {MAX_NAME_CHARACTERS} characters"));
        }
        if self.kind != "webhook" {
            fault("/type", "must be `webhook`, the only supported type".to_owned());
        }
        match self.direction {
            Direction::Outbound => {
                if self.url.is_empty() {
                    if self.enabled {
                        fault("/url", "is required to enable an outbound webhook".to_owned());
                    }
                } else if let Err(error) = targets.parse(&self.url) {
                    fault("/url", error.to_string());
                }
            }
            Direction::Inbound if !self.url.is_empty() => {
                fault("/url", "must be omitted for inbound webhooks; the URL is generated".to_owned());
            }
            Direction::Inbound => {}
        }
        for (index, pattern) in self.event_types.iter().enumerate() {
            if self.direction == Direction::Inbound && pattern.exact().is_none() {
                fault(
                    &format!("/event_types/{index}"),
                    "must be a full event type without wildcards, because an inbound webhook creates events of it"
                        .to_owned(),
                );
            }
            if self.direction == Direction::Inbound && pattern.exact().is_some_and(|named| is_reserved(&named)) {
                let detail = "is reserved for Dynahook; choose another event type".to_owned();
                fault(&format!("/event_types/{index}"), detail);
            }
        }
        let counts = [
            ("/applications", self.applications.len()),
            ("/changed", self.changed.len()),
            ("/transitions", self.transitions.len()),
        ];
        for (pointer, _) in counts.iter().filter(|(_, count)| *count > MAX_NAMES) {
            fault(pointer, format!("must have at most {MAX_NAMES} entries"));
        }
        let characters = self.event_types.iter().map(|pattern| pattern.as_str().len() + 1).sum::<usize>();
        if self.event_types.len() > MAX_EVENT_TYPES && characters > MAX_EVENTS_CHARACTERS + 1 {
            fault(
                "/event_types",
                format!(
                    "must name at most {MAX_EVENT_TYPES} event types, or more that have at most {MAX_EVENTS_CHARACTERS} \
                     characters together"
                ),
            );
        }
        let labels = if let Tags::Labels(labels) = &self.tags { labels.as_slice() } else { &[] };
        for (pointer, names) in [("/collections", self.collections.as_slice()), ("/tags", labels)] {
            if names.len() > MAX_NAMES {
                fault(pointer, format!("must have at most {MAX_NAMES} entries"));
            }
            for (index, _) in names.iter().enumerate().filter(|(_, name)| !is_text(name)) {
                fault(&format!("{pointer}/{index}"), format!("must be 1 to {MAX_TEXT_BYTES} bytes"));
            }
        }
        if self.sources.len() > MAX_NAMES {
            fault("/sources", format!("must have at most {MAX_NAMES} entries"));
        }
        for (index, _) in self.sources.iter().enumerate().filter(|(_, name)| !is_table_name(name)) {
            fault(&format!("/sources/{index}"), format!("must be {TABLE_NAME}; or published, for published events"));
        }
        if let Tags::Values(values) = &self.tags {
            if values.len() > MAX_NAMES || json_bytes(values) > MAX_TAGS_BYTES {
                let detail = format!("must have at most {MAX_NAMES} names and {MAX_TAGS_BYTES} bytes of JSON");
                fault("/tags", detail);
            }
            for name in values.keys().filter(|name| !is_text(name)) {
                fault(&format!("/tags{}", step(name)), format!("must have a name of 1 to {MAX_TEXT_BYTES} bytes"));
            }
        }
        let texts = [
            ("/trigger_type", self.trigger_type.as_deref()),
            ("/connector_id", self.connector_id.as_deref()),
            ("/integration_provider", self.integration_provider.as_deref()),
            ("/source", Some(self.source.as_str())),
        ];
        for (pointer, _) in texts.iter().filter(|(_, text)| text.is_some_and(|text| !is_text(text))) {
            fault(pointer, format!("must be 1 to {MAX_TEXT_BYTES} bytes"));
        }
        if json_bytes(&self.properties) > MAX_PROPERTIES_BYTES {
            fault("/properties", format!("must be at most {MAX_PROPERTIES_BYTES} bytes of JSON"));
        }
        if let Err(error) = self.retry_policy.validate() {
            fault(&format!("/retry_policy/{}", error.field), error.to_string());
        }
        check_limits(self, &mut faults);
        check_signatures(self, &mut faults);
        let written: Vec<_> = self.signatures().iter().flat_map(Signature::headers).collect();
        headers::check(&self.headers, &written, &mut faults);
        faults.extend(self.rendering().check());
        faults
    }
}

fn json_bytes(map: &Map) -> usize {
    serde_json::to_vec(map).map_or(usize::MAX, |json| json.len())
}

fn is_text(text: &str) -> bool {
    (1..=MAX_TEXT_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn check_limits(settings: &Settings, faults: &mut Vec<FieldError>) {
    let AutoPause { failures, after_seconds } = settings.auto_pause;
    let one_to_thousand = |number: Option<u32>| number.is_none_or(|number| (1..=1000).contains(&number));
    let is_contact = settings.error_email.as_deref().is_none_or(is_address);
    let limits = [
        ("/error_email", is_contact, "must be an e-mail address such as ops@example.com, or null"),
        ("/auto_pause/failures", (1..=10_000).contains(&failures), "must be 1 to 10000"),
        ("/auto_pause/after_seconds", after_seconds <= 2_592_000, "must be 0 to 2592000 seconds"),
        ("/rate_limit", one_to_thousand(settings.rate_limit), "must be 1 to 1000 requests a second, or null"),
        ("/max_concurrency", one_to_thousand(settings.max_concurrency), "must be 1 to 1000 requests at once, or null"),
        ("/success_statuses", settings.success_statuses.len() <= MAX_STATUS_PATTERNS, "must have at most 20 entries"),
    ];
    let broken = limits.into_iter().filter(|(_, holds, _)| !holds);
    faults.extend(broken.map(|(pointer, _, detail)| FieldError::new(pointer, detail)));
}

fn check_signatures(settings: &Settings, faults: &mut Vec<FieldError>) {
    let signatures = settings.signatures();
    let mut fault = |pointer: &str, detail: &str| faults.push(FieldError::new(pointer, detail));
    if settings.direction == Direction::Inbound {
        if settings.signature_scheme == SignatureScheme::StandardWebhooksEd25519 {
            fault(
                "/signature_scheme",
                "must be a scheme with a secret, because callers of an inbound webhook have no registered public key",
            );
        }
        if signatures.len() > 1 {
            fault("/further_signatures", "must be empty for an inbound webhook, whose calls carry one signature");
        }
    }
    if settings.further_signatures.len() > MAX_FURTHER {
        fault("/further_signatures", &format!("must have at most {MAX_FURTHER} entries"));
    }
    for (index, signature) in signatures.iter().enumerate() {
        let [scheme, header, encoding] = pointers(index);
        let is_plain = signature.scheme == SignatureScheme::HmacSha256;
        if signature.encoding != Encoding::Hex && !is_plain {
            fault(&encoding, "must be hex unless the scheme is hmac-sha256; other schemes have a fixed encoding");
        }
        if let Some(name) = &signature.header {
            if !is_plain {
                fault(&header, "must be omitted unless the scheme is hmac-sha256; other schemes have a fixed header");
                continue;
            }
            let lower = name.to_ascii_lowercase();
            if !is_token(name) || name.len() > MAX_HEADER_BYTES {
                let detail = format!("must be a name of 1 to {MAX_HEADER_BYTES} letters, digits and !#$%&'*+-.^_`|~");
                fault(&header, &detail);
            } else if is_ours(&lower) || SECRET.contains(&lower.as_str()) {
                fault(&header, "must not be a reserved header; use another name, such as X-Signature");
            }
        }
        let written: Vec<String> = signature.headers().collect();
        let before = signatures[..index].iter().filter(|other| !signature.shares_header_with(other));
        if let Some(name) = before.flat_map(Signature::headers).find(|name| written.contains(name)) {
            let at = if is_plain { &header } else { &scheme };
            fault(
                at,
                &format!("must not use the header {name} of another signature; each signature needs its own header"),
            );
        }
    }
}
