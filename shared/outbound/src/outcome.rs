//! What came of a request, in the words of the domain.

use std::error::Error as StdError;

use domain::delivery::Verdict;

use crate::resolver::ResolveError;

/// Sorts a failed request: the innermost cause that says what happened decides.
pub(crate) fn classify(error: &reqwest::Error) -> (Verdict, String) {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    let mut innermost: &(dyn StdError + 'static) = error;
    while let Some(this) = cause {
        if let Some(resolve) = this.downcast_ref::<ResolveError>() {
            let verdict = match resolve {
                ResolveError::Forbidden => Verdict::Forbidden,
                ResolveError::Failed(_) | ResolveError::Empty => Verdict::DnsFailed,
            };
            return (verdict, resolve.to_string());
        }
        if let Some(tls) = tls_error(this) {
            return (Verdict::TlsFailed, tls);
        }
        innermost = this;
        cause = this.source();
    }
    if error.is_timeout() {
        (Verdict::TimedOut, "no complete answer within the timeout".to_owned())
    } else if error.is_connect() {
        (Verdict::ConnectFailed, innermost.to_string())
    } else {
        (Verdict::ProtocolFailed, innermost.to_string())
    }
}

/// `rustls` reports inside an `io::Error`, and that inside another: the content of an `io::Error` is not its `source`.
fn tls_error(error: &(dyn StdError + 'static)) -> Option<String> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(tls.to_string());
    }
    error.downcast_ref::<std::io::Error>()?.get_ref().and_then(|inner| tls_error(inner))
}
