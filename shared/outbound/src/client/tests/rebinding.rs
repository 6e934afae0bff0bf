//! DNS rebinding: a name whose address changes between the check and the call, or between two calls.

use std::net::{IpAddr, Ipv4Addr};

use domain::attempt::outcome::Timing;
use rstest::rstest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::dns::NameServer;
use super::*;

/// Represents a public address: the policy allows it and no other.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// A receiver at the public address, a victim at the same port of loopback, and a client that uses the name server.
struct Scene {
    url: String,
    victim: TcpListener,
    names: NameServer,
    client: Client,
}

impl Scene {
    async fn with(answers: &[&[Ipv4Addr]]) -> Self {
        // Another test may have the same port of loopback.
        let (receiver, victim, port) = loop {
            let receiver = TcpListener::bind((PUBLIC, 0)).await.unwrap();
            let port = receiver.local_addr().unwrap().port();
            if let Ok(victim) = TcpListener::bind((LOOPBACK, port)).await {
                break (receiver, victim, port);
            }
        };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = receiver.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
            }
        });
        let names = NameServer::answering(answers, Duration::ZERO).await;
        let policy = TargetPolicy { allowed: vec![IpAddr::from(PUBLIC).into()], ..local() };
        let client = Client::dialing(policy, Resolver::Server(names.address), tls::trusting(None));
        Self { url: format!("http://receiver.example:{port}/hook"), victim, names, client }
    }

    async fn send(&self) -> Verdict {
        send(&self.client, &self.url).await.verdict
    }

    /// Returns everything that the webhook's owner sees of an attempt, except durations.
    async fn seen(&self) -> Outcome {
        let outcome = send(&self.client, &self.url).await;
        let timing = Timing { dns_ms: outcome.timing.dns_ms.map(|_| 0), ..outcome.timing };
        Outcome { duration_ms: 0, timing, ..outcome }
    }

    async fn nobody_called_the_victim(&self) {
        let called = tokio::time::timeout(Duration::from_millis(50), self.victim.accept()).await;
        assert!(called.is_err(), "the victim was called");
    }
}

#[rstest]
#[case::loopback(LOOPBACK)]
#[case::metadata(METADATA)]
#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_called(#[case] later: Ipv4Addr) {
    let scene = Scene::with(&[&[PUBLIC], &[later]]).await;
    assert_eq!(scene.send().await, Verdict::Accepted);
    // The name was resolved once, so the answer could not change between the check and the connection.
    assert_eq!(scene.names.asked(), 1);
    // A new connection resolves and checks the name again.
    assert_eq!(scene.send().await, Verdict::DnsFailed);
    assert_eq!(scene.names.asked(), 2);
    scene.nobody_called_the_victim().await;
}

#[rstest]
#[case::last(&[PUBLIC, LOOPBACK])]
#[case::first(&[METADATA, PUBLIC])]
#[case::alone(&[LOOPBACK])]
#[tokio::test]
async fn one_bad_address_spoils_the_name(#[case] addresses: &[Ipv4Addr]) {
    let scene = Scene::with(&[addresses]).await;
    assert_eq!(scene.send().await, Verdict::DnsFailed);
    scene.nobody_called_the_victim().await;
}

#[tokio::test]
async fn a_name_without_an_address_does_not_resolve() {
    assert_eq!(Scene::with(&[&[]]).await.send().await, Verdict::DnsFailed);
}

/// Otherwise, everyone who registers webhooks could find out which names exist in a private network.
#[tokio::test]
async fn a_name_that_policy_forbids_and_one_that_does_not_exist_look_the_same() {
    let none = Scene::with(&[&[]]).await.seen().await;
    assert_eq!(none.error.as_deref(), Some("the name does not resolve to addresses that may be called"));
    for addresses in [&[LOOPBACK][..], &[METADATA], &[PUBLIC, METADATA]] {
        assert_eq!(Scene::with(&[addresses]).await.seen().await, none);
    }
    let client = Client::new(local()).unwrap();
    let unknown = send(&client, "http://nowhere.invalid/").await;
    assert_eq!((unknown.verdict, unknown.error), (none.verdict, none.error));
}

#[tokio::test]
async fn a_name_that_alternates_gets_through_only_while_it_is_good() {
    let answers: Vec<&[Ipv4Addr]> = (0..20).map(|n| if n % 2 == 0 { &[PUBLIC][..] } else { &[LOOPBACK][..] }).collect();
    let scene = Scene::with(&answers).await;
    for n in 0..20 {
        let expected = if n % 2 == 0 { Verdict::Accepted } else { Verdict::DnsFailed };
        assert_eq!(scene.send().await, expected, "call {n}");
    }
    scene.nobody_called_the_victim().await;
}
