//! An entity at one moment, and the name of that state.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::value::Map;

/// An entity at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Names the state: the same for the same content of the same entity, and for no other. Of what was published nothing until
    /// fan-out has [named](crate::event::Event::name_states) it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// All its attributes.
    pub properties: Map,
    /// When it was created, if the table says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_time: Option<String>,
    /// When it was last changed, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_time: Option<String>,
}

/// What a tenant's states are named with. Not for receivers.
#[derive(Clone, Deserialize, Serialize)]
#[serde(transparent)]
pub struct StateKey(String);

impl StateKey {
    /// Makes a key of random bits.
    #[must_use]
    pub fn new(bits: u128) -> Self {
        Self(format!("{bits:032x}"))
    }

    /// Returns the key as it is kept.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// # Panics
    ///
    /// Never: a key may have any length.
    pub(super) fn name(&self, content: &str) -> String {
        let mut hash = Hmac::<Sha256>::new_from_slice(self.0.as_bytes()).expect("a key may have any length");
        hash.update(content.as_bytes());
        hex::encode(&hash.finalize().into_bytes()[..12])
    }
}

impl fmt::Debug for StateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateKey(…)")
    }
}

/// Names a state of an entity by its content. Whoever gets the name could look for the content by guessing, so that it is given
/// to nobody without [a key](crate::event::Event::name_states).
///
/// # Panics
///
/// Never: every key is a string, so there is nothing that could not be written.
#[must_use]
pub fn state_id(entity_path: &str, properties: &Map) -> String {
    let mut hash = Sha256::new();
    hash.update(entity_path);
    hash.update([0]);
    hash.update(serde_json::to_vec(properties).expect("properties are JSON"));
    hex::encode(&hash.finalize()[..12])
}
