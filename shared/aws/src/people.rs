//! Amazon SES and Amazon SNS, which tell people.
//!
//! Each has one call, and the delivery of a notice retries it. So they are called without the SDKs of the two services.

use std::time::Duration;

use aws_smithy_types::body::SdkBody;
use domain::attempt::outcome::{Outcome, Verdict};
use serde_json::json;
use url::form_urlencoded;

use crate::signed::{self, Call, Signed, Unanswered, named_code, suffix};

/// How long a call may take at most.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of an answer in which the code of an error is looked for.
const MAX_ANSWER_BYTES: usize = 4096;

/// Tells people by e-mail and through topics.
#[derive(Debug, Clone)]
pub struct People {
    signed: Signed,
}

impl People {
    pub(crate) fn new(signed: Signed) -> Self {
        Self { signed }
    }

    /// Sends a mail with a subject and a text, and returns what SES answered. If the answer is lost, the mail may have been
    /// sent.
    pub async fn mail(&self, from: &str, to: &[&str], (subject, text): (&str, &str), timeout: Duration) -> Outcome {
        let content = |data: &str| json!({"Data": data, "Charset": "UTF-8"});
        let body = json!({
            "FromEmailAddress": from,
            "Destination": {"ToAddresses": to},
            "Content": {"Simple": {"Subject": content(subject), "Body": {"Text": content(text)}}},
        });
        let call = Call {
            service: "ses",
            region: &self.signed.region,
            host: format!("https://email.{}.amazonaws.com", self.signed.region),
            path: "/v2/email/outbound-emails",
            headers: &[("content-type", "application/json")],
            body: body.to_string(),
        };
        self.outcome("SES", call, timeout).await
    }

    /// Publishes a message with a subject and a text to a topic, and returns what SNS answered. If the answer is lost, the
    /// message may have been published.
    pub async fn publish(&self, topic_arn: &str, (subject, text): (&str, &str), timeout: Duration) -> Outcome {
        // The topic may be in another region: arn:<partition>:sns:<region>:<account>:<name>.
        let mut parts = topic_arn.split(':').skip(1);
        let (partition, region) = (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default());
        let mut body = form_urlencoded::Serializer::new(String::new());
        let fields = [("Action", "Publish"), ("Version", "2010-03-31"), ("TopicArn", topic_arn)];
        body.extend_pairs(fields).append_pair("Subject", subject).append_pair("Message", text);
        let call = Call {
            service: "sns",
            region,
            host: format!("https://sns.{region}.{}", suffix(partition)),
            path: "/",
            headers: &[("content-type", "application/x-www-form-urlencoded")],
            body: body.finish(),
        };
        self.outcome("SNS", call, timeout).await
    }

    /// Makes a call, and returns its outcome in the words of deliveries.
    async fn outcome(&self, name: &str, call: Call<'_>, timeout: Duration) -> Outcome {
        let started = tokio::time::Instant::now();
        let outcome = match tokio::time::timeout(timeout.min(TIMEOUT), self.send(call)).await {
            Err(_) => Outcome::unanswered(Verdict::TimedOut, format!("{name} did not answer in time")),
            Ok(Err(error)) => Outcome::unanswered(Verdict::ConnectFailed, format!("{name} cannot be called: {error}")),
            Ok(Ok((status, code))) => judged(name, status, &code),
        };
        Outcome { duration_ms: u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX), ..outcome }
    }

    /// Makes a call. Returns the status, and the code of the error if there is one.
    async fn send(&self, call: Call<'_>) -> Result<(u16, String), Unanswered> {
        let answer = self.signed.send(call).await?;
        let status = answer.status().as_u16();
        let code = match named_code(&answer) {
            Some(named) => named,
            None if status >= 400 => code_in(answer.into_body()).await,
            None => String::new(),
        };
        Ok((status, code))
    }
}

/// Returns the code of an error in the XML of SNS.
async fn code_in(body: SdkBody) -> String {
    let bytes = signed::read(body, MAX_ANSWER_BYTES).await;
    let text = String::from_utf8_lossy(&bytes);
    let code = text.split("<Code>").nth(1).and_then(|rest| rest.split("</Code>").next());
    code.filter(|code| code.bytes().all(|byte| byte.is_ascii_alphanumeric())).unwrap_or_default().to_owned()
}

/// Returns the outcome of an answer. The message of an error may quote an address, so only its code is shown.
fn judged(name: &str, status: u16, code: &str) -> Outcome {
    let verdict = match (status, code) {
        (200..=299, _) => Verdict::Accepted,
        // Both also name throttles in answers with the status 400.
        (429, _) | (_, "Throttling" | "ThrottlingException" | "TooManyRequestsException") => Verdict::Throttled,
        // The account may send nothing for now; the operator can mend that.
        (503, _) | (_, "SendingPausedException" | "AccountSuspendedException" | "LimitExceededException") => {
            Verdict::Unavailable
        }
        (400..=499, _) => Verdict::Refused,
        _ => Verdict::ServerFailed,
    };
    let error =
        (verdict != Verdict::Accepted).then(|| format!("{name} answered {status} {code}").trim_end().to_owned());
    Outcome { status: Some(status), error, ..Outcome::unanswered(verdict, "") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_verdicts() {
        for (status, code, verdict) in [
            (200, "", Verdict::Accepted),
            (400, "MessageRejected", Verdict::Refused),
            (400, "MailFromDomainNotVerifiedException", Verdict::Refused),
            (400, "SendingPausedException", Verdict::Unavailable),
            (400, "Throttling", Verdict::Throttled),
            (429, "TooManyRequestsException", Verdict::Throttled),
            (403, "AccessDeniedException", Verdict::Refused),
            (404, "NotFound", Verdict::Refused),
            (500, "InternalError", Verdict::ServerFailed),
            (503, "", Verdict::Unavailable),
        ] {
            let outcome = judged("SES", status, code);
            assert_eq!((outcome.verdict, outcome.status), (verdict, Some(status)), "{code}");
            assert_eq!(outcome.error.is_none(), verdict == Verdict::Accepted);
        }
        assert_eq!(judged("SNS", 503, "").error.unwrap(), "SNS answered 503");
    }

    #[tokio::test]
    async fn the_code_of_an_error_is_found_in_xml() {
        let xml = "<ErrorResponse><Error><Type>Sender</Type><Code>NotFound</Code></Error></ErrorResponse>";
        assert_eq!(code_in(xml.into()).await, "NotFound");
        assert_eq!(code_in("<Code>a b</Code>".into()).await, "");
    }
}
