//! Signs and sends requests to services of AWS that are called without their SDKs.

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

/// Sends requests, over connections that are kept.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    connector: SharedHttpConnector,
    credentials: Option<SharedCredentialsProvider>,
}

/// Why a call got no answer. Contains no header and no body.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unanswered(String);

impl Sender {
    pub(crate) fn new(config: &SdkConfig) -> Self {
        let provider = Provider::Rustls(CryptoMode::AwsLc);
        let connector = Connector::builder().sleep_impl(TokioSleep::new()).tls_provider(provider).build();
        Self { connector: SharedHttpConnector::new(connector), credentials: config.credentials_provider() }
    }

    /// Sends a `POST` with that content type and those headers.
    pub(crate) async fn post(
        &self,
        url: &str,
        content_type: &'static str,
        headers: &[(String, String)],
        body: Vec<u8>,
    ) -> Result<HttpResponse, Unanswered> {
        let mut request = HttpRequest::new(body.into());
        request.set_method("POST").map_err(|error| failed(&error))?;
        request.set_uri(url).map_err(|error| failed(&error))?;
        request.headers_mut().insert("content-type", content_type);
        for (name, value) in headers {
            // The error of a header could quote it.
            let inserted = request.headers_mut().try_insert(name.clone(), value.clone());
            inserted.map_err(|_| Unanswered(format!("the header {name} has no valid name or value")))?;
        }
        self.connector.call(request).await.map_err(|error| failed(&error))
    }

    /// Returns the headers that sign a `POST` to a service in a region.
    pub(crate) async fn sign(
        &self,
        (service, region): (&str, &str),
        url: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Vec<(String, String)>, Unanswered> {
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
        let headers = [("content-type", content_type)];
        let signable = SignableRequest::new("POST", url, headers.into_iter(), SignableBody::Bytes(body));
        let signable = signable.map_err(|error| failed(&error))?;
        let (instructions, _) = sign(signable, &params).map_err(|error| failed(&error))?.into_parts();
        Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

fn failed(error: &dyn std::error::Error) -> Unanswered {
    Unanswered(error.to_string())
}

/// Returns the time for a signature.
#[expect(clippy::disallowed_methods, reason = "a signature is of the moment at which it is made, as in the SDKs")]
fn now() -> SystemTime {
    SystemTime::now()
}
