//! The content encoding of request bodies.

use std::io::Write as _;

use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the body of a request is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ContentEncoding {
    /// Uncompressed.
    #[default]
    Identity,
    /// Compressed, with `content-encoding: gzip`. A receiver verifies the signature before it decompresses the body.
    Gzip,
}

impl ContentEncoding {
    /// Returns the encoded bytes. The gzip header has no time and no file name, so equal bodies give equal bytes.
    pub(crate) fn encode(self, body: &str) -> Vec<u8> {
        match self {
            Self::Identity => body.as_bytes().to_vec(),
            Self::Gzip => {
                let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
                // Cannot fail: it writes into memory.
                encoder.write_all(body.as_bytes()).expect("memory takes all");
                encoder.finish().expect("memory takes all")
            }
        }
    }
}
