//! Receivers with a certificate: timings, certificate errors and HTTP/2.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Frame};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::crypto::{ActiveKeyExchange, CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{NamedGroup, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;

use super::dns::NameServer;
use super::*;

pub(super) const NAME: &str = "receiver.example";
const DELAY: Duration = Duration::from_millis(60);

/// Returns a client configuration that trusts this certificate and no other.
pub(super) fn trusting(certificate: Option<CertificateDer<'static>>) -> ClientConfig {
    trusting_with(certificate, aws_lc_rs::default_provider())
}

fn trusting_with(certificate: Option<CertificateDer<'static>>, provider: CryptoProvider) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificate);
    let tls = ClientConfig::builder_with_provider(Arc::new(provider));
    tls.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots).with_no_client_auth()
}

/// The receiver's side: has a certificate for [`NAME`].
pub(super) fn acceptor(
    protocols: &[&str],
    versions: &[&'static SupportedProtocolVersion],
) -> (TlsAcceptor, CertificateDer<'static>) {
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let tls = tls.with_protocol_versions(versions).unwrap().with_no_client_auth();
    let mut tls = tls.with_single_cert(vec![cert.der().clone()], key.into()).unwrap();
    // Each handshake in full, so that it takes the same steps.
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    (TlsAcceptor::from(Arc::new(tls)), cert.der().clone())
}

/// A response body: empty or endless.
enum Said {
    Nothing,
    Endless,
}

impl Body for Said {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(match *self {
            Self::Nothing => None,
            Self::Endless => Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 1024])))),
        })
    }
}

/// A receiver with a certificate for [`NAME`]. Each part of a request to it takes [`DELAY`]. The path selects the
/// response.
struct Receiver {
    port: u16,
    client: Client,
}

impl Receiver {
    async fn start(protocols: &[&str]) -> Self {
        Self::called_with(protocols, aws_lc_rs::default_provider()).await
    }

    /// Starts a receiver whose client has another provider of cryptography.
    async fn called_with(protocols: &[&str], provider: CryptoProvider) -> Self {
        let (acceptor, certificate) = acceptor(protocols, rustls::DEFAULT_VERSIONS);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(DELAY).await;
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let (stream, service) = (TokioIo::new(stream), service_fn(answer));
                    if is_http2 {
                        let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await;
                    } else {
                        let _ = http1::Builder::new().serve_connection(stream, service).await;
                    }
                });
            }
        });
        let names = NameServer::answering(&[&[Ipv4Addr::LOCALHOST]], DELAY).await;
        let client =
            Client::dialing(local(), Resolver::Server(names.address), trusting_with(Some(certificate), provider));
        Self { port, client }
    }

    async fn send(&self, path: &str) -> Outcome {
        send(&self.client, &format!("https://{NAME}:{}{path}", self.port)).await
    }
}

async fn answer(request: hyper::Request<Incoming>) -> Result<Response<Said>, Infallible> {
    tokio::time::sleep(DELAY).await;
    let (path, mut response) = (request.uri().path().to_owned(), Response::new(Said::Nothing));
    match path.as_str() {
        "/silence" => std::future::pending().await,
        "/endless" => *response.body_mut() = Said::Endless,
        "/headers" => {
            for n in 0..90 {
                let name = HeaderName::try_from(format!("x-{n}")).unwrap();
                response.headers_mut().insert(name, HeaderValue::try_from("a".repeat(1000)).unwrap());
            }
        }
        _ => {}
    }
    Ok(response)
}

#[rstest]
#[case::http_1(&["http/1.1"])]
#[case::http_2(&["h2", "http/1.1"])]
#[tokio::test]
async fn every_part_is_timed_where_it_happens(#[case] protocols: &[&str]) {
    let receiver = Receiver::start(protocols).await;
    let Outcome { verdict, timing, duration_ms, error, .. } = receiver.send("/").await;
    assert_eq!(verdict, Verdict::Accepted, "{error:?}");
    // Far above what a busy machine adds, and far below a wrong unit.
    let at_least = |part: Option<u32>, ms| assert!(part.is_some_and(|part| (ms..10_000).contains(&part)), "{timing:?}");
    at_least(timing.dns_ms, 59);
    at_least(timing.connect_ms, 0);
    at_least(timing.tls_ms, 59);
    at_least(timing.first_byte_ms, 179);
    assert!(duration_ms >= timing.first_byte_ms.unwrap());

    // The connection is reused: nothing was resolved, connected or negotiated.
    let timing = receiver.send("/").await.timing;
    assert_eq!((timing.dns_ms, timing.connect_ms, timing.tls_ms), (None, None, None));
    assert!(timing.first_byte_ms.is_some_and(|part| part >= 59), "{timing:?}");
}

/// A key exchange that takes [`DELAY`] of the processor's time to begin.
#[derive(Debug)]
struct SlowKeys;

impl SupportedKxGroup for SlowKeys {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, rustls::Error> {
        std::thread::sleep(DELAY);
        aws_lc_rs::kx_group::X25519.start()
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// The receiver's own delay passes meanwhile, so it does not hide keys that are not counted.
#[tokio::test]
async fn making_keys_is_a_part_of_the_handshake() {
    let provider = CryptoProvider { kx_groups: vec![&SlowKeys], ..aws_lc_rs::default_provider() };
    let timing = Receiver::called_with(&["h2"], provider).await.send("/").await.timing;
    assert!(timing.tls_ms.is_some_and(|part| part >= 59), "{timing:?}");
}

#[tokio::test]
async fn a_literal_address_without_tls_has_only_a_connection() {
    let timing = post(local(), &receiver(b"HTTP/1.1 204 No Content\r\n\r\n", false).await).await.timing;
    assert_eq!((timing.dns_ms, timing.tls_ms), (None, None));
    assert!(timing.connect_ms.is_some() && timing.first_byte_ms.is_some());
}

#[tokio::test]
async fn a_part_that_never_ends_shows_how_long_it_was_waited_for() {
    // This listener never completes a handshake.
    let silent = receiver(b"", true).await.replace("http:", "https:");
    let Outcome { verdict, timing, .. } = post(local(), &silent).await;
    assert_eq!(verdict, Verdict::TimedOut);
    assert!(timing.tls_ms.is_some_and(|part| part >= 250) && timing.first_byte_ms.is_none(), "{timing:?}");
}

#[tokio::test]
async fn an_unknown_certificate_is_refused() {
    let receiver = Receiver::start(&["h2"]).await;
    let names = NameServer::answering(&[&[Ipv4Addr::LOCALHOST]], Duration::ZERO).await;
    let client = Client::dialing(local(), Resolver::Server(names.address), trusting(None));
    let outcome = send(&client, &format!("https://{NAME}:{}/", receiver.port)).await;
    assert_eq!(outcome.verdict, Verdict::TlsFailed, "{:?}", outcome.error);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let receiver = Receiver::start(&["h2"]).await;
    let outcome = send(&receiver.client, &format!("https://other.example:{}/", receiver.port)).await;
    assert_eq!(outcome.verdict, Verdict::TlsFailed, "{:?}", outcome.error);
}

#[rstest]
#[case::silence("/silence", Verdict::TimedOut)]
#[case::endless_body("/endless", Verdict::Accepted)]
#[case::large_head("/headers", Verdict::ProtocolFailed)]
#[tokio::test]
async fn http_2_holds_nobody_either(#[case] path: &str, #[case] verdict: Verdict) {
    let receiver = Receiver::start(&["h2"]).await;
    let outcome = receiver.send(path).await;
    assert_eq!(outcome.verdict, verdict, "{:?}", outcome.error);
    assert!(outcome.duration_ms < 2 * TIMEOUT, "{} ms", outcome.duration_ms);
    assert!(outcome.response_excerpt.is_none_or(|excerpt| excerpt.len() == EXCERPT_BYTES));
    // The connection still serves the next request.
    assert_eq!(receiver.send("/").await.verdict, Verdict::Accepted);
}
