//! Compares what unsigned headers of a call claim with the signed body, as far as the body allows.

use crate::signing::signature::SignatureScheme;
use crate::value::{Map, Value};

/// The claim of a call in a header that its signature does not cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim<'a> {
    /// The header.
    pub(super) header: &'static str,
    /// The header's value.
    pub(super) said: &'a str,
}

/// An unsigned header contradicts the signed body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the unsigned header {0} contradicts the signed body")]
pub struct Contradiction(pub &'static str);

/// An event of GitHub's, and how to recognize its body: members that it always has, and members that it never has.
struct Shape {
    event: &'static str,
    has: &'static [&'static str],
    has_not: &'static [&'static str],
}

/// Events of [GitHub's reference][1] with distinguishable bodies. Other events are accepted unchecked.
///
/// [1]: https://docs.github.com/en/webhooks/webhook-events-and-payloads
const GITHUB: [Shape; 24] = [
    shape("check_run", &["action", "check_run"], &["check_suite"]),
    shape("check_suite", &["action", "check_suite"], &["check_run"]),
    shape("commit_comment", &["action", "comment"], &["issue", "pull_request", "discussion"]),
    shape("create", &["ref", "ref_type", "master_branch"], &["action", "commits"]),
    shape("delete", &["ref", "ref_type"], &["action", "master_branch", "commits"]),
    shape("deployment", &["deployment"], &["deployment_status"]),
    shape("deployment_status", &["deployment", "deployment_status"], &[]),
    shape("discussion", &["action", "discussion"], &["comment"]),
    shape("discussion_comment", &["action", "discussion", "comment"], &[]),
    shape("fork", &["forkee"], &["action"]),
    shape("gollum", &["pages"], &["action"]),
    shape("issue_comment", &["action", "issue", "comment"], &["pull_request"]),
    shape("issues", &["action", "issue"], &["comment", "pull_request"]),
    shape("label", &["action", "label"], &["issue", "pull_request", "discussion"]),
    shape("milestone", &["action", "milestone"], &["issue", "pull_request"]),
    shape("ping", &["zen", "hook_id"], &["action"]),
    shape("pull_request", &["action", "number", "pull_request"], &["review", "comment", "thread"]),
    shape("pull_request_review", &["action", "review", "pull_request"], &["comment", "thread"]),
    shape("pull_request_review_comment", &["action", "comment", "pull_request"], &["review", "thread", "issue"]),
    shape("push", &["ref", "before", "after", "commits"], &["action"]),
    shape("release", &["action", "release"], &[]),
    shape("status", &["sha", "state", "context"], &["action"]),
    shape("workflow_job", &["action", "workflow_job"], &["workflow_run"]),
    shape("workflow_run", &["action", "workflow_run"], &["workflow_job"]),
];

const fn shape(event: &'static str, has: &'static [&'static str], has_not: &'static [&'static str]) -> Shape {
    Shape { event, has, has_not }
}

/// The first word of those Shopify topics whose bodies name their subject, and the name used there:
/// `gid://shopify/Order/1`.
const SHOPIFY: [(&str, &str); 9] = [
    ("collections", "Collection"),
    ("customers", "Customer"),
    ("draft_orders", "DraftOrder"),
    ("fulfillments", "Fulfillment"),
    ("inventory_items", "InventoryItem"),
    ("order_transactions", "OrderTransaction"),
    ("orders", "Order"),
    ("products", "Product"),
    ("refunds", "Refund"),
];

impl<'a> Claim<'a> {
    /// Reads the unsigned header that states the type of a scheme's calls, if the scheme has such a header and it is
    /// present.
    pub(super) fn read(scheme: SignatureScheme, header: impl Fn(&'static str) -> Option<&'a str>) -> Option<Self> {
        let name = match scheme {
            SignatureScheme::Github => "x-github-event",
            SignatureScheme::Shopify => "x-shopify-topic",
            SignatureScheme::StandardWebhooks
            | SignatureScheme::StandardWebhooksEd25519
            | SignatureScheme::HmacSha256
            | SignatureScheme::Stripe
            | SignatureScheme::SuperOffice => return None,
        };
        header(name).map(|said| Self { header: name, said })
    }

    /// Compares the claim with a JSON object body. What the body does not show cannot contradict the claim.
    pub(super) fn compare(self, body: &Map) -> Result<(), Contradiction> {
        let fits = if self.header == "x-github-event" { github(self.said, body) } else { shopify(self.said, body) };
        if fits { Ok(()) } else { Err(Contradiction(self.header)) }
    }
}

fn github(event: &str, body: &Map) -> bool {
    let there = |name: &&str| body.get(*name).is_some_and(|value| *value != Value::Null);
    let known = GITHUB.iter().find(|shape| shape.event == event);
    known.is_none_or(|shape| shape.has.iter().all(|name| body.contains_key(*name)) && !shape.has_not.iter().any(there))
}

fn shopify(topic: &str, body: &Map) -> bool {
    let id = body.get("admin_graphql_api_id").and_then(Value::as_text);
    let Some((kind, _)) = id.and_then(|id| id.strip_prefix("gid://shopify/")?.split_once('/')) else { return true };
    let resource = topic.split('/').next().unwrap_or_default();
    let expected = SHOPIFY.iter().find(|(known, _)| *known == resource);
    expected.is_none_or(|(_, named)| *named == kind)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn fits(header: &'static str, said: &str, body: &str) -> bool {
        let Ok(Value::Map(body)) = body.parse::<Value>() else { panic!("an object") };
        Claim { header, said }.compare(&body).is_ok()
    }

    const PUSH: &str = r#"{"ref":"refs/heads/main","before":"0","after":"1","commits":[],"pusher":{}}"#;
    const ISSUE: &str = r#"{"action":"opened","issue":{"number":1},"repository":{},"sender":{}}"#;
    const REVIEW: &str = r#"{"action":"submitted","review":{},"pull_request":{}}"#;

    #[rstest]
    #[case::push("push", PUSH, true)]
    #[case::a_push_as_an_issue("issues", PUSH, false)]
    #[case::a_push_as_a_release("release", PUSH, false)]
    #[case::issue("issues", ISSUE, true)]
    #[case::an_issue_as_a_push("push", ISSUE, false)]
    #[case::an_issue_as_a_comment("issue_comment", ISSUE, false)]
    #[case::an_issue_as_a_pull_request("pull_request", ISSUE, false)]
    #[case::review("pull_request_review", REVIEW, true)]
    #[case::a_review_as_a_pull_request("pull_request", REVIEW, false)]
    #[case::null_is_not_there("deployment", r#"{"deployment":{},"deployment_status":null}"#, true)]
    #[case::nothing_is_known("watch", r#"{"action":"started"}"#, true)]
    fn github_bodies_are_known_by_their_members(#[case] event: &str, #[case] body: &str, #[case] expected: bool) {
        assert_eq!(fits("x-github-event", event, body), expected);
    }

    #[rstest]
    #[case::order("orders/create", r#"{"admin_graphql_api_id":"gid://shopify/Order/1"}"#, true)]
    #[case::an_order_as_a_product("products/create", r#"{"admin_graphql_api_id":"gid://shopify/Order/1"}"#, false)]
    #[case::an_order_as_a_draft("draft_orders/create", r#"{"admin_graphql_api_id":"gid://shopify/Order/1"}"#, false)]
    #[case::not_said("orders/delete", r#"{"id":1}"#, true)]
    #[case::another_form("orders/create", r#"{"admin_graphql_api_id":"1"}"#, true)]
    #[case::nothing_is_known("carts/create", r#"{"admin_graphql_api_id":"gid://shopify/Cart/1"}"#, true)]
    fn shopify_bodies_name_what_they_are_about(#[case] topic: &str, #[case] body: &str, #[case] expected: bool) {
        assert_eq!(fits("x-shopify-topic", topic, body), expected);
    }
}
