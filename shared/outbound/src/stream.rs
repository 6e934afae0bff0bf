//! A connection as the pool needs it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;

use crate::trace::Trace;

/// A connection, plain or with TLS, with the trace of the request for which it was dialed.
pub(crate) struct Stream {
    io: TokioIo<Pin<Box<dyn Io>>>,
    is_h2: bool,
    trace: Trace,
    /// Its place among those that are kept for later requests. Without one it is closed after the answer.
    place: Option<OwnedSemaphorePermit>,
}

trait Io: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Io for T {}

impl Stream {
    pub(crate) fn new(io: impl AsyncRead + AsyncWrite + Send + 'static, is_h2: bool, trace: Trace) -> Self {
        Self { io: TokioIo::new(Box::pin(io)), is_h2, trace, place: None }
    }

    /// Keeps the connection for later requests, if there is a place for it.
    pub(crate) fn kept(self, place: Option<OwnedSemaphorePermit>) -> Self {
        Self { place, ..self }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        // Every response on this connection carries the trace, so a request can see whether the connection was dialed
        // for it.
        let connected = Connected::new().extra(self.trace.clone());
        if self.place.is_none() {
            // The pool then gives it to no other request.
            connected.poison();
        }
        if self.is_h2 { connected.negotiated_h2() } else { connected }
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}
