//! Sends a request again that its receiver did not process.
//!
//! Servers retire connections all the time. What was under way then is no failure of the receiver if it says that it did
//! not process the request ([RFC 9113, 8.7][1]), or if it cannot have done so because the body was never sent. Anything
//! else may have been processed, and is not sent twice within an attempt.
//!
//! [1]: https://www.rfc-editor.org/rfc/rfc9113#section-8.7

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::{Request, Response};
use hyper_util::client::legacy::{Client as Pool, Error};

use crate::dial::{DialError, Dialer};
use crate::outcome::cause;

/// How often a request is sent again. A receiver that refuses every connection has failed.
const MAX_RESENDS: u32 = 3;

/// Sends a request, and sends it again while its receiver did not process it.
pub(super) async fn send(pool: &Pool<Dialer, Payload>, request: Request<Bytes>) -> Result<Response<Incoming>, Error> {
    let mut resends = 0;
    loop {
        let sent = Arc::default();
        let payload = |bytes| Payload { bytes: Full::new(bytes), sent: Arc::clone(&sent) };
        let error = match pool.request(request.clone().map(payload)).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        let was_sent = request.body().is_empty() || sent.load(Ordering::Relaxed);
        let Some(refusal) = Refusal::of(&error, was_sent).filter(|_| resends < MAX_RESENDS) else { return Err(error) };
        tracing::debug!(%error, "the request was not processed and is sent again");
        // A stream may be refused because there were too many at once, which the connection knows from then on.
        if (refusal == Refusal::Connection || resends > 0)
            && let Some(connection) = error.connect_info()
        {
            connection.poison();
        }
        resends += 1;
    }
}

/// What is known not to have processed a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// The connection: the next one may.
    Connection,
    /// The stream: the next one on the same connection may.
    Stream,
}

impl Refusal {
    /// Returns whether an error says that the request was not processed. `was_sent`: whether the body was.
    fn of(error: &Error, was_sent: bool) -> Option<Self> {
        if cause::<DialError>(error).is_some() {
            // There was no connection. That is a verdict of its own.
            return None;
        }
        match cause::<h2::Error>(error).filter(|error| error.is_remote()) {
            Some(error) if error.reason() == Some(h2::Reason::REFUSED_STREAM) && error.is_reset() => Some(Self::Stream),
            // Only streams above the last one that the receiver names end with its GOAWAY; the others go on.
            Some(error) if error.is_go_away() => Some(Self::Connection),
            _ => (!was_sent).then_some(Self::Connection),
        }
    }
}

/// A request body that notes when hyper first asks for it. Until then, the receiver has at most the head of the request,
/// and with HTTP/1.1 nothing, so it cannot have processed the request.
pub(super) struct Payload {
    bytes: Full<Bytes>,
    sent: Arc<AtomicBool>,
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.sent.store(true, Ordering::Relaxed);
        Pin::new(&mut self.bytes).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes.size_hint()
    }
}
