//! Names with several addresses, some of which do not answer.

use std::net::Ipv4Addr;

use tokio::net::{TcpSocket, TcpStream};

use super::dns::NameServer;
use super::*;

const GOOD: Ipv4Addr = Ipv4Addr::LOCALHOST;
const DEAD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const ALSO_DEAD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 10);
/// Nothing listens there.
const CLOSED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// An address that drops whatever comes: its queue of connections is full and stays so. Must be held.
struct Dead {
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl Dead {
    async fn at(address: Ipv4Addr, port: u16) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address, port).into()).unwrap();
        let listener = socket.listen(1).unwrap();
        let mut queue = Vec::new();
        #[expect(clippy::disallowed_methods, reason = "this plays other clients")]
        while let Ok(connected) =
            tokio::time::timeout(Duration::from_millis(50), TcpStream::connect((address, port))).await
        {
            queue.push(connected.unwrap());
        }
        Self { _listener: listener, _queue: queue }
    }
}

/// Sends one request to a name with these addresses, of which only [`GOOD`] answers.
async fn outcome(addresses: &[Ipv4Addr]) -> Outcome {
    let url = receiver(b"HTTP/1.1 204 No Content\r\n\r\n", false).await;
    let port = url.parse::<Uri>().unwrap().port_u16().unwrap();
    let _dead = (Dead::at(DEAD, port).await, Dead::at(ALSO_DEAD, port).await);
    let names = NameServer::answering(&[addresses], Duration::ZERO).await;
    let client = Client::dialing(local(), Resolver::Server(names.address), tls::trusting(None));
    let url = format!("http://receiver.example:{port}/hook");
    client.post(Request { timeout: Duration::from_secs(2), ..request(&url) }, client.place(&url).await).await
}

#[rstest]
#[case::first(&[DEAD, GOOD], 250)]
#[case::first_two(&[DEAD, ALSO_DEAD, GOOD], 500)]
// A refusal is an answer: the next address is tried at once.
#[case::closed(&[CLOSED, GOOD], 0)]
#[case::closed_and_dead(&[CLOSED, DEAD, CLOSED, GOOD], 250)]
#[case::last(&[GOOD, DEAD], 0)]
#[tokio::test]
async fn a_dead_address_costs_a_moment(#[case] addresses: &[Ipv4Addr], #[case] at_least: u32) {
    let outcome = outcome(addresses).await;
    assert_eq!(outcome.verdict, Verdict::Accepted, "{:?}", outcome.error);
    let connected = outcome.timing.connect_ms.unwrap();
    assert!((at_least..at_least + 1_000).contains(&connected), "{connected} ms");
}

#[rstest]
#[case::dead(&[DEAD, ALSO_DEAD], Verdict::TimedOut)]
#[case::dead_and_closed(&[DEAD, CLOSED], Verdict::TimedOut)]
#[case::closed(&[CLOSED, CLOSED], Verdict::ConnectFailed)]
#[tokio::test]
async fn a_name_without_an_address_that_answers_fails(#[case] addresses: &[Ipv4Addr], #[case] verdict: Verdict) {
    let outcome = outcome(addresses).await;
    assert_eq!(outcome.verdict, verdict, "{:?}", outcome.error);
    assert!(outcome.duration_ms < 2_500, "{} ms", outcome.duration_ms);
}
