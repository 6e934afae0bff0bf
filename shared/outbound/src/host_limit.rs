//! Limits the number of concurrent requests to one host.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

/// The most concurrent requests to one authority (host and port).
pub(crate) const REQUESTS_PER_HOST: usize = 20;

/// With this many authorities, those without running or waiting requests are removed.
const MANY_HOSTS: usize = 256;

/// A semaphore for each authority, which serves waiting requests in order.
#[derive(Debug, Default)]
pub(crate) struct HostLimits(Mutex<HashMap<String, Arc<Semaphore>>>);

/// The permission to send one request to a host, until it is dropped.
#[derive(Debug)]
pub struct HostSlot(#[expect(dead_code, reason = "it is held until it is dropped")] Option<OwnedSemaphorePermit>);

impl HostLimits {
    /// Waits for a slot of the URL's host. Slots are given out in the order of the calls.
    pub(crate) async fn take(&self, url: &str) -> HostSlot {
        // The semaphore is never closed, so this always returns a permit.
        HostSlot(self.queue(authority(url)).acquire_owned().await.ok())
    }

    fn queue(&self, authority: String) -> Arc<Semaphore> {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if queues.len() >= MANY_HOSTS {
            // Permits and waiting requests keep a reference to their semaphore, so at most as many remain as there are
            // requests.
            queues.retain(|_, queue| Arc::strong_count(queue) > 1);
        }
        Arc::clone(queues.entry(authority).or_insert_with(|| Arc::new(Semaphore::new(REQUESTS_PER_HOST))))
    }
}

/// Returns the host and the port. Invalid URLs all share an empty authority, which is harmless because they are never
/// sent.
fn authority(url: &str) -> String {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    host.map(|(host, port)| format!("{host}:{port}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_has_so_many_turns_and_no_more() {
        let places = HostLimits::default();
        let mut taken = Vec::new();
        for n in 0..REQUESTS_PER_HOST {
            taken.push(places.take(&format!("https://a.example/{n}")).await);
        }
        let waits = async |url: &str| {
            tokio::time::timeout(std::time::Duration::from_millis(20), places.take(url)).await.is_err()
        };
        assert!(waits("https://A.example:443/").await);
        assert!(!waits("https://a.example:8443/").await);
        assert!(!waits("https://b.example/").await);
        taken.pop();
        assert!(!waits("https://a.example/").await);
    }

    #[tokio::test]
    async fn hosts_that_nobody_waits_for_are_forgotten() {
        let places = HostLimits::default();
        let kept = places.take("https://kept.example/").await;
        for n in 0..10 * MANY_HOSTS {
            drop(places.take(&format!("https://host{n}.example/")).await);
        }
        let queues = places.0.lock().unwrap();
        assert!(queues.len() <= MANY_HOSTS && queues.contains_key("kept.example:443"));
        drop(kept);
    }
}
