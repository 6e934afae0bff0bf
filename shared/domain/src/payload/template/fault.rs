//! Errors of templates.

use minijinja::{Error, ErrorKind};

use super::limits::{Allowance, MAX_OUTPUT_BYTES, MAX_READ, MAX_STEPS};
use crate::payload::RenderError;
use crate::text::clip;

/// The length to which an error is cut, in bytes. It may quote the template.
const MAX_REASON_BYTES: usize = 500;

/// The limit that stopped a template.
#[derive(Clone, Copy)]
pub(super) enum Excess {
    Steps(Allowance),
    Reading,
}

/// Converts an error of the engine. The result may contain parts of the template, and nothing of the event.
pub(super) fn told(error: &Error, excess: Option<Excess>) -> RenderError {
    use ErrorKind::{
        MissingArgument, OutOfFuel, SyntaxError, TooManyArguments, UndefinedError, UnknownFilter, UnknownTest,
        WriteFailure,
    };
    let kind = error.kind();
    if kind == WriteFailure {
        return RenderError::TooLarge { limit: MAX_OUTPUT_BYTES };
    }
    let line = error.line().unwrap_or(1);
    if kind == OutOfFuel {
        return match excess {
            Some(Excess::Reading) => RenderError::TooMuch { line, limit: MAX_READ },
            Some(Excess::Steps(Allowance { longest, steps })) if steps < MAX_STEPS => {
                RenderError::TooLong { line, steps, longest }
            }
            Some(Excess::Steps(_)) | None => RenderError::TooLong { line, steps: MAX_STEPS, longest: 0 },
        };
    }
    let of_the_template =
        matches!(kind, MissingArgument | SyntaxError | TooManyArguments | UndefinedError | UnknownFilter | UnknownTest);
    let reason = match error.detail() {
        Some(detail) if of_the_template => detail,
        _ => &kind.to_string(),
    };
    refused(line, reason)
}

pub(super) fn refused(line: usize, reason: &str) -> RenderError {
    RenderError::Template { line, reason: clip(reason, MAX_REASON_BYTES) }
}
