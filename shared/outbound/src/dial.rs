//! Opens connections, each to an address that was checked against the policy just before.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use domain::attempt::target::TargetPolicy;
use hyper::Uri;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::resolver::Resolver;
use crate::stream::Stream;
use crate::trace::{Part, Trace};

/// The longest time to set up a connection, from resolving the name to the end of the TLS handshake.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an address may take before the next one is tried as well (RFC 8305, 8).
const HEAD_START: Duration = Duration::from_millis(250);

/// How many addresses of a name are tried at most. Its owner may list hundreds, each of which would get a connection.
const MAX_ADDRESSES: usize = 8;

/// How many connections are kept for later requests, over all receivers. Lambda lets a process open 1,024 files.
/// Further connections are closed after their answer.
pub(crate) const MAX_KEPT: usize = 500;

/// The protocols, as TLS names them.
const HTTP_1: &[u8] = b"http/1.1";
const HTTP_2: &[u8] = b"h2";

/// Resolves a name, checks the policy, connects and does the TLS handshake. The pool calls it when it has no
/// connection.
#[derive(Clone)]
pub(crate) struct Dialer {
    policy: Arc<TargetPolicy>,
    names: Resolver,
    tls: Arc<ClientConfig>,
    /// Offers no HTTP/2.
    http_1: Arc<ClientConfig>,
    prefers_http_1: bool,
    /// A place for each connection that is kept.
    places: Arc<Semaphore>,
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The URL has no host, or one that is not a valid name in certificates.
    #[error("the URL has no valid host name")]
    NoHost,
    /// The port is not allowed.
    #[error("port {0} is not allowed")]
    Port(u16),
    /// The name does not exist, has no address, or has one that the policy forbids. All three have the same error.
    /// Otherwise, everyone who may register a webhook could find out which names exist in the network that deliveries
    /// come from.
    #[error("the name does not resolve to addresses that may be called")]
    Unresolved,
    /// The URL contains a literal address that the policy forbids.
    #[error("the URL names a private, local or reserved address")]
    Forbidden,
    /// The connection was refused, or the address cannot be reached.
    #[error("{0}")]
    Connect(io::Error),
    /// The certificate is not valid, or the handshake failed.
    #[error("{0}")]
    Tls(io::Error),
    /// Setting up the connection took too long.
    #[error("no connection within {} s", DIAL_TIMEOUT.as_secs())]
    TooSlow,
}

impl Dialer {
    pub(crate) fn new(policy: Arc<TargetPolicy>, names: Resolver, mut tls: ClientConfig) -> Self {
        tls.alpn_protocols = vec![HTTP_1.to_vec()];
        let http_1 = Arc::new(tls.clone());
        tls.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec()];
        let places = Arc::new(Semaphore::new(MAX_KEPT));
        Self { policy, names, tls: Arc::new(tls), http_1, prefers_http_1: false, places }
    }

    /// Changes how many connections are kept.
    #[cfg(test)]
    pub(crate) fn keeping(self, most: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(most)), ..self }
    }

    /// Makes the dialer speak HTTP/1.1, and HTTP/2 only if the receiver refuses that.
    pub(crate) fn preferring_http_1(self) -> Self {
        Self { prefers_http_1: true, ..self }
    }

    async fn dial(self, uri: Uri, trace: Trace) -> Result<Stream, DialError> {
        let deadline = Instant::now() + DIAL_TIMEOUT;
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        // The pool closes an HTTP/2 connection only when it looks for idle ones, long after the answer.
        if self.prefers_http_1 || place.is_none() {
            match self.open(&uri, &trace, Arc::clone(&self.http_1), deadline).await {
                Err(DialError::Tls(error)) if is_no_protocol(&error) => {}
                opened => return Ok(opened?.kept(place)),
            }
        }
        Ok(self.open(&uri, &trace, Arc::clone(&self.tls), deadline).await?.kept(place))
    }

    async fn open(
        &self,
        uri: &Uri,
        trace: &Trace,
        tls: Arc<ClientConfig>,
        deadline: Instant,
    ) -> Result<Stream, DialError> {
        // An IPv6 literal has brackets in a URL.
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let is_tls = uri.scheme_str() != Some("http");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let name = ServerName::try_from(host.to_owned()).map_err(|_| DialError::NoHost)?;
        let within = |error| move |_| error;

        let addresses = timeout_at(deadline, self.addresses(host, port, trace));
        let addresses = addresses.await.map_err(within(DialError::TooSlow))??;
        let connecting = trace.measure(Part::Connect, connect(&addresses, deadline));
        let connection = connecting.await?;
        // Requests are small and written at once, so Nagle's algorithm would only delay them.
        connection.set_nodelay(true).map_err(DialError::Connect)?;
        if !is_tls {
            return Ok(Stream::new(connection, false, trace.clone()));
        }
        // Within the future that is measured, because `connect` makes keys before it returns one.
        let handshake = async { timeout_at(deadline, TlsConnector::from(tls).connect(name, connection)).await };
        let connection = trace.measure(Part::Tls, handshake).await;
        let connection = connection.map_err(within(DialError::TooSlow))?.map_err(DialError::Tls)?;
        let is_h2 = connection.get_ref().1.alpn_protocol() == Some(HTTP_2);
        Ok(Stream::new(connection, is_h2, trace.clone()))
    }

    /// Returns the addresses to connect to. The policy allows all of them.
    async fn addresses(&self, host: &str, port: u16, trace: &Trace) -> Result<Vec<SocketAddr>, DialError> {
        if !self.policy.permits_port(port) {
            return Err(DialError::Port(port));
        }
        if let Ok(literal) = host.parse::<IpAddr>() {
            let address = SocketAddr::new(literal, port);
            return if self.policy.permits(literal) { Ok(vec![address]) } else { Err(DialError::Forbidden) };
        }
        let found = trace.measure(Part::Dns, self.names.lookup(host, port)).await;
        let found = found
            .inspect_err(|error| tracing::info!(host, %error, "a receiver's name does not resolve"))
            .unwrap_or_default();
        // One forbidden address is enough to refuse the name, because the name's owner controls which address is
        // dialed.
        if found.iter().any(|address| !self.policy.permits(address.ip())) {
            // The receiver's owner must not learn this, so it is only in the log.
            tracing::info!(host, "a receiver's name resolves to an address that the target policy forbids");
            return Err(DialError::Unresolved);
        }
        if found.is_empty() { Err(DialError::Unresolved) } else { Ok(found) }
    }
}

/// Returns whether the receiver speaks none of the protocols that it was offered.
fn is_no_protocol(error: &io::Error) -> bool {
    let refused = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
    error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) == Some(&refused)
}

/// Connects to the address that answers first ([RFC 8305](https://www.rfc-editor.org/rfc/rfc8305#section-5)): the next
/// one is tried as soon as the last one failed, or has not answered for a moment. The other attempts are dropped then.
async fn connect(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, DialError> {
    let mut untried = interleave(addresses).into_iter();
    let mut attempts = JoinSet::new();
    let mut last = DialError::Unresolved;
    while Instant::now() < deadline {
        let until = match untried.next() {
            Some(address) => {
                #[expect(clippy::disallowed_methods, reason = "this is the crate that dials")]
                attempts.spawn(TcpStream::connect(address));
                deadline.min(Instant::now() + HEAD_START)
            }
            None if attempts.is_empty() => return Err(last),
            None => deadline,
        };
        if let Ok(Some(ended)) = timeout_at(until, attempts.join_next()).await {
            match ended.unwrap_or_else(|panic| Err(panic.into())) {
                Ok(connection) => return Ok(connection),
                Err(error) => last = DialError::Connect(error),
            }
        }
    }
    Err(DialError::TooSlow)
}

/// Lets the families take turns, beginning with that of the first address, so that a network without one of them costs
/// one wait. Within a family the order is the resolver's. Only the first [`MAX_ADDRESSES`] are tried.
fn interleave(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(|address| address.is_ipv6() == is_v6);
    let turns = 0..first.len().max(second.len());
    let all = turns.flat_map(|turn| [first.get(turn), second.get(turn)]).flatten();
    all.take(MAX_ADDRESSES).copied().collect()
}

impl Service<Uri> for Dialer {
    type Response = Stream;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // Read the trace here, in the request's own task. The pool may let another task finish the dialing.
        let trace = Trace::current();
        Box::pin(self.clone().dial(uri, trace))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::v6_first(&["[2001:db8::1]:1", "[2001:db8::2]:1", "10.0.0.1:1", "10.0.0.2:1"], &[0, 2, 1, 3])]
    #[case::v4_first(&["10.0.0.1:1", "[2001:db8::1]:1", "[2001:db8::2]:1"], &[0, 1, 2])]
    #[case::many_of_one(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "[2001:db8::1]:1"], &[0, 3, 1, 2])]
    #[case::one_family(&["10.0.0.2:1", "10.0.0.1:1"], &[0, 1])]
    #[case::none(&[], &[])]
    fn families_take_turns(#[case] addresses: &[&str], #[case] order: &[usize]) {
        let addresses: Vec<SocketAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let expected: Vec<_> = order.iter().map(|index| addresses[*index]).collect();
        assert_eq!(interleave(&addresses), expected);
    }

    #[test]
    fn few_of_many_addresses_are_tried() {
        let addresses: Vec<SocketAddr> = (0..100).map(|number| ([10, 0, 0, number], 443).into()).collect();
        assert_eq!(interleave(&addresses), addresses[..MAX_ADDRESSES]);
    }
}
