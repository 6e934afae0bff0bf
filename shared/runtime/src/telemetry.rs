//! Logs: JSON lines with ids, but never a payload or a secret.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FmtSpan, Format, FormatEvent, FormatFields, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::{Version, metrics};

/// The version of this process.
static VERSION: OnceLock<Version> = OnceLock::new();

/// Returns the version of this process, once [`init`] was called.
pub(crate) fn version() -> Option<Version> {
    VERSION.get().copied()
}

/// Starts logging, at the level of `RUST_LOG` (`info` if it is not set): as JSON for CloudWatch, each line with the
/// version, or as plain text on a terminal. A panic is logged with its location. Also starts collecting metrics.
pub fn init(version: Version) {
    VERSION.set(version).ok();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_span_events(FmtSpan::NONE).with_target(false);
    if std::io::stdout().is_terminal() {
        builder.init();
    } else {
        builder.json().event_format(Line::of(version)).init();
    }
    name_places_of_panics();
    metrics::init(version);
}

/// Does the same for a test that reads what a function logs: lines and metrics go to `log`, at the level `info`.
pub fn init_into<L>(version: Version, namespace: &str, log: L)
where
    L: for<'writer> MakeWriter<'writer> + Clone + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::new("info")).with_writer(log.clone());
    builder.json().event_format(Line::of(version)).init();
    metrics::init_into(version, namespace, move |lines| log.make_writer().write_all(lines));
}

/// A line of JSON that starts with the version.
struct Line {
    format: Format<Json>,
    version: Version,
}

impl Line {
    fn of(version: Version) -> Self {
        let format = tracing_subscriber::fmt::format().with_target(false).json();
        Self { format: format.flatten_event(true).with_current_span(true).with_span_list(false), version }
    }
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        // The format knows no constant fields. Neither part of the version has characters that JSON escapes.
        write!(writer, r#"{{"version":"{}",{}"#, self.version, line.strip_prefix('{').unwrap_or(&line))
    }
}

/// Replaces the panic hook by one that logs the location only. The standard hook prints the message, which may quote a
/// value of a payload.
fn name_places_of_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "panicked");
    }));
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_line_is_json_and_has_the_version() {
        let log = Log::default();
        let writer = log.clone();
        let version = Version { number: "1.2.3", commit: "0123456789ab-modified" };
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).json();
        tracing::subscriber::with_default(subscriber.event_format(Line::of(version)).finish(), || {
            let _span = tracing::info_span!("attempt", tenant.id = "acme").entered();
            tracing::info!(quoted = "a \"b\" {c", "first\nline");
            tracing::error!("second");
        });
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
            .collect();
        assert_eq!(lines.len(), 2, "{log}");
        for line in &lines {
            assert_eq!(line["version"], "1.2.3+0123456789ab-modified");
            assert_eq!(line["span"]["tenant.id"], "acme");
        }
        assert_eq!((&lines[0]["message"], &lines[0]["quoted"]), (&"first\nline".into(), &"a \"b\" {c".into()));
        assert_eq!(lines[1]["level"], "ERROR");
    }

    #[test]
    fn a_panic_is_logged_by_its_place_and_without_its_words() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            name_places_of_panics();
            assert!(std::panic::catch_unwind(|| panic!("the value of a payload")).is_err());
        });
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(log.contains("panicked") && log.contains("telemetry.rs:"), "{log}");
        assert!(!log.contains("payload"), "{log}");
    }
}
