//! The state of an entity at one moment, and its id.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::value::written::Written;

/// The state of an entity at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The state's id: equal for equal content of the same entity, and different for any other. Empty for published
    /// events until fan-out has [set](crate::event::Event::name_states) it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// All attributes of the entity.
    pub properties: Written,
    /// When the entity was created, if the table records it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_time: Option<String>,
    /// When the entity was last changed, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_time: Option<String>,
}

/// The key for the ids of a tenant's states. It must not be shown to receivers.
#[derive(Clone, Deserialize, Serialize)]
#[serde(transparent)]
pub struct StateKey(String);

impl StateKey {
    /// Creates a key from random bits.
    #[must_use]
    pub fn new(bits: u128) -> Self {
        Self(format!("{bits:032x}"))
    }

    /// Returns the key in its stored form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Derives an id from content with this key.
    ///
    /// # Panics
    ///
    /// Never: a key may have any length.
    pub(super) fn name(&self, content: &str) -> String {
        let mut hash = Hmac::<Sha256>::new_from_slice(self.0.as_bytes()).expect("a key may have any length");
        hash.update(content.as_bytes());
        shortened(&hash.finalize().into_bytes())
    }
}

impl fmt::Debug for StateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateKey(…)")
    }
}

/// Derives an unkeyed id of a state from its content. A receiver could find the content by guessing, so this id is
/// never shown without being [keyed](crate::event::Event::name_states).
/// `properties` are its attributes, as JSON.
#[must_use]
pub fn state_id(entity_path: &str, properties: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(entity_path);
    hash.update([0]);
    hash.update(properties);
    shortened(&hash.finalize())
}

/// Returns the first twelve bytes of a hash, in hexadecimal.
fn shortened(hash: &[u8]) -> String {
    let mut text = [0; 24];
    hex::encode_to_slice(&hash[..12], &mut text).expect("two digits for each byte");
    str::from_utf8(&text).expect("digits are ASCII").to_owned()
}
