//! Identifiers: a prefix for the kind, and a ULID that sorts by time.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use jiff::Timestamp;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use ulid::Ulid;

/// The length of each prefix, and of each id with its underscore.
const PREFIX: usize = 3;
const SPELLED: usize = PREFIX + 1 + ulid::ULID_LEN;

/// What kind of thing an [`Id`] identifies. Decides its prefix.
pub trait Kind {
    /// The part before the underscore, such as `whk`.
    const PREFIX: &'static str;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $prefix:literal, alias $alias:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $kind {}
        impl Kind for $kind {
            const PREFIX: &'static str = $prefix;
        }
        $(#[$doc])*
        pub type $alias = Id<$kind>;
    )+};
}

kinds! {
    /// A webhook.
    Webhook = "whk", alias WebhookId;
    /// One committed change, or one published fact.
    Event = "evt", alias EventId;
    /// A notice, which is stored as a webhook with the same ULID.
    Notice = "ntc", alias NoticeId;
    /// The delivery of one event to one webhook.
    Delivery = "dlv", alias DeliveryId;
    /// An application's API key.
    ApiKey = "key", alias ApiKeyId;
    /// A portal link. The key in its address has the same ULID.
    PortalLink = "lnk", alias PortalLinkId;
    /// A background job.
    Job = "job", alias JobId;
    /// A call of an inbound webhook.
    Call = "cal", alias CallId;
    /// A record of a table that could not be mapped.
    Failure = "flr", alias FailureId;
}

/// An identifier `<prefix>_<ULID>` of the kind `K`, such as `whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK`.
///
/// Each id has one spelling: lower case, a missing prefix or a different prefix do not parse. An id contains no `.`,
/// because Standard Webhooks joins the signed parts with it.
pub struct Id<K>(Ulid, PhantomData<fn() -> K>);

impl<K: Kind> Id<K> {
    /// Creates an id from the caller's time and 80 random bits (the upper 48 bits of `random` are ignored).
    #[must_use]
    pub fn from_parts(at: Timestamp, random: u128) -> Self {
        let milliseconds = u64::try_from(at.as_millisecond()).unwrap_or(0);
        Self(Ulid::from_parts(milliseconds, random), PhantomData)
    }

    /// Derives an id from its subject, so that processing the same thing again gives the same id.
    ///
    /// The time is that of the change, and the 80 bits are taken from SHA-256 over the parts. Each part is preceded by
    /// its length, so that `("ab", "c")` and `("a", "bc")` differ.
    #[must_use]
    pub fn derive(at: Timestamp, parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        let random = digest.iter().take(10).fold(0_u128, |bits, byte| (bits << 8) | u128::from(*byte));
        Self::from_parts(at, random)
    }

    /// Writes the id's text into a buffer, without an allocation and without the formatter.
    fn spell<'b>(&self, buffer: &'b mut [u8; SPELLED]) -> &'b str {
        const { assert!(K::PREFIX.len() == PREFIX) };
        let (prefix, ulid) = buffer.split_at_mut(SPELLED - ulid::ULID_LEN);
        prefix[..PREFIX].copy_from_slice(K::PREFIX.as_bytes());
        prefix[PREFIX] = b'_';
        self.0.array_to_str(ulid.try_into().expect("the rest of the buffer"));
        str::from_utf8(buffer).expect("an id is ASCII")
    }

    /// Returns the time in the id, in milliseconds precision.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        let milliseconds = i64::try_from(self.0.timestamp_ms()).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
    }

    /// Returns the id's 128 bits as a GUID, for systems that support only GUIDs.
    #[must_use]
    pub fn guid(&self) -> String {
        let hex = format!("{:032x}", u128::from(self.0));
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }

    /// Returns which of `count` shards the id belongs to. Ids are spread evenly, whatever their time.
    ///
    /// # Panics
    ///
    /// If `count` is 0.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is smaller than a u8")]
    pub fn shard(&self, count: u8) -> u8 {
        (self.0.random() % u128::from(count)) as u8
    }
}

impl DeliveryId {
    /// Returns the id of the delivery of an event to a webhook.
    #[must_use]
    pub fn first(event: EventId, webhook: WebhookId) -> Self {
        Self::derive(event.timestamp(), &[event.spell(&mut [0; SPELLED]), webhook.spell(&mut [0; SPELLED])])
    }

    /// Returns the id of the delivery with which a job replays an event to a webhook. It differs from that of the
    /// event's other deliveries.
    #[must_use]
    pub fn replayed(event: EventId, webhook: WebhookId, job: JobId) -> Self {
        Self::derive(event.timestamp(), &[&event.to_string(), &webhook.to_string(), &job.to_string()])
    }
}

impl From<WebhookId> for NoticeId {
    fn from(id: WebhookId) -> Self {
        Self(id.0, PhantomData)
    }
}

impl From<NoticeId> for WebhookId {
    fn from(id: NoticeId) -> Self {
        Self(id.0, PhantomData)
    }
}

impl From<PortalLinkId> for ApiKeyId {
    fn from(id: PortalLinkId) -> Self {
        Self(id.0, PhantomData)
    }
}

impl From<ApiKeyId> for PortalLinkId {
    fn from(id: ApiKeyId) -> Self {
        Self(id.0, PhantomData)
    }
}

/// The text is not an id of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be an id of the form {expected}_<ULID>")]
pub struct ParseIdError {
    expected: &'static str,
}

impl<K: Kind> FromStr for Id<K> {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix(K::PREFIX)
            .and_then(|rest| rest.strip_prefix('_'))
            .and_then(|rest| Some((rest, Ulid::from_string(rest).ok()?)))
            .filter(|(rest, ulid)| ulid.array_to_str(&mut [0; ulid::ULID_LEN]) == *rest)
            .map(|(_, ulid)| Self(ulid, PhantomData))
            .ok_or(ParseIdError { expected: K::PREFIX })
    }
}

// Written by hand, because a conversion into or from a `String` would allocate one for each id of a message and a row.
impl<K: Kind> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.spell(&mut [0; SPELLED]))
    }
}

impl<'de, K: Kind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(PhantomData))
    }
}

/// Reads an id from a text, borrowed or owned.
struct Text<K>(PhantomData<K>);

impl<K: Kind> Visitor<'_> for Text<K> {
    type Value = Id<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        text.parse().map_err(E::custom)
    }
}

impl<K: Kind> From<Id<K>> for String {
    fn from(id: Id<K>) -> Self {
        id.to_string()
    }
}

impl<K: Kind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.spell(&mut [0; SPELLED]))
    }
}

impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// Written by hand, because a derive would require `K` to implement the same traits.
impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
impl<K> std::hash::Hash for Id<K> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    #[test]
    fn has_one_spelling() {
        let id = WebhookId::from_parts(at(1_732_000_000_000), 7);
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        for wrong in
            [text.to_lowercase(), text.replace("whk", "evt"), text.replace('_', ""), format!("{text}0"), String::new()]
        {
            assert!(wrong.parse::<WebhookId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn derivation_frames_its_parts() {
        assert_ne!(EventId::derive(at(1), &["ab", "c"]), EventId::derive(at(1), &["a", "bc"]));
    }

    #[test]
    fn derivation_never_changes() {
        // If the derivation changed, a replayed batch would have new ids, and its receivers could not recognize the
        // duplicates.
        let id = EventId::derive(at(1_732_000_000_000), &["films", "1"]);
        assert_eq!(id.to_string(), "evt_01JD1KXA00SRK4CNHMSET7SYG2");
    }

    proptest! {
        #[test]
        fn later_ids_sort_later(a in 0_i64..4_000_000_000_000, gap in 1_i64..1_000_000, r: u128, s: u128) {
            let early = DeliveryId::from_parts(at(a), r);
            let late = DeliveryId::from_parts(at(a + gap), s);
            prop_assert!(early < late);
            prop_assert!(early.to_string() < late.to_string());
            prop_assert_eq!(early.timestamp(), at(a));
        }

        #[test]
        fn text_round_trips(a in 0_i64..4_000_000_000_000, r: u128) {
            let id = EventId::from_parts(at(a), r);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert!(!id.to_string().contains('.'));
        }
    }
}
