//! Inbound webhooks: turns calls from other systems into events.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

use crate::event::operational::is_reserved;
use crate::event::pattern::EventPattern;
use crate::event::published::Fact;
use crate::event::types::EventType;
use crate::signing::signature::SignatureScheme;
use crate::value::{Map, Value};
use crate::webhook::Webhook;

mod claims;
mod earlier;
pub mod log;

use claims::Claim;
pub use claims::Contradiction;
pub use earlier::{Again, Earlier};

/// The largest body, in bytes as the caller sent them. As JSON it may be six times as long, because a control character
/// takes six bytes there; an item of DynamoDB has it compressed, and that is never much more than what was sent.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// The type of a call if neither the call nor the webhook names one.
const DEFAULT_TYPE: &str = "inbound.received";

/// A call: the fact that it reports, and how to recognize it when it is sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The fact, or why the call becomes no event. The entity is the call itself, in the collection
    /// `inbound/<webhook>`.
    pub fact: Result<Fact, Unstored>,
    /// Identifies the call when it is sent again. Derived from signed data only, or an old call could be replayed as a
    /// new one.
    pub once: String,
    /// The type that an unsigned header claims. For given signed bytes the first claim counts, even if the call becomes
    /// no event; otherwise a call of one type could be replayed as one of another type.
    pub said: Option<String>,
}

/// Why a verified call becomes no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unstored {
    /// The webhook names types, and the call's type, which is this one, is not one of them.
    NotNamed(Option<EventType>),
    /// An unsigned header contradicts the body.
    Contradicted(Contradiction),
}

/// Returns the collection of a webhook's calls. Calls are deduplicated within it, by their signed data.
#[must_use]
pub fn collection(webhook: &Webhook) -> String {
    format!("inbound/{}", webhook.id)
}

/// Reads a verified call.
///
/// The type is the one that the sender gives: GitHub's header and action, Shopify's topic, SuperOffice's `Event`, or
/// the `type` of Standard Webhooks, Stripe and CloudEvents. A call without one has the first type that the webhook
/// names. The headers of GitHub and Shopify are not signed, so they are read only with those schemes, and compared with
/// the body.
///
/// `signed_id` is the sender's id of the call if the scheme signs one; it is the same when the sender retries the call.
/// Stripe and SuperOffice sign an id in the body. For all other schemes, a retry is recognized by its equal body.
#[must_use]
pub fn read<'a>(
    webhook: &Webhook,
    signed_id: Option<String>,
    header: impl Fn(&'static str) -> Option<&'a str>,
    body: &[u8],
) -> Call {
    let scheme = webhook.settings.signature_scheme;
    let (data, is_object) = data(scheme, body);
    let claim = Claim::read(scheme, &header);
    let text = |name: &str| data.get(name).and_then(Value::as_text).map(str::to_owned);
    let digest = || hex::encode(Sha256::digest(body));
    let (id_in_body, delivery) = match scheme {
        SignatureScheme::Stripe => (text("id"), None),
        SignatureScheme::SuperOffice => (text("EventId"), None),
        SignatureScheme::Github => (None, header("x-github-delivery")),
        SignatureScheme::Shopify => (None, header("x-shopify-webhook-id")),
        SignatureScheme::StandardWebhooks | SignatureScheme::StandardWebhooksEd25519 | SignatureScheme::HmacSha256 => {
            (None, None)
        }
    };
    let once = signed_id.clone().or(id_in_body).unwrap_or_else(digest);
    let said = claim.map(|claim| claim.said.to_owned());
    let contradicted = claim.filter(|_| is_object).and_then(|claim| claim.compare(&data).err());
    if let Some(contradiction) = contradicted {
        return Call { fact: Err(Unstored::Contradicted(contradiction)), once, said };
    }
    let event_type = match named_type(webhook, event_type(scheme, claim, &data)) {
        Ok(event_type) => event_type,
        Err(other) => return Call { fact: Err(Unstored::NotNamed(other)), once, said },
    };
    let delivery = delivery.map(str::to_owned);
    let entity_id = signed_id.or(delivery).or_else(|| text("id")).filter(|id| is_id(id)).unwrap_or_else(digest);
    let (collection, app) = (collection(webhook), webhook.app.clone());
    let fact = Fact { event_type, entity_id, entity_key: None, collection, app, data, old_data: None };
    Call { fact: Ok(fact), once, said }
}

/// Returns the type of a call with this claim, if any. The error is the claim if the webhook names types and it is not
/// one of them.
fn named_type(webhook: &Webhook, said: Option<EventType>) -> Result<EventType, Option<EventType>> {
    let named = &webhook.settings.event_types;
    match said {
        Some(said) if named.is_empty() || named.iter().any(|pattern| pattern.asks_for(&said)) => Ok(said),
        Some(said) => Err(Some(said)),
        None => named.first().and_then(EventPattern::exact).or_else(|| DEFAULT_TYPE.parse().ok()).ok_or(None),
    }
}

/// Returns whether an id is short and contains only characters that are allowed in a path.
fn is_id(id: &str) -> bool {
    (1..=255).contains(&id.len()) && !id.chars().any(|c| c.is_control() || c == '/')
}

/// Returns the body as properties, and whether it is a JSON object. Any other body becomes a single property, so that
/// nothing is lost.
fn data(scheme: SignatureScheme, body: &[u8]) -> (Map, bool) {
    let alone = |value| (Map::from([("body".to_owned(), value)]), false);
    let Ok(text) = str::from_utf8(body) else {
        return (Map::from([("body_base64".to_owned(), Value::String(BASE64.encode(body)))]), false);
    };
    // GitHub's content type "application/x-www-form-urlencoded" puts the JSON into the parameter `payload`. No JSON
    // starts like this, while a text in it may contain `&payload=`.
    let is_form = scheme == SignatureScheme::Github && text.starts_with("payload=");
    let payload = is_form.then(|| url::form_urlencoded::parse(body).next()).flatten().map(|(_, json)| json);
    match payload.as_deref().unwrap_or(text).parse::<Value>() {
        Ok(Value::Map(map)) => (map, true),
        Ok(other) => alone(other),
        Err(_) => alone(Value::String(text.to_owned())),
    }
}

fn event_type(scheme: SignatureScheme, claim: Option<Claim<'_>>, data: &Map) -> Option<EventType> {
    let text = |name: &str| data.get(name).and_then(Value::as_text).map(str::to_owned);
    let said = match (scheme, claim) {
        (SignatureScheme::SuperOffice, _) => text("Event"),
        (SignatureScheme::Shopify, Some(claim)) => Some(claim.said.replace('/', ".")),
        (_, Some(Claim { said, .. })) => {
            Some(text("action").map_or_else(|| said.to_owned(), |action| format!("{said}.{action}")))
        }
        (_, None) => None,
    };
    // A sender cannot use reserved types.
    said.or_else(|| text("type"))?.parse().ok().filter(|said| !is_reserved(said))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::webhook::settings::Direction;
    use crate::webhook::tests::webhook;

    fn inbound(types: &[&str]) -> Webhook {
        let mut webhook = webhook();
        webhook.settings.direction = Direction::Inbound;
        webhook.settings.event_types = types.iter().map(|text| text.parse().unwrap()).collect();
        webhook
    }

    #[rstest]
    #[case::standard(&[], None, r#"{"type":"invoice.paid","data":{}}"#, Some("invoice.paid"))]
    #[case::github(&[], Some("issues"), r#"{"action":"opened","issue":{}}"#, Some("issues.opened"))]
    #[case::github_without_action(&[], Some("public"), r#"{"repository":{}}"#, Some("public"))]
    #[case::github_form(&[], Some("issues"), "payload=%7B%22action%22%3A%20%22opened%22%2C%20%22issue%22%3A%20%7B%7D%7D", Some("issues.opened"))]
    #[case::github_json_with_a_form_in_it(&[], Some("issues"), r#"{"action":"opened","issue":{"title":"a&payload={}"}}"#, Some("issues.opened"))]
    #[case::github_form_of_another_name(&[], Some("star"), "body=%7B%7D", Some("star"))]
    #[case::one_of_the_named(&["invoice.paid"], None, r#"{"type":"invoice.paid"}"#, Some("invoice.paid"))]
    #[case::not_one_of_the_named(&["invoice.paid"], None, r#"{"type":"invoice.voided"}"#, None)]
    #[case::another_name_of_it(&["lead.updated"], None, r#"{"type":"lead.changed"}"#, Some("lead.changed"))]
    #[case::says_nothing(&["lead.created"], None, r#"{"name":"Anna"}"#, Some("lead.created"))]
    #[case::what_the_service_says(&[], None, r#"{"type":"webhook.paused"}"#, Some("inbound.received"))]
    #[case::without_a_type(&[], None, "[1, 2]", Some("inbound.received"))]
    #[case::no_type(&[], None, r#"{"type":"not a type"}"#, Some("inbound.received"))]
    fn finds_the_type(
        #[case] named: &[&str],
        #[case] github: Option<&str>,
        #[case] body: &str,
        #[case] found: Option<&str>,
    ) {
        let header = |name: &'static str| github.filter(|_| name == "x-github-event");
        let mut webhook = inbound(named);
        if github.is_some() {
            webhook.settings.signature_scheme = SignatureScheme::Github;
        }
        let call = read(&webhook, None, header, body.as_bytes());
        let not_named = Unstored::NotNamed("invoice.voided".parse().ok());
        assert_eq!(call.fact.as_ref().map(|fact| fact.event_type.as_str()), found.ok_or(&not_named));
        assert_eq!(call.said.as_deref(), github);
    }

    #[rstest]
    #[case::superoffice(SignatureScheme::SuperOffice, r#"{"Event":"contact.changed","type":"x.y"}"#, "contact.changed")]
    #[case::shopify(SignatureScheme::Shopify, r#"{"id":820982911946154508}"#, "orders.create")]
    #[case::another_scheme(SignatureScheme::HmacSha256, r#"{"Event":"contact.changed"}"#, "inbound.received")]
    fn finds_the_type_where_the_vendor_says_it(
        #[case] scheme: SignatureScheme,
        #[case] body: &str,
        #[case] found: &str,
    ) {
        let mut webhook = inbound(&[]);
        webhook.settings.signature_scheme = scheme;
        let header = |name: &'static str| (name == "x-shopify-topic").then_some("orders/create");
        let call = read(&webhook, None, header, body.as_bytes());
        assert_eq!(call.fact.unwrap().event_type.as_str(), found);
    }

    /// Headers that a scheme neither signs nor defines have no effect.
    #[rstest]
    #[case::standard_webhooks(SignatureScheme::StandardWebhooks)]
    #[case::stripe(SignatureScheme::Stripe)]
    #[case::hmac(SignatureScheme::HmacSha256)]
    #[case::superoffice(SignatureScheme::SuperOffice)]
    fn a_header_of_another_vendor_is_ignored(#[case] scheme: SignatureScheme) {
        let mut webhook = inbound(&[]);
        webhook.settings.signature_scheme = scheme;
        let call = read(
            &webhook,
            None,
            |_| Some("invoice.voided"),
            br#"{"id":"evt_2","type":"invoice.paid","Event":"invoice.paid"}"#,
        );
        let fact = call.fact.unwrap();
        assert_eq!((fact.event_type.as_str(), call.said), ("invoice.paid", None));
        assert_eq!(fact.entity_id, "evt_2");
    }

    #[test]
    fn a_header_that_contradicts_the_body_makes_no_event() {
        let mut webhook = inbound(&[]);
        webhook.settings.signature_scheme = SignatureScheme::Github;
        let body = br#"{"action":"opened","issue":{}}"#;
        let [issue, push] = ["issues", "push"]
            .map(|event| read(&webhook, None, |name| (name == "x-github-event").then_some(event), body));
        assert_eq!(push.fact, Err(Unstored::Contradicted(Contradiction("x-github-event"))));
        assert!(issue.fact.is_ok() && issue.once == push.once && issue.said != push.said);
    }

    #[rstest]
    #[case::the_scheme_s(Some("msg_1"), r#"{"id":"evt_2"}"#, Some("msg_1"))]
    #[case::the_body_s(None, r#"{"id":"evt_2"}"#, Some("evt_2"))]
    #[case::a_number(None, r#"{"id":7}"#, Some("7"))]
    #[case::none(None, "{}", None)]
    #[case::one_that_is_no_path(None, r#"{"id":"a/b"}"#, None)]
    fn finds_the_id(#[case] sender: Option<&str>, #[case] body: &str, #[case] id: Option<&str>) {
        let published = read(&inbound(&[]), sender.map(str::to_owned), |_| None, body.as_bytes());
        let digest = hex::encode(Sha256::digest(body.as_bytes()));
        assert_eq!(published.fact.unwrap().entity_id, id.unwrap_or(&digest));
    }

    #[rstest]
    #[case::signed(SignatureScheme::StandardWebhooks, Some("msg_1"), Some("msg_1"))]
    #[case::signed_in_the_body(SignatureScheme::Stripe, None, Some("7"))]
    // The id of the subject of the call, which many calls share.
    #[case::some_id(SignatureScheme::HmacSha256, None, None)]
    #[case::a_header_that_is_not_signed(SignatureScheme::Github, None, None)]
    fn a_call_is_recognized_by_what_is_signed(
        #[case] scheme: SignatureScheme,
        #[case] signed: Option<&str>,
        #[case] once: Option<&str>,
    ) {
        let mut webhook = inbound(&[]);
        webhook.settings.signature_scheme = scheme;
        let header = |name: &'static str| (name == "x-github-delivery").then_some("72d3162e");
        let published = read(&webhook, signed.map(str::to_owned), header, br#"{"id":7}"#);
        let digest = hex::encode(Sha256::digest(br#"{"id":7}"#));
        assert_eq!(published.once, once.unwrap_or(&digest));
        let delivery = if scheme == SignatureScheme::Github { "72d3162e" } else { "7" };
        assert_eq!(published.fact.unwrap().entity_id, signed.unwrap_or(delivery));
    }

    #[rstest]
    #[case::object(r#"{"a":1.50}"#, r#"{"a":1.50}"#)]
    #[case::list("[1]", r#"{"body":[1]}"#)]
    #[case::form("a=1&b=2", r#"{"body":"a=1&b=2"}"#)]
    #[case::empty("", r#"{"body":""}"#)]
    #[case::binary([0xff, 0x00], r#"{"body_base64":"/wA="}"#)]
    fn keeps_the_body(#[case] body: impl AsRef<[u8]>, #[case] data: &str) {
        let published = read(&inbound(&[]), None, |_| None, body.as_ref());
        assert_eq!(serde_json::to_string(&published.fact.unwrap().data).unwrap(), data);
    }
}
