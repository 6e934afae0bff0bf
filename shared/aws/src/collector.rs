//! The collector of traces: X-Ray, to which requests are signed, or any other endpoint for OTLP over HTTP.

use std::pin::Pin;
use std::sync::Arc;

use domain::event::trace::TracePolicy;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

use crate::Secrets;
use crate::signed::{Headers, Signed, read};

/// The content type of OTLP in protobuf, which all collectors accept.
const PROTOBUF: &str = "application/x-protobuf";

/// The most bytes of an answer that are read. It says at most why spans were rejected.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Sends an OTLP request in protobuf. See [`Collector::send`].
pub type Send = Box<dyn Fn(Vec<u8>) -> Sending + std::marker::Send + Sync>;

/// The future of [`Send`].
pub type Sending = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + std::marker::Send>>;

/// A collector of traces.
#[derive(Debug, Clone)]
pub struct Collector(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    signed: Signed,
    secrets: Secrets,
    url: String,
    /// The region in which X-Ray is called, if it is.
    signed_in: Option<String>,
    headers_secret_arn: Option<String>,
    /// The content of that secret, once it was read.
    headers: Mutex<Option<SecretString>>,
}

impl Collector {
    pub(crate) fn new(signed: Signed, secrets: Secrets, policy: &TracePolicy) -> Self {
        Self(Arc::new(Inner {
            signed_in: policy.signed.then(|| signed.region.clone()),
            signed,
            secrets,
            url: policy.endpoint.to_string(),
            headers_secret_arn: policy.headers_secret_arn.clone(),
            headers: Mutex::default(),
        }))
    }

    /// Sends an OTLP request in protobuf, and returns the body of the answer. The caller limits the time.
    ///
    /// # Errors
    ///
    /// Says why the collector did not accept the request, without any of its headers.
    pub async fn send(&self, body: Vec<u8>) -> Result<Vec<u8>, String> {
        let Inner { signed, url, signed_in, headers_secret_arn, headers: known, .. } = &*self.0;
        let mut headers: Headers = vec![("content-type".into(), PROTOBUF.into())];
        if let Some(region) = signed_in {
            let signature = signed.sign(("xray", region), url, &headers, &body).await;
            headers.extend(signature.map_err(|error| error.to_string())?);
        }
        if let Some(arn) = headers_secret_arn {
            headers.extend(parse(&self.headers(arn).await?)?);
        }
        let answer = signed.post(url, headers, body).await;
        let answer = answer.map_err(|error| format!("the collector cannot be called: {error}"))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(read(answer.into_body(), MAX_ANSWER_BYTES).await);
        }
        if matches!(status.as_u16(), 401 | 403) {
            // The secret may have changed since it was read.
            known.lock().await.take();
        }
        Err(format!("the collector answered {}", status.as_u16()))
    }

    /// Returns [`send`](Self::send) as a function, which a tracer takes.
    #[must_use]
    pub fn sender(self) -> Send {
        Box::new(move |body| {
            let collector = self.clone();
            Box::pin(async move { collector.send(body).await })
        })
    }

    async fn headers(&self, arn: &str) -> Result<SecretString, String> {
        let mut known = self.0.headers.lock().await;
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let read = self.0.secrets.text(arn).await.map_err(|error| format!("its headers cannot be read: {error}"))?;
        *known = Some(read.clone());
        Ok(read)
    }
}

/// Reads headers in the form of `OTEL_EXPORTER_OTLP_HEADERS`: `name=value`, separated by commas, with percent-encoded
/// values.
fn parse(text: &SecretString) -> Result<Headers, String> {
    let invalid = || "the secret of its headers must be name=value, separated by commas".to_owned();
    let parts = text.expose_secret().split(',').map(str::trim).filter(|part| !part.is_empty());
    let header = |part: &str| {
        let (name, value) = part.split_once('=').ok_or_else(invalid)?;
        let value = percent_decode_str(value.trim()).decode_utf8().map_err(|_| invalid())?;
        Ok((name.trim().to_ascii_lowercase().into(), value.into_owned().into()))
    };
    parts.map(header).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::one("x-honeycomb-team=abc", Some(&[("x-honeycomb-team", "abc")][..]))]
    #[case::encoded("Authorization=Basic%20dXNlcjprZXk=", Some(&[("authorization", "Basic dXNlcjprZXk=")][..]))]
    #[case::two("api-key=a, x-team = b,\n", Some(&[("api-key", "a"), ("x-team", "b")][..]))]
    #[case::none("", Some(&[][..]))]
    #[case::no_name("0123456789", None)]
    fn headers_have_the_form_of_open_telemetry(#[case] text: &str, #[case] headers: Option<&[(&str, &str)]>) {
        let read = parse(&text.to_owned().into());
        let own = |(name, value): &(&str, &str)| ((*name).to_owned().into(), (*value).to_owned().into());
        assert_eq!(read.as_ref().ok(), headers.map(|headers| headers.iter().map(own).collect()).as_ref());
        assert!(read.err().is_none_or(|error| !error.contains(text)), "an error quotes no secret");
    }
}
