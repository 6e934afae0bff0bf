//! Converts errors of unanswered requests to the domain's verdicts.

use std::error::Error as StdError;

use domain::attempt::outcome::Verdict;

use crate::dial::DialError;

/// Returns the verdict and the message of a failed request. If dialing failed, they are those of the [`DialError`];
/// otherwise the message is that of the innermost cause.
pub(crate) fn classify(error: &hyper_util::client::legacy::Error) -> (Verdict, String) {
    if let Some(dial) = cause::<DialError>(error) {
        return (verdict(dial), dial.to_string());
    }
    let innermost = chain(error).last().map(ToString::to_string);
    (Verdict::ProtocolFailed, innermost.unwrap_or_default())
}

/// Returns the first cause of this type.
pub(crate) fn cause<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    chain(error).find_map(|cause| cause.downcast_ref())
}

/// Returns an error and its causes.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
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
