//! The case of header names, as it is on the wire.

use std::net::Ipv4Addr;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::dns::NameServer;
use super::tls::{NAME, acceptor, trusting};
use super::*;

/// Answers every request, and tells the protocol of its connection and its head.
async fn heads(protocols: &[&str]) -> (String, Client, UnboundedReceiver<(String, String)>) {
    let (acceptor, certificate) = acceptor(protocols, rustls::DEFAULT_VERSIONS);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{NAME}:{}/hook", listener.local_addr().unwrap().port());
    let (heads, received) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let protocol = String::from_utf8(stream.get_ref().1.alpn_protocol().unwrap_or_default().to_vec()).unwrap();
            let heads = heads.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut request).await {
                    let head = String::from_utf8_lossy(&request[..length]).into_owned();
                    heads.send((protocol.clone(), head)).unwrap();
                    let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                }
            });
        }
    });
    let names = NameServer::answering(&[&[Ipv4Addr::LOCALHOST]], Duration::ZERO).await;
    let client = Client::dialing(local(), Resolver::Server(names.address), trusting(Some(certificate)));
    (url, client, received)
}

async fn post(client: &Client, url: &str, headers: &[(&str, &str)]) -> Outcome {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let request = Request { headers, authorization: Some("Bearer t".to_owned().into()), ..request(url) };
    client.post(request, client.place(url).await).await
}

/// Receivers behind a REST API of API Gateway compare names exactly. HTTP/2 has no capitals, so it is not offered.
#[tokio::test]
async fn names_are_sent_as_they_are_written() {
    let (url, client, mut received) = heads(&["h2", "http/1.1"]).await;
    let headers = [
        ("X-API-KEY", "1"),
        ("x-tenant", "acme"),
        ("content-type", "application/json"),
        ("webhook-id", "evt_1"),
        ("X-Hub-Signature-256", "sha256=00"),
    ];
    // Twice, because the second request finds the connection of the first.
    for _ in 0..2 {
        let outcome = post(&client, &url, &headers).await;
        assert_eq!(outcome.verdict, Verdict::Accepted, "{:?}", outcome.error);
        let (protocol, head) = received.recv().await.unwrap();
        assert_eq!(protocol, "http/1.1");
        for line in ["X-API-KEY: 1", "x-tenant: acme", "webhook-id: evt_1", "X-Hub-Signature-256: sha256=00"] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
        }
        // As all other clients write them.
        for line in ["Content-Type: application/json", "Authorization: Bearer t", "Content-Length: 2", "Accept: */*"] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
        }
        assert!(head.contains("\r\nHost: receiver.example:"), "{head}");
    }
}

#[tokio::test]
async fn names_without_capitals_go_over_http_2() {
    let (url, client, mut received) = heads(&["h2", "http/1.1"]).await;
    let _ = post(&client, &url, &[("webhook-id", "evt_1")]).await;
    assert_eq!(received.recv().await.unwrap().0, "h2");
}

/// Better without capitals than not at all.
#[tokio::test]
async fn a_receiver_that_speaks_only_http_2_gets_it() {
    let (url, client, mut received) = heads(&["h2"]).await;
    let _ = post(&client, &url, &[("X-Tenant", "acme")]).await;
    assert_eq!(received.recv().await.unwrap().0, "h2");
}
