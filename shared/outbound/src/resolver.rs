//! Names to addresses, with policy in between.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use domain::target::TargetPolicy;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Resolves by the system, then asks policy about every address. The connection is made to the addresses that were asked
/// about, so a name that changes in between changes nothing.
#[derive(Debug, Clone)]
pub(crate) struct PolicyResolver {
    pub(crate) policy: Arc<TargetPolicy>,
}

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    /// It does not resolve.
    #[error("the name does not resolve: {0}")]
    Failed(#[from] io::Error),
    /// It has no address.
    #[error("the name has no address")]
    Empty,
    /// One of its addresses is not allowed.
    #[error("the name leads to a private, local or reserved address")]
    Forbidden,
}

impl Resolve for PolicyResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.policy);
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await.map_err(ResolveError::Failed)?.collect();
            Ok(check(found, &policy)?)
        })
    }
}

fn check(found: Vec<SocketAddr>, policy: &TargetPolicy) -> Result<Addrs, ResolveError> {
    if found.is_empty() {
        return Err(ResolveError::Empty);
    }
    // One bad address spoils the name: which one is dialled would be up to the resolver's owner.
    if found.iter().any(|address| !policy.permits(address.ip())) {
        return Err(ResolveError::Forbidden);
    }
    Ok(Box::new(found.into_iter()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(addresses: &[&str]) -> Result<usize, String> {
        let found = addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0)).collect();
        check(found, &TargetPolicy::default()).map(Iterator::count).map_err(|error| error.to_string())
    }

    #[test]
    fn one_forbidden_address_spoils_the_name() {
        assert_eq!(resolve(&["93.184.216.34", "2606:2800:220:1::1"]), Ok(2));
        assert!(resolve(&["93.184.216.34", "10.0.0.1"]).is_err());
        assert!(resolve(&["::1"]).is_err());
        assert!(resolve(&[]).is_err());
    }
}
