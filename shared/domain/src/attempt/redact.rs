//! Redacts request headers for the log of attempts: it shows what was sent, without anything that authenticates the
//! sender.
//!
//! A header is shown if the webhook's owner added it (those are stored in plain text in the webhook) or if it is known
//! to hold no secret. Of all others the log keeps the name, and for signatures how they were made. A new signature or
//! authorization scheme is therefore masked until it is added here.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::outcome::Outcome;

/// Headers that identify the sender or the content and authenticate nothing.
const SHOWN: [&str; 15] = [
    "content-encoding",
    "content-type",
    "traceparent",
    "user-agent",
    "webhook-attempt",
    "webhook-hops",
    "webhook-id",
    "webhook-sequence",
    "webhook-test",
    "webhook-timestamp",
    "x-shopify-topic",
    "x-shopify-webhook-id",
    "x-superoffice-event",
    "x-superoffice-eventid",
    "x-superoffice-retry",
];

/// The replacement for redacted text.
const MASK: &str = "***";

/// The shortest secret, in bytes, that is searched for in a response. A shorter one may occur by chance.
const SHORTEST: usize = 8;

/// The headers of a request as the log shows them: names and values in the order in which they were sent.
///
/// Stored as one text in the form of HTTP, which is short enough for a row to stay within one write unit. For the same
/// reason a row stores a header whose value it has anyway, such as the event's id, as `name=key`: the key says which
/// value. Earlier versions skip such a line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub struct SentHeaders(Vec<(String, Shown)>);

/// The value of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shown {
    Text(String),
    /// The value of the row that has this key.
    OfRow(char),
}

impl SentHeaders {
    /// Returns whether there are no headers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(name, shown)| match shown {
            Shown::Text(value) => Some((name.as_str(), value.as_str())),
            Shown::OfRow(_) => None,
        })
    }

    /// Replaces values that the row has by their keys.
    #[must_use]
    pub fn without(mut self, row: &[(char, &str)]) -> Self {
        for (_, shown) in &mut self.0 {
            if let Shown::Text(value) = shown
                && let Some((key, _)) = row.iter().find(|(_, of_row)| of_row == value)
            {
                *shown = Shown::OfRow(*key);
            }
        }
        self
    }

    /// Replaces the keys by the row's values.
    #[must_use]
    pub fn with(mut self, row: &[(char, &str)]) -> Self {
        for (_, shown) in &mut self.0 {
            if let Shown::OfRow(key) = shown
                && let Some((_, value)) = row.iter().find(|(of_row, _)| of_row == key)
            {
                *shown = Shown::Text((*value).to_owned());
            }
        }
        self
    }
}

impl From<SentHeaders> for String {
    fn from(headers: SentHeaders) -> Self {
        let mut text = Self::new();
        for (name, shown) in &headers.0 {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(name);
            match shown {
                Shown::Text(value) => text.extend([": ", value]),
                Shown::OfRow(key) => text.extend(['=', *key]),
            }
        }
        text
    }
}

impl From<String> for SentHeaders {
    fn from(text: String) -> Self {
        let header = |line: &str| match line.split_once(": ") {
            Some((name, value)) => Some((name.to_owned(), Shown::Text(value.to_owned()))),
            // A header's name contains no `=`.
            None => {
                line.split_once('=').and_then(|(name, key)| Some((name.to_owned(), Shown::OfRow(key.chars().next()?))))
            }
        };
        Self(text.lines().filter_map(header).collect())
    }
}

/// A request's headers with the secrets removed.
#[derive(Debug)]
pub struct Masked {
    /// The headers for the log.
    pub headers: SentHeaders,
    /// The secrets that must not appear in the log.
    hidden: Vec<SecretString>,
}

impl Masked {
    /// Redacts the headers of a request. `owners` are the headers that the webhook's owner added.
    #[must_use]
    pub fn of(headers: &[(String, String)], owners: &BTreeMap<String, String>) -> Self {
        let is_shown = |name: &str, value: &str| {
            SHOWN.iter().any(|shown| name.eq_ignore_ascii_case(shown))
                || owners.get(name).is_some_and(|owners| owners == value)
        };
        let mut hidden = Vec::new();
        let mut kept = Vec::with_capacity(headers.len());
        for (name, value) in headers {
            if is_shown(name, value) {
                kept.push((name.clone(), Shown::Text(value.clone())));
            } else {
                kept.push((name.clone(), Shown::Text(signature(value).unwrap_or_else(|| MASK.to_owned()))));
                hide(value, &mut hidden);
            }
        }
        Self { headers: SentHeaders(kept), hidden }
    }

    /// Adds the `Authorization` header, of which only the name is kept.
    #[must_use]
    pub fn and_authorization(mut self, value: &SecretString) -> Self {
        self.headers.0.push(("authorization".to_owned(), Shown::Text(MASK.to_owned())));
        hide(value.expose_secret(), &mut self.hidden);
        self
    }

    /// Removes from an outcome the secrets of the request that the receiver sent back.
    #[must_use]
    pub fn conceal(&self, mut outcome: Outcome) -> Outcome {
        let mut hidden: Vec<&str> = self.hidden.iter().map(ExposeSecret::expose_secret).collect();
        // A secret that contains another one must be replaced first.
        hidden.sort_by_key(|hidden| Reverse(hidden.len()));
        for text in
            [&mut outcome.error, &mut outcome.response_excerpt, &mut outcome.response_body].into_iter().flatten()
        {
            for hidden in &hidden {
                conceal(text, hidden);
            }
        }
        outcome
    }
}

/// Returns how a signature was made, without the signature itself. `None` if the value is not a known form of
/// signature.
fn signature(value: &str) -> Option<String> {
    let part = |part: &str| match part.split_once('=') {
        Some(("t", time)) if time.bytes().all(|byte| byte.is_ascii_digit()) => Some(part.to_owned()),
        Some((name @ ("v0" | "v1" | "sha1" | "sha256" | "sha512"), _)) => Some(format!("{name}={MASK}")),
        _ => None,
    };
    let version = |text: &str| match text.split_once(',') {
        Some((version @ ("v1" | "v1a"), _)) => Some(format!("{version},{MASK}")),
        _ => Some(text.split(',').map(part).collect::<Option<Vec<_>>>()?.join(",")),
    };
    Some(value.split(' ').map(version).collect::<Option<Vec<_>>>()?.join(" "))
}

/// Adds the secret parts of a header value.
fn hide(value: &str, hidden: &mut Vec<SecretString>) {
    let mut add = |text: &str| {
        if text.len() >= SHORTEST {
            hidden.push(text.to_owned().into());
        }
    };
    add(value);
    for word in value.split([' ', ',']) {
        match word.split_once('=') {
            Some(("v0" | "v1" | "sha1" | "sha256" | "sha512", signature)) => add(signature),
            _ => add(word),
        }
    }
    // A receiver may decode a user name and its password.
    let unpacked = value.strip_prefix("Basic ").and_then(|packed| BASE64.decode(packed).ok());
    if let Some(unpacked) = unpacked.and_then(|bytes| String::from_utf8(bytes).ok()) {
        add(&unpacked);
        add(unpacked.split_once(':').map_or("", |(_, password)| password));
    }
}

/// Masks a secret, and also its beginning where the text is cut off within it.
fn conceal(text: &mut String, hidden: &str) {
    if text.contains(hidden) {
        *text = text.replace(hidden, MASK);
    }
    let starts = (SHORTEST..hidden.len()).rev().filter_map(|end| hidden.get(..end));
    if let Some(start) = starts.into_iter().find(|start| text.ends_with(start)) {
        text.truncate(text.len() - start.len());
        text.push_str(MASK);
    }
}

/// Returns the target of a redirect without the parts that may be secret: user name, password, query and fragment.
#[must_use]
pub fn redirect(location: &str) -> String {
    let (path, rest) = location.split_at(location.find(['?', '#']).unwrap_or(location.len()));
    let path = match path.split_once("//") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}//{host}{path}")
        }
        None => path.to_owned(),
    };
    if rest.is_empty() { path } else { format!("{path}?{MASK}") }
}

#[cfg(test)]
mod tests;
