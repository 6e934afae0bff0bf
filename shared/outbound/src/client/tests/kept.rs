//! How many connections are kept for later requests.

use super::*;

/// Starts a receiver that answers each connection and then waits. Returns its URL, and a channel that says when the
/// client closes a connection.
async fn watched() -> (String, tokio::sync::mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (tell, closes) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                }
                let _ = tell.send(());
            });
        }
    });
    (url, closes)
}

fn keeping(most: usize) -> Client {
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let tls = tls.with_safe_default_protocol_versions().unwrap().with_platform_verifier().unwrap();
    let policy = Arc::new(local());
    let dialer = Dialer::new(Arc::clone(&policy), Resolver::System, tls.with_no_client_auth());
    Client::over(dialer.keeping(most), policy)
}

/// A process that calls thousands of receivers must not run out of files.
#[tokio::test]
async fn what_has_no_place_is_closed_after_its_answer() {
    let client = keeping(1);
    let ((first, mut first_closes), (second, mut second_closes)) = (watched().await, watched().await);
    assert_eq!(send(&client, &first).await.verdict, Verdict::Accepted);
    for _ in 0..2 {
        assert_eq!(send(&client, &second).await.verdict, Verdict::Accepted);
        let closes = tokio::time::timeout(Duration::from_secs(5), second_closes.recv()).await;
        assert_eq!(closes, Ok(Some(())), "there is no place for a second one");
    }
    let reused = send(&client, &first).await;
    assert_eq!((reused.verdict, reused.timing.connect_ms), (Verdict::Accepted, None), "the first one is kept");
    assert!(first_closes.try_recv().is_err());
    drop(client);
}

/// A place becomes free when its connection is closed.
#[tokio::test]
async fn places_become_free() {
    let client = keeping(1);
    let closing = receiver(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n", false).await;
    assert_eq!(send(&client, &closing).await.verdict, Verdict::Accepted);
    let (url, _closes) = watched().await;
    // The pool drops the closed connection in a task of its own.
    for _ in 0..100 {
        let outcome = send(&client, &url).await;
        assert_eq!(outcome.verdict, Verdict::Accepted);
        if outcome.timing.connect_ms.is_none() {
            return;
        }
    }
    panic!("the connection is never reused");
}
