//! Receivers that did not process a request, and some that may have.
//!
//! They speak HTTP/2 frame by frame, because a server library does not do on purpose what is tried here.

use std::net::Ipv4Addr;
use std::sync::Mutex;

use rstest::rstest;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::dns::NameServer;
use super::tls::{NAME, acceptor, trusting};
use super::*;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

const END_STREAM: u8 = 1;
/// `END_STREAM` and `END_HEADERS`.
const END: u8 = 5;

const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// `:status: 200`, as the static table of HPACK has it.
const OK: u8 = 0x88;

/// What a receiver does with the nth complete request of a connection, from 1.
#[derive(Debug, Clone, Copy)]
enum Act {
    Answer,
    Reset(u32),
    /// Names a stream as the last one, relative to that of the request, and answers up to it; then closes.
    Retire(i64, u32),
    /// Names this stream as the last one, and closes without an answer.
    Break,
    Hang,
}

/// Decides by the number of the connection and that of the request on it.
type Plan = fn(u32, u32) -> Act;

/// What happened at a receiver.
#[derive(Debug, Default)]
struct Seen {
    connections: u32,
    /// Complete requests.
    requests: u32,
    /// Those of them that were answered.
    answered: u32,
}

struct Receiver {
    url: String,
    client: Client,
    seen: Arc<Mutex<Seen>>,
}

impl Receiver {
    async fn start(plan: Plan) -> Self {
        Self::with(plan, None).await
    }

    /// `streams`: how many may be under way at once.
    async fn with(plan: Plan, streams: Option<u8>) -> Self {
        Self::serving(&["h2"], rustls::DEFAULT_VERSIONS, move |acceptor, stream, number, seen| async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let _ = serve(stream, plan, streams, number, &seen).await;
        })
        .await
    }

    async fn serving<F: Future<Output = ()> + Send + 'static>(
        protocols: &[&str],
        versions: &[&'static rustls::SupportedProtocolVersion],
        serve: impl Fn(TlsAcceptor, tokio::net::TcpStream, u32, Arc<Mutex<Seen>>) -> F + Send + 'static,
    ) -> Self {
        let (acceptor, certificate) = acceptor(protocols, versions);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{NAME}:{}/hook", listener.local_addr().unwrap().port());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let noted = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut noted = noted.lock().unwrap();
                    noted.connections += 1;
                    noted.connections
                };
                tokio::spawn(serve(acceptor.clone(), stream, number, Arc::clone(&noted)));
            }
        });
        let names = NameServer::answering(&[&[Ipv4Addr::LOCALHOST]], Duration::ZERO).await;
        let client = Client::dialing(local(), Resolver::Server(names.address), trusting(Some(certificate)));
        Self { url, client, seen }
    }

    async fn send(&self) -> Outcome {
        send(&self.client, &self.url).await
    }
}

async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    kind: u8,
    flags: u8,
    id: u32,
    payload: &[u8],
) -> std::io::Result<()> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &id.to_be_bytes()].concat();
    stream.write_all(&[&head, payload].concat()).await
}

/// Speaks HTTP/2 until the plan ends the connection. What comes on streams above the last one is ignored.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    plan: Plan,
    streams: Option<u8>,
    connection: u32,
    seen: &Mutex<Seen>,
) -> std::io::Result<()> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    let settings = streams.map(|most| vec![0, 3, 0, 0, 0, most]).unwrap_or_default();
    write(&mut stream, SETTINGS, 0, 0, &settings).await?;
    let mut requests = 0;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
        stream.read_exact(&mut payload).await?;
        let id = u32::from_be_bytes(id);
        if kind == SETTINGS && flags == 0 {
            write(&mut stream, SETTINGS, 1, 0, &[]).await?;
        }
        if !matches!(kind, HEADERS | DATA) || flags & END_STREAM == 0 {
            continue;
        }
        requests += 1;
        seen.lock().unwrap().requests += 1;
        let act = plan(connection, requests);
        if matches!(act, Act::Answer) || matches!(act, Act::Retire(last, _) if last >= 0) {
            write(&mut stream, HEADERS, END, id, &[OK]).await?;
            seen.lock().unwrap().answered += 1;
        }
        let last = match act {
            Act::Answer | Act::Hang => continue,
            Act::Reset(reason) => {
                write(&mut stream, RST_STREAM, 0, id, &reason.to_be_bytes()).await?;
                continue;
            }
            Act::Retire(relative, reason) => (i64::from(id) + relative, reason),
            Act::Break => (id.into(), NO_ERROR),
        };
        let (last, reason) = (u32::try_from(last.0).unwrap().to_be_bytes(), last.1.to_be_bytes());
        write(&mut stream, GOAWAY, 0, 0, &[last, reason].concat()).await?;
        stream.shutdown().await?;
        // Read what is still under way, so that closing does not reset the connection.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        return Ok(());
    }
}

fn first_connection(connection: u32, act: Act) -> Act {
    if connection == 1 { act } else { Act::Answer }
}

#[rstest]
#[case::retired_before_it(|n, _| first_connection(n, Act::Retire(-1, NO_ERROR)), 2)]
#[case::retired_for_another_reason(|n, _| first_connection(n, Act::Retire(-1, ENHANCE_YOUR_CALM)), 2)]
#[case::retired_three_times(|n, _| if n < 4 { Act::Retire(-1, NO_ERROR) } else { Act::Answer }, 4)]
// The connection goes on; only this stream was one too many.
#[case::refused(|_, request| if request == 1 { Act::Reset(REFUSED_STREAM) } else { Act::Answer }, 1)]
#[case::refused_by_the_connection(|n, _| first_connection(n, Act::Reset(REFUSED_STREAM)), 2)]
#[tokio::test]
async fn what_a_receiver_did_not_process_is_sent_again(#[case] plan: Plan, #[case] connections: u32) {
    let receiver = Receiver::start(plan).await;
    let outcome = receiver.send().await;
    assert_eq!((outcome.verdict, outcome.status), (Verdict::Accepted, Some(200)), "{:?}", outcome.error);
    assert_eq!(receiver.seen.lock().unwrap().connections, connections);
}

#[rstest]
#[case::broken_off(|_, _| Act::Break)]
#[case::reset(|_, _| Act::Reset(INTERNAL_ERROR))]
#[case::reset_without_an_error(|_, _| Act::Reset(NO_ERROR))]
#[tokio::test]
async fn what_a_receiver_may_have_processed_is_not_sent_again(#[case] plan: Plan) {
    let receiver = Receiver::start(plan).await;
    let outcome = receiver.send().await;
    assert_eq!(outcome.verdict, Verdict::ProtocolFailed, "{:?}", outcome.error);
    assert_eq!(receiver.seen.lock().unwrap().requests, 1);
}

#[rstest]
#[case::retires(|_, _| Act::Retire(-1, NO_ERROR))]
#[case::refuses(|_, _| Act::Reset(REFUSED_STREAM))]
#[tokio::test]
async fn a_receiver_that_never_processes_a_request_has_failed(#[case] plan: Plan) {
    let receiver = Receiver::start(plan).await;
    assert_eq!(receiver.send().await.verdict, Verdict::ProtocolFailed);
    assert_eq!(receiver.seen.lock().unwrap().requests, 4);
}

/// Each connection takes a while to refuse; together they take no longer than the attempt may.
#[tokio::test]
async fn resends_end_with_the_timeout() {
    let receiver = Receiver::start(|n, _| if n < 3 { Act::Retire(-1, NO_ERROR) } else { Act::Hang }).await;
    let outcome = receiver.send().await;
    assert_eq!(outcome.verdict, Verdict::TimedOut, "{:?}", outcome.error);
    assert!((TIMEOUT..2 * TIMEOUT).contains(&outcome.duration_ms), "{} ms", outcome.duration_ms);
}

/// A server that retires each connection with its 14th request, as many do for balance, costs no attempt. Ten are under way
/// at once, so six of them are on streams that it ignores.
#[rstest]
#[case::many_streams(None)]
#[case::few_streams(Some(3))]
#[case::one_stream(Some(1))]
#[tokio::test]
async fn retired_connections_cost_nothing(#[case] streams: Option<u8>) {
    let plan = |_, request| if request == 14 { Act::Retire(0, NO_ERROR) } else { Act::Answer };
    let receiver = Receiver::with(plan, streams).await;
    let mut outcomes = Vec::new();
    for _ in 0..22 {
        let mut sent = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let (client, url) = (receiver.client.clone(), receiver.url.clone());
            sent.spawn(async move { send(&client, &url).await });
        }
        outcomes.extend(sent.join_all().await);
    }
    let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome.verdict != Verdict::Accepted).collect();
    assert!(failed.is_empty(), "{} of 220: {:?}", failed.len(), failed[0]);
    let seen = receiver.seen.lock().unwrap();
    assert!(seen.connections > 10, "{seen:?}");
    // None was processed twice.
    assert_eq!(seen.answered, 220, "{seen:?}");
}

/// With TLS 1.2 the receiver ends the handshake, so it can close before anything else is written.
#[rstest]
#[case::http_1("http/1.1", 1)]
#[case::http_1_three_times("http/1.1", 3)]
#[case::http_2("h2", 1)]
#[tokio::test]
async fn a_connection_that_dies_before_a_request_is_written_costs_nothing(#[case] protocol: &str, #[case] dead: u32) {
    let is_h2 = protocol == "h2";
    let receiver =
        Receiver::serving(&[protocol], &[&rustls::version::TLS12], move |acceptor, stream, number, seen| async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            if number <= dead {
                let _ = stream.shutdown().await;
            } else if is_h2 {
                let _ = serve(stream, |_, _| Act::Answer, None, number, &seen).await;
            } else {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            }
        })
        .await;
    let outcome = receiver.send().await;
    assert_eq!(outcome.verdict, Verdict::Accepted, "{:?}", outcome.error);
    assert_eq!(receiver.seen.lock().unwrap().connections, dead + 1);
}
