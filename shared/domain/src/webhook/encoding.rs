//! How a body is sent.

use std::io::Write as _;

use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the body of a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ContentEncoding {
    /// As it is.
    #[default]
    Identity,
    /// Compressed, with `content-encoding: gzip`: a receiver verifies the signature before it unpacks.
    Gzip,
}

impl ContentEncoding {
    /// Returns the bytes that are sent. The same body always becomes the same ones, as no time and no name stands in them.
    pub(crate) fn encode(self, body: &str) -> Vec<u8> {
        match self {
            Self::Identity => body.as_bytes().to_vec(),
            Self::Gzip => {
                let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
                // Safe: nothing fails that writes into memory.
                encoder.write_all(body.as_bytes()).expect("memory takes all");
                encoder.finish().expect("memory takes all")
            }
        }
    }
}
