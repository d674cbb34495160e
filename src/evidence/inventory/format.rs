//! The document as bytes: JSON, compressed with zlib. Pure.
//!
//! What is read may be anybody's: it is unpacked as a stream, up to a bound, and never trusted with a size.

use std::io::{BufReader, Read};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::Deserialize;
use thiserror::Error;

use super::document::{Inventory, VERSION};

/// The most bytes of an unpacked document. One of 50,000 images has 20 MiB (measured). A replica of 128 MiB must survive
/// a document that was made to be unpacked.
const MOST_UNPACKED: u64 = 32 << 20;

/// Why an inventory cannot be used as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unusable {
    /// It is of a version that is not understood here.
    #[error("it is of version {found}, and this Landfall reads version {VERSION}")]
    OtherVersion {
        /// The version that it names.
        found: u32,
    },
    /// It is of another site.
    #[error("it is of site `{found}`, and ours is another")]
    OtherSite {
        /// The site that it names.
        found: String,
    },
    /// It is older than `cache.remember`.
    #[error("it was written {hours} h ago, which is longer than `cache.remember`")]
    TooOld {
        /// Its age.
        hours: u64,
    },
    /// It was written in the future.
    #[error("it was written {seconds} s in the future: the clock of one of the nodes is wrong")]
    FromFuture {
        /// How far.
        seconds: u64,
    },
    /// It is too large when it is unpacked.
    #[error("unpacked it is larger than {} MiB", MOST_UNPACKED >> 20)]
    TooLarge,
    /// It is no such document.
    #[error("it cannot be read: {why}")]
    Malformed {
        /// What was found instead.
        why: String,
    },
}

/// Writes an inventory into at most so many bytes. What does not fit is left out from the end, and counted in it.
#[must_use]
pub fn encode(mut inventory: Inventory, most: usize) -> (Vec<u8>, Inventory) {
    loop {
        let packed = packed(&inventory);
        let held = inventory.repositories.len();
        if packed.len() <= most || held == 0 {
            return (packed, inventory);
        }
        // A little less than what would fit if all were alike.
        let fits = held.saturating_mul(most) / packed.len().max(1);
        inventory.keep_first((fits - fits / 16).min(held - 1));
    }
}

fn packed(inventory: &Inventory) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Into memory, and of types whose keys are texts: neither can fail.
    let written = serde_json::to_writer(&mut encoder, inventory);
    debug_assert!(written.is_ok(), "{written:?}");
    encoder.finish().unwrap_or_default()
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// It is not that, it is too large, or of another version.
pub fn decode(packed: &[u8]) -> Result<Inventory, Unusable> {
    match unpack::<Inventory>(packed) {
        Ok(inventory) if inventory.version == VERSION => Ok(inventory),
        Ok(Inventory { version: found, .. }) => Err(Unusable::OtherVersion { found }),
        Err(Unusable::Malformed { why }) => match unpack::<Versioned>(packed) {
            Ok(Versioned { version: found }) if found != VERSION => Err(Unusable::OtherVersion { found }),
            _ => Err(Unusable::Malformed { why }),
        },
        Err(error) => Err(error),
    }
}

/// The one field that every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

fn unpack<T: for<'a> Deserialize<'a>>(packed: &[u8]) -> Result<T, Unusable> {
    let mut bounded = BufReader::new(ZlibDecoder::new(packed).take(MOST_UNPACKED));
    let read = serde_json::from_reader(&mut bounded);
    let is_at_bound = bounded.get_ref().limit() == 0;
    read.map_err(|error| match is_at_bound {
        true => Unusable::TooLarge,
        false => Unusable::Malformed { why: error.to_string() },
    })
}

/// Packs a text, whatever it says.
#[cfg(fuzzing)]
#[must_use]
pub fn encode_text(text: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::none());
    let _ = encoder.write_all(text);
    encoder.finish().unwrap_or_default()
}
