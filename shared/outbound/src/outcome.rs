//! The outcome of a request that was not answered, in the terms of the domain.

use std::error::Error as StdError;

use domain::attempt::outcome::Verdict;

use crate::dial::DialError;

/// Sorts a failed request: if there was no connection, why; else the innermost cause says what happened.
pub(crate) fn classify(error: &hyper_util::client::legacy::Error) -> (Verdict, String) {
    let mut innermost: &(dyn StdError + 'static) = error;
    while let Some(cause) = innermost.source() {
        if let Some(dial) = cause.downcast_ref::<DialError>() {
            return (verdict(dial), dial.to_string());
        }
        innermost = cause;
    }
    (Verdict::ProtocolFailed, innermost.to_string())
}

fn verdict(error: &DialError) -> Verdict {
    match error {
        DialError::NoHost | DialError::Port(_) | DialError::Forbidden => Verdict::Forbidden,
        DialError::Unresolved => Verdict::DnsFailed,
        DialError::Connect(_) => Verdict::ConnectFailed,
        DialError::Tls(_) => Verdict::TlsFailed,
        DialError::TooSlow => Verdict::TimedOut,
    }
}
