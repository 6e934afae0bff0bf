//! The format `template`: the webhook's owner writes the payload in a small subset of Jinja.
//!
//! Templates are written by tenants and run in processes that serve all tenants. They are therefore limited in syntax
//! ([`policy`]), in steps and in the size of their output. The output is JSON, and every number keeps its exact digits.

use std::collections::BTreeMap;
use std::io;

use minijinja::UndefinedBehavior;
use minijinja::value::Value as Shown;

use super::RenderError;
use super::view::View;
use super::work::Work;
use crate::value::Value;

mod environment;
mod fault;
pub(super) mod limits;
pub(super) mod policy;
mod scan;
mod shown;

use environment::{Budget, environment};
use fault::{Excess, told};
use limits::{Allowance, MAX_OUTPUT_BYTES, MAX_READ};
use shown::context;

/// The longest template, in bytes.
pub const MAX_TEMPLATE_BYTES: usize = 16 * 1024;

/// Renders the template, and returns the work that it took. The output is JSON.
pub(super) fn render(source: &str, view: &View<'_>) -> (Result<String, RenderError>, Work) {
    let (text, mut work) = run(source, || context(view), UndefinedBehavior::SemiStrict);
    let text = text.and_then(|text| {
        work += Work::of_text(text.len());
        check_json(&text).map(|()| text)
    });
    (text, work)
}

/// Parses twice: the first pass reports the position of an error but does not look into strings, where an escape can be
/// half of a surrogate pair.
fn check_json(text: &str) -> Result<(), RenderError> {
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map_err(|error| RenderError::NotJson { line: error.line(), column: error.column() })?;
    text.parse::<Value>().map_err(|_| RenderError::HardToRead)?;
    Ok(())
}

/// Returns what is wrong with a template, if anything.
///
/// The output depends on the event. But if the template's output for events without attributes is never JSON,
/// attributes are unlikely to fix it: a quote or a comma is missing.
pub(super) fn fault(source: &str) -> Option<String> {
    if source.len() > MAX_TEMPLATE_BYTES {
        return Some(format!("must be at most {MAX_TEMPLATE_BYTES} bytes"));
    }
    if let Err(error) = policy::check(source) {
        return Some(error.to_string());
    }
    let results = ["created", "updated", "deleted"].map(|operation| {
        let context = || BTreeMap::from([("operationType", Shown::from(operation))]);
        run(source, context, UndefinedBehavior::Chainable).0
    });
    // A template that is over a limit without any attributes is over it for every event.
    if let Some(error) = results.iter().filter_map(|result| result.as_ref().err()).find(|error| error.is_excess()) {
        return Some(error.to_string());
    }
    let made: Vec<_> = results.iter().flatten().map(|text| check_json(text)).collect();
    let last = made.iter().filter_map(|made| made.as_ref().err()).next_back();
    last.filter(|_| made.iter().all(Result::is_err))
        .map(|error| format!("must result in JSON for at least one operation: {error}"))
}

/// Runs the template, and returns the work that it took. If it fails, all allowed steps count, because the engine does
/// not report how many it took.
fn run(
    source: &str,
    context: impl FnOnce() -> BTreeMap<&'static str, Shown>,
    undefined: UndefinedBehavior,
) -> (Result<String, RenderError>, Work) {
    let parsed = Work::of_template(source.len());
    let scan = match policy::check(source) {
        Ok(scan) => scan,
        Err(error) => return (Err(error), parsed),
    };
    let allowance = Allowance::of(scan.longest);
    let budget = Budget::new(MAX_READ);
    let mut environment = environment(&budget);
    environment.set_fuel(Some(allowance.steps));
    environment.set_undefined_behavior(undefined);
    let metered = scan.metered(source);
    let template = match environment.template_from_str(&metered) {
        Ok(template) => template,
        Err(error) => return (Err(told(&error, None)), parsed),
    };
    let mut text = Limited(Vec::new());
    let context = Shown::from_pairs(context());
    let result = template.render_captured_to(context, &mut text).map(|captured| captured.state().fuel_levels());
    let work = |steps: u64| parsed + Work::of_steps(steps) + Work::new(budget.spent());
    match result {
        Ok(levels) => {
            let work = work(levels.map_or(allowance.steps, |(taken, _)| taken));
            (String::from_utf8(text.0).map_err(|_| RenderError::NotJson { line: 1, column: 1 }), work)
        }
        Err(error) => {
            let excess = if budget.is_spent() { Excess::Reading } else { Excess::Steps(allowance) };
            (Err(told(&error, Some(excess))), work(allowance.steps))
        }
    }
}

/// A writer that accepts a limited number of bytes.
struct Limited(Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
