//! Resolves names to addresses.

use std::io;
use std::net::SocketAddr;

/// The resolver to use.
#[derive(Debug, Clone)]
pub(crate) enum Resolver {
    /// The system's resolver.
    System,
    /// A test's name server. The system's resolver cannot be configured to use it.
    #[cfg(test)]
    Server(SocketAddr),
}

impl Resolver {
    /// Returns all addresses of a name.
    pub(crate) async fn lookup(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::System => Ok(tokio::net::lookup_host((name, port)).await?.collect()),
            #[cfg(test)]
            Self::Server(server) => crate::client::tests::dns::lookup(*server, name, port).await,
        }
    }
}
