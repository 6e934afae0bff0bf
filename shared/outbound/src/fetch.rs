//! Fetches a document that the operator has configured, such as a key set. Redirects are not followed and proxies are
//! not used.

use std::time::Duration;

use reqwest::redirect;

/// The longest that a fetch may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The largest document, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// Why a document could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The request failed, or the status was not 2xx.
    #[error("cannot fetch the document: {0}")]
    Failed(#[from] reqwest::Error),
    /// The document is too large.
    #[error("the document is larger than {MAX_BYTES} bytes")]
    TooLarge,
}

/// Fetches a document from a URL in the operator's configuration. Do not use it for a tenant's URL, because it does not
/// check the target policy.
///
/// # Errors
///
/// If there is no response in time, its status is not 2xx, or it is too large.
pub async fn fetch(url: &str) -> Result<Vec<u8>, FetchError> {
    #[expect(clippy::disallowed_methods, reason = "this is the crate that dials")]
    let client = reqwest::Client::builder().redirect(redirect::Policy::none()).no_proxy().timeout(TIMEOUT).build()?;
    let mut response = client.get(url).send().await?.error_for_status()?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BYTES {
            return Err(FetchError::TooLarge);
        }
    }
    Ok(body)
}
