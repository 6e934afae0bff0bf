//! Configuration: reads environment variables once, and reports all faults at once.

use std::fmt;
use std::str::FromStr;

use domain::attempt::target::TargetPolicy;
use domain::event::trace::TracePolicy;
use domain::webhook::SecretsTable;
use domain::webhook::notice::NoticePolicy;

/// Returns an environment variable. Every `main` passes this lookup to its configuration.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "configuration is read here and nowhere else")]
pub fn environment(key: &str) -> Option<String> {
    std::env::var(key).ok()
}

/// All faults of the configuration. The message contains keys, but never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration is not complete: {}", .0.join("; "))]
pub struct ConfigError(Vec<String>);

/// Reads values and collects their faults.
#[derive(Debug)]
pub struct Reader<F> {
    lookup: F,
    faults: Vec<String>,
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    /// Returns a reader that uses a lookup. An empty variable counts as not set.
    pub fn new(lookup: F) -> Self {
        Self { lookup, faults: Vec::new() }
    }

    /// Reads a required value.
    pub fn required<T: FromStr<Err: fmt::Display>>(&mut self, key: &str) -> Option<T> {
        let Some(text) = self.text(key) else {
            self.faults.push(format!("{key} is not set"));
            return None;
        };
        self.parse(key, &text)
    }

    /// Reads an optional value.
    pub fn optional<T: FromStr<Err: fmt::Display>>(&mut self, key: &str) -> Option<T> {
        let text = self.text(key)?;
        self.parse(key, &text)
    }

    /// Reads values that are separated by commas; none if the variable is not set.
    pub fn list<T: FromStr<Err: fmt::Display>>(&mut self, key: &str) -> Vec<T> {
        let text = self.text(key).unwrap_or_default();
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.filter_map(|part| self.parse(key, part)).collect()
    }

    /// Reads the target policy. `TARGET_ALLOWED_CIDRS` (networks, separated by commas), `TARGET_ALLOW_HTTP` and
    /// `TARGET_ALLOWED_PORTS` (ports and ranges, separated by commas) allow targets. `API_ID` and `PUBLIC_URL` name the
    /// deployment's own addresses, which are always forbidden.
    pub fn target_policy(&mut self) -> TargetPolicy {
        TargetPolicy {
            allowed: self.list("TARGET_ALLOWED_CIDRS"),
            allow_http: self.optional("TARGET_ALLOW_HTTP").unwrap_or(false),
            ports: self.list("TARGET_ALLOWED_PORTS"),
            own: ["API_ID", "PUBLIC_URL"].into_iter().filter_map(|key| self.optional(key)).collect(),
        }
    }

    /// Reads how people may be notified: `NOTICE_SENDER`, an e-mail address, and `NOTICE_TOPIC_ARNS`, topics separated by
    /// commas.
    pub fn notice_policy(&mut self) -> NoticePolicy {
        NoticePolicy { sender: self.optional("NOTICE_SENDER"), topics: self.list("NOTICE_TOPIC_ARNS") }
    }

    /// Reads where webhooks' secrets are: `SECRETS_TABLE` and `SECRETS_TABLE_KEY_ARN`, or neither for Secrets Manager.
    pub fn secrets_table(&mut self) -> Option<SecretsTable> {
        let (name, key_arn) = (self.optional("SECRETS_TABLE"), self.optional("SECRETS_TABLE_KEY_ARN"));
        if name.is_some() != key_arn.is_some() {
            self.fault("SECRETS_TABLE and SECRETS_TABLE_KEY_ARN need each other");
        }
        Some(SecretsTable { name: name?, key_arn: key_arn? })
    }

    /// Reads how traces are exported: `TRACES_ENDPOINT`, the URL that takes OTLP; `TRACES_SAMPLING`, the part of the traces
    /// from 0 to 1; `TRACES_SIGNED`, whether requests are signed for X-Ray; `TRACES_HEADERS_SECRET_ARN`. `None` without an
    /// endpoint.
    pub fn trace_policy(&mut self) -> Option<TracePolicy> {
        let endpoint = self.optional("TRACES_ENDPOINT")?;
        let sampling = self.required("TRACES_SAMPLING")?;
        let signed = self.optional("TRACES_SIGNED").unwrap_or(false);
        Some(TracePolicy { sampling, endpoint, signed, headers_secret_arn: self.optional("TRACES_HEADERS_SECRET_ARN") })
    }

    /// Adds a fault that concerns several values together.
    pub fn fault(&mut self, fault: impl Into<String>) {
        self.faults.push(fault.into());
    }

    /// Returns the configuration, or all faults.
    ///
    /// # Errors
    ///
    /// If a value was missing or could not be parsed. `value` must be `None` in that case.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, ConfigError> {
        match value {
            Some(value) if self.faults.is_empty() => Ok(value),
            _ => Err(ConfigError(self.faults)),
        }
    }

    fn text(&self, key: &str) -> Option<String> {
        (self.lookup)(key).filter(|text| !text.is_empty())
    }

    fn parse<T: FromStr<Err: fmt::Display>>(&mut self, key: &str, text: &str) -> Option<T> {
        text.parse().inspect_err(|error| self.faults.push(format!("{key}: {error}"))).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_traces_without_an_endpoint() {
        let policy = |endpoint: &str, sampling: &str| {
            let mut reader = Reader::new(|key| match key {
                "TRACES_ENDPOINT" => Some(endpoint.to_owned()),
                "TRACES_SAMPLING" => Some(sampling.to_owned()),
                "TRACES_SIGNED" => Some("true".to_owned()),
                _ => None,
            });
            let policy = reader.trace_policy();
            reader.finish(Some(())).map(|()| policy.map(|policy| (policy.endpoint.to_string(), policy.signed)))
        };
        assert_eq!(policy("", "0.05"), Ok(None));
        let url = "https://collector.example/v1/traces";
        assert_eq!(policy(url, "0.05"), Ok(Some((url.to_owned(), true))));
        assert!(policy(url, "2").unwrap_err().to_string().contains("TRACES_SAMPLING: must be a number from 0 to 1"));
        assert!(policy("collector", "1").unwrap_err().to_string().contains("TRACES_ENDPOINT"));
    }

    #[test]
    fn reports_every_fault_by_name_and_no_value() {
        let mut reader = Reader::new(|key| match key {
            "COUNT" => Some("many".to_owned()),
            "EMPTY" => Some(String::new()),
            "LIST" => Some("1, 2,,x".to_owned()),
            _ => None,
        });
        assert_eq!(reader.required::<u32>("COUNT"), None);
        assert_eq!(reader.required::<String>("EMPTY"), None);
        assert_eq!(reader.optional::<u32>("ABSENT"), None);
        assert_eq!(reader.list::<u32>("LIST"), [1, 2]);
        assert_eq!(
            reader.finish(Some(())).unwrap_err().to_string(),
            "the configuration is not complete: COUNT: invalid digit found in string; EMPTY is not set; \
             LIST: invalid digit found in string"
        );
    }

    #[test]
    fn a_table_of_secrets_needs_a_key() {
        let read = |table: &'static str, key: &'static str| {
            let mut reader = Reader::new(move |name| match name {
                "SECRETS_TABLE" => Some(table.to_owned()),
                "SECRETS_TABLE_KEY_ARN" => Some(key.to_owned()),
                _ => None,
            });
            let table = reader.secrets_table();
            reader.finish(Some(table))
        };
        assert_eq!(read("", "").unwrap(), None);
        assert_eq!(read("t", "k").unwrap(), Some(SecretsTable { name: "t".to_owned(), key_arn: "k".to_owned() }));
        for (table, key) in [("t", ""), ("", "k")] {
            let error = read(table, key).unwrap_err().to_string();
            assert!(error.ends_with("SECRETS_TABLE and SECRETS_TABLE_KEY_ARN need each other"), "{error}");
        }
    }
}
