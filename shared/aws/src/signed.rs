//! Calls of AWS services without their SDKs: signed and sent here, with the crates that the SDKs use for it.
//!
//! This is for services of which one or two calls are made. An SDK would bring its own retries and thousands of types.

use std::borrow::Cow;
use std::time::SystemTime;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::config::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;

/// Signs and sends calls.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    connector: SharedHttpConnector,
    credentials: Option<SharedCredentialsProvider>,
    /// The region of the functions.
    pub(crate) region: String,
    /// Where all services are, if not at their own addresses.
    endpoint: Option<String>,
}

/// A call of a service.
pub(crate) struct Call<'a> {
    pub(crate) service: &'static str,
    pub(crate) region: &'a str,
    /// The address of the service, without a path.
    pub(crate) host: String,
    pub(crate) path: &'static str,
    /// The headers that say what the body is.
    pub(crate) headers: &'a [(&'static str, &'static str)],
    pub(crate) body: String,
}

/// The headers of a request.
pub(crate) type Headers = Vec<(Cow<'static, str>, Cow<'static, str>)>;

/// Why a call got no answer. Contains no header and no body.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unanswered(String);

/// Returns the connector of calls to AWS.
pub(crate) fn connector() -> SharedHttpConnector {
    let provider = Provider::Rustls(CryptoMode::AwsLc);
    SharedHttpConnector::new(Connector::builder().sleep_impl(TokioSleep::new()).tls_provider(provider).build())
}

/// Returns the domain of AWS's services in a partition.
pub(crate) fn suffix(partition: &str) -> &'static str {
    if partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" }
}

impl Signed {
    pub(crate) fn new(config: &SdkConfig, connector: SharedHttpConnector) -> Self {
        Self {
            connector,
            credentials: config.credentials_provider(),
            region: config.region().map(ToString::to_string).unwrap_or_default(),
            endpoint: config.endpoint_url().map(str::to_owned),
        }
    }

    /// Signs and sends a request to the address of a service. The caller limits the time.
    pub(crate) async fn send(&self, call: Call<'_>) -> Result<HttpResponse, Unanswered> {
        let Call { service, region, host, path, headers, body } = call;
        let url = format!("{}{path}", self.endpoint.as_deref().map_or(host.as_str(), |url| url.trim_end_matches('/')));
        let mut headers: Headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let signature = self.sign((service, region), &url, &headers, body.as_bytes()).await?;
        headers.extend(signature);
        self.post(&url, headers, body.into_bytes()).await
    }

    /// Returns the headers that sign a `POST` with those headers to a service in a region.
    pub(crate) async fn sign(
        &self,
        (service, region): (&str, &str),
        url: &str,
        headers: &Headers,
        body: &[u8],
    ) -> Result<Headers, Unanswered> {
        let credentials = self.credentials.as_ref().ok_or_else(|| Unanswered("there are no credentials".to_owned()))?;
        let identity = credentials.provide_credentials().await.map_err(|error| failed(&error))?.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(service)
            .time(now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| failed(&error))?
            .into();
        let headers = headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
        let signable = SignableRequest::new("POST", url, headers, SignableBody::Bytes(body));
        let signable = signable.map_err(|error| failed(&error))?;
        let (instructions, _) = sign(signable, &params).map_err(|error| failed(&error))?.into_parts();
        Ok(instructions.headers().map(|(name, value)| (name.to_owned().into(), value.to_owned().into())).collect())
    }

    /// Sends a `POST`. The caller limits the time.
    pub(crate) async fn post(&self, url: &str, headers: Headers, body: Vec<u8>) -> Result<HttpResponse, Unanswered> {
        let mut request = HttpRequest::new(body.into());
        request.set_method("POST").map_err(|error| failed(&error))?;
        request.set_uri(url).map_err(|error| failed(&error))?;
        for (name, value) in headers {
            // The error of a header could quote it.
            let inserted = request.headers_mut().try_insert(name.clone(), value);
            inserted.map_err(|_| Unanswered(format!("the header {name} has no valid name or value")))?;
        }
        self.connector.call(request).await.map_err(|error| failed(&error))
    }
}

fn failed(error: &dyn std::error::Error) -> Unanswered {
    Unanswered(error.to_string())
}

/// Returns the code of an error that the headers of an answer name.
pub(crate) fn named_code(answer: &HttpResponse) -> Option<String> {
    answer.headers().get("x-amzn-errortype").map(plain_code)
}

/// Returns the code of an error without what some services put around it: `com.amazonaws.kms#NotFoundException:http…`.
pub(crate) fn plain_code(code: &str) -> String {
    let code = code.split(':').next().unwrap_or_default();
    code.rsplit('#').next().unwrap_or_default().to_owned()
}

/// Reads the body of an answer; nothing of it if the connection breaks, or if it has more than `most` bytes.
pub(crate) async fn read(body: SdkBody, most: usize) -> Vec<u8> {
    let (mut chunks, mut bytes) = (ByteStream::new(body), Vec::new());
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) if bytes.len() + chunk.len() <= most => bytes.extend_from_slice(&chunk),
            _ => return Vec::new(),
        }
    }
    bytes
}

/// Returns the time for a signature.
#[expect(clippy::disallowed_methods, reason = "a signature is of the moment at which it is made, as in the SDKs")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_read_up_to_its_limit() {
        assert_eq!(read(SdkBody::from("1234"), 4).await, b"1234");
        assert_eq!(read(SdkBody::from("12345"), 4).await, b"");
    }

    #[test]
    fn the_code_of_an_error_is_plain() {
        for code in ["NotFoundException", "com.amazonaws.kms#NotFoundException", "NotFoundException:http://x/#y"] {
            assert_eq!(plain_code(code), "NotFoundException");
        }
    }
}
