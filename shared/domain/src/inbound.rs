//! Inbound webhooks: what a call that somebody else makes becomes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

use crate::event::EventType;
use crate::operational::is_reserved;
use crate::pattern::EventPattern;
use crate::published::Fact;
use crate::signature::SignatureScheme;
use crate::value::{Map, Value};
use crate::webhook::Webhook;

/// The largest body that is taken, in bytes: with its surroundings it must fit an item.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// The type of a call that does not say what it is, to a webhook that does not either.
const DEFAULT_TYPE: &str = "inbound.received";

/// A call, as what it tells and by what it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What it tells. The entity is the call itself, in the collection `inbound/<webhook>`.
    pub fact: Fact,
    /// By what a call that is sent again is known. Only what is signed counts, or an old call could be played as a new one.
    pub once: String,
}

/// Reads a verified call; `None` if the webhook names types and the call is of another one.
///
/// The type is the sender's word for it: GitHub's header and action, Shopify's topic, SuperOffice's `Event`, or the `type` of
/// Standard Webhooks, Stripe and CloudEvents. A call that has none is of the first type that the webhook names.
///
/// `signed_id` is the sender's id of the call, the same whenever it sends it again, if the scheme signs one. Stripe and
/// SuperOffice sign one in the body; of anybody else's calls only the body as a whole is known to be the same.
#[must_use]
pub fn read<'a>(
    webhook: &Webhook,
    signed_id: Option<String>,
    header: impl Fn(&'static str) -> Option<&'a str>,
    body: &[u8],
) -> Option<Call> {
    let data = data(body);
    let scheme = webhook.settings.signature_scheme;
    let said = event_type(scheme, &data, &header);
    let named = &webhook.settings.event_types;
    let event_type = match said {
        Some(said) if named.is_empty() || named.iter().any(|pattern| pattern.matches(&said)) => said,
        Some(_) => return None,
        None => match named.first().and_then(EventPattern::exact) {
            Some(first) => first,
            None => DEFAULT_TYPE.parse().ok()?,
        },
    };
    let text = |name: &str| data.get(name).and_then(Value::as_text).map(str::to_owned);
    let digest = || hex::encode(Sha256::digest(body));
    let id_in_body = || match scheme {
        SignatureScheme::Stripe => text("id"),
        SignatureScheme::SuperOffice => text("EventId"),
        SignatureScheme::StandardWebhooks
        | SignatureScheme::StandardWebhooksEd25519
        | SignatureScheme::HmacSha256
        | SignatureScheme::Github
        | SignatureScheme::Shopify => None,
    };
    let once = signed_id.clone().or_else(id_in_body).unwrap_or_else(digest);
    let is_shopify = scheme == SignatureScheme::Shopify;
    let delivery = header(if is_shopify { "x-shopify-webhook-id" } else { "x-github-delivery" }).map(str::to_owned);
    let entity_id = signed_id.or(delivery).or_else(|| text("id")).filter(|id| is_id(id)).unwrap_or_else(digest);
    let collection = format!("inbound/{}", webhook.id);
    let fact =
        Fact { event_type, entity_id, entity_key: None, collection, app: webhook.app.clone(), data, old_data: None };
    Some(Call { fact, once })
}

/// Short, and in characters that can stand in a path.
fn is_id(id: &str) -> bool {
    (1..=255).contains(&id.len()) && !id.chars().any(|c| c.is_control() || c == '/')
}

/// The body as properties. What is no JSON object is a property itself: nothing that was sent is lost.
fn data(body: &[u8]) -> Map {
    let alone = |value| Map::from([("body".to_owned(), value)]);
    let Ok(text) = str::from_utf8(body) else {
        return Map::from([("body_base64".to_owned(), Value::String(BASE64.encode(body)))]);
    };
    match text.parse::<Value>() {
        Ok(Value::Map(map)) => map,
        Ok(other) => alone(other),
        Err(_) => alone(Value::String(text.to_owned())),
    }
}

fn event_type<'a>(
    scheme: SignatureScheme,
    data: &Map,
    header: impl Fn(&'static str) -> Option<&'a str>,
) -> Option<EventType> {
    let text = |name: &str| data.get(name).and_then(Value::as_text).map(str::to_owned);
    let shopify = || Some(header("x-shopify-topic")?.replace('/', "."));
    let github = || {
        let event = header("x-github-event")?;
        Some(text("action").map_or_else(|| event.to_owned(), |action| format!("{event}.{action}")))
    };
    let said = match scheme {
        SignatureScheme::SuperOffice => text("Event"),
        SignatureScheme::Shopify => shopify(),
        SignatureScheme::StandardWebhooks
        | SignatureScheme::StandardWebhooksEd25519
        | SignatureScheme::HmacSha256
        | SignatureScheme::Github
        | SignatureScheme::Stripe => github(),
    };
    // What only the service tells is not the sender's to tell.
    said.or_else(|| text("type"))?.parse().ok().filter(|said| !is_reserved(said))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::webhook::Direction;
    use crate::webhook::tests::webhook;

    fn inbound(types: &[&str]) -> Webhook {
        let mut webhook = webhook();
        webhook.settings.direction = Direction::Inbound;
        webhook.settings.event_types = types.iter().map(|text| text.parse().unwrap()).collect();
        webhook
    }

    #[rstest]
    #[case::standard(&[], None, r#"{"type":"invoice.paid","data":{}}"#, Some("invoice.paid"))]
    #[case::github(&[], Some("pull_request"), r#"{"action":"opened"}"#, Some("pull_request.opened"))]
    #[case::github_without_action(&[], Some("push"), r#"{"ref":"main"}"#, Some("push"))]
    #[case::one_of_the_named(&["invoice.paid"], None, r#"{"type":"invoice.paid"}"#, Some("invoice.paid"))]
    #[case::not_one_of_the_named(&["invoice.paid"], None, r#"{"type":"invoice.voided"}"#, None)]
    #[case::says_nothing(&["lead.created"], None, r#"{"name":"Anna"}"#, Some("lead.created"))]
    #[case::what_the_service_says(&[], None, r#"{"type":"webhook.paused"}"#, Some("inbound.received"))]
    #[case::nobody_says_anything(&[], None, "[1, 2]", Some("inbound.received"))]
    #[case::no_type(&[], None, r#"{"type":"not a type"}"#, Some("inbound.received"))]
    fn finds_the_type(
        #[case] named: &[&str],
        #[case] github: Option<&str>,
        #[case] body: &str,
        #[case] found: Option<&str>,
    ) {
        let header = |name: &'static str| github.filter(|_| name == "x-github-event");
        let published = read(&inbound(named), None, header, body.as_bytes());
        assert_eq!(published.as_ref().map(|call| call.fact.event_type.as_str()), found);
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
        let call = read(&webhook, None, header, body.as_bytes()).unwrap();
        assert_eq!(call.fact.event_type.as_str(), found);
    }

    #[rstest]
    #[case::the_scheme_s(Some("msg_1"), r#"{"id":"evt_2"}"#, Some("msg_1"))]
    #[case::the_body_s(None, r#"{"id":"evt_2"}"#, Some("evt_2"))]
    #[case::a_number(None, r#"{"id":7}"#, Some("7"))]
    #[case::none(None, "{}", None)]
    #[case::one_that_is_no_path(None, r#"{"id":"a/b"}"#, None)]
    fn finds_the_id(#[case] sender: Option<&str>, #[case] body: &str, #[case] id: Option<&str>) {
        let published = read(&inbound(&[]), sender.map(str::to_owned), |_| None, body.as_bytes()).unwrap();
        let digest = hex::encode(Sha256::digest(body.as_bytes()));
        assert_eq!(published.fact.entity_id, id.unwrap_or(&digest));
    }

    #[rstest]
    #[case::signed(SignatureScheme::StandardWebhooks, Some("msg_1"), Some("msg_1"))]
    #[case::signed_in_the_body(SignatureScheme::Stripe, None, Some("7"))]
    // The id of what the call is about, which many calls are about.
    #[case::some_id(SignatureScheme::HmacSha256, None, None)]
    #[case::a_header_that_is_not_signed(SignatureScheme::Github, None, None)]
    fn a_call_is_known_by_what_is_signed(
        #[case] scheme: SignatureScheme,
        #[case] signed: Option<&str>,
        #[case] once: Option<&str>,
    ) {
        let mut webhook = inbound(&[]);
        webhook.settings.signature_scheme = scheme;
        let header = |name: &'static str| (name == "x-github-delivery").then_some("72d3162e");
        let published = read(&webhook, signed.map(str::to_owned), header, br#"{"id":7}"#).unwrap();
        let digest = hex::encode(Sha256::digest(br#"{"id":7}"#));
        assert_eq!(published.once, once.unwrap_or(&digest));
        assert_eq!(published.fact.entity_id, signed.unwrap_or("72d3162e"));
    }

    #[rstest]
    #[case::object(r#"{"a":1.50}"#, r#"{"a":1.50}"#)]
    #[case::list("[1]", r#"{"body":[1]}"#)]
    #[case::form("a=1&b=2", r#"{"body":"a=1&b=2"}"#)]
    #[case::empty("", r#"{"body":""}"#)]
    #[case::binary([0xff, 0x00], r#"{"body_base64":"/wA="}"#)]
    fn keeps_what_was_sent(#[case] body: impl AsRef<[u8]>, #[case] data: &str) {
        let published = read(&inbound(&[]), None, |_| None, body.as_ref()).unwrap();
        assert_eq!(serde_json::to_string(&published.fact.data).unwrap(), data);
    }
}
