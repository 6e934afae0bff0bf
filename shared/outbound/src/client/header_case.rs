//! The case of header names, for receivers that compare them exactly, as many do behind a REST API of API Gateway.
//!
//! HTTP/2 has names in lower case only, so requests with other names go over HTTP/1.1 ([ADR 28][1]).
//!
//! [1]: ../../../../docs/adr/0028-header-case.md

use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use hyper::http::Extensions;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

/// Returns whether the case of a name matters, because it has capitals.
pub(super) fn matters(headers: &[(String, String)]) -> bool {
    headers.iter().any(|(name, _)| name.contains(|c: char| c.is_ascii_uppercase()))
}

/// Returns what a request needs for hyper to write its names as they are here. Those that every client sends are left to
/// hyper, which then writes them as most clients do: `Content-Type`.
///
/// hyper has a map of names for proxies. It fills the map when it reads a message, and offers no other way to make one.
/// So it reads a message with these names, from memory.
pub(super) async fn preserve(headers: &[(String, String)]) -> Extensions {
    let names = headers.iter().map(|(name, _)| name.as_str()).filter(|name| !is_common(name));
    let lines = names.map(|name| format!("{name}:\r\n")).collect::<Vec<_>>().concat();
    read(format!("HTTP/1.1 204 No Content\r\n{lines}\r\n")).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "a request goes out with header names in small letters: their case cannot be kept");
        Extensions::new()
    })
}

fn is_common(name: &str) -> bool {
    [CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT].iter().any(|common| *common == name)
}

/// Lets hyper read a response.
async fn read(response: String) -> hyper::Result<Extensions> {
    let (ours, mut theirs) = duplex(response.len());
    let builder = http1::Builder::new().preserve_header_case(true).handshake(TokioIo::new(ours));
    let (mut sender, connection) = builder.await?;
    let answer = async move {
        let mut request = [0; 1024];
        // The response must not come before the request.
        let _ = theirs.read(&mut request).await;
        let _ = theirs.write_all(response.as_bytes()).await;
    };
    let asked = sender.send_request(Request::new(Empty::<Bytes>::new()));
    let (response, _, ()) = tokio::join!(asked, connection, answer);
    Ok(response?.into_parts().0.extensions)
}
