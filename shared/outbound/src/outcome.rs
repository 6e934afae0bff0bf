//! Converts errors of unanswered requests to the domain's verdicts.

use std::error::Error as StdError;

use domain::attempt::outcome::Verdict;

use crate::dial::DialError;

/// Returns the verdict and the message of a failed request. If dialing failed, they are those of the [`DialError`];
/// otherwise the message is that of the innermost cause.
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
